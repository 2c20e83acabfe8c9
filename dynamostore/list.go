package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/perdure-dev/perdure/core"
)

const (
	// listRounds bounds how often one call of List asks each partition of the index.
	listRounds = 8
	// listRecords is after how many records it gives up to fill the page.
	listRecords = 1000
	// listScan is how many entries one request looks through for those of a task, some 100 KB.
	listScan = 1000
)

// encodeList adds the attributes of the list index to the item of a root execution.
func (s *Store) encodeList(it item, x *core.Execution) {
	if !s.opts.List || x.Parent != nil || x.Kept {
		return
	}
	it[indexList] = text(listKey(listClass(x.Status), shardOf(x.ID, s.opts.Shards)))
	it[indexListAt] = listAt(listPlace(core.PlaceOf(x)))
}

func listAt(place []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: place} }

// moveInList makes an update that moves an execution within the list write its place too, which does not change,
// but which the stored item does not have when it was written without Options.List.
func moveInList(before, after item) {
	if after[indexList] != nil && !sameValue(before[indexList], after[indexList]) {
		delete(before, indexListAt)
	}
}

// List implements core.Store.
func (s *Store) List(ctx context.Context, now time.Time, l core.Listing) (core.Page, error) {
	l, after, err := l.Resolve()
	if err != nil {
		return core.Page{}, err
	}
	if !s.opts.List {
		return core.Page{}, fmt.Errorf("table %s: %w: switch it on with Options.List, or with the template's parameter ListIndex, which sets PERDURE_LIST",
			s.where, core.ErrNotListed)
	}
	shards, err := s.knownShards(ctx, now)
	if err != nil {
		return core.Page{}, err
	}
	m := s.newListMerge(l, after, shards)
	if m.bounds.empty() {
		return core.Page{}, nil
	}
	return s.listPage(ctx, now, l, m)
}

// listPage reads one page.
func (s *Store) listPage(ctx context.Context, now time.Time, l core.Listing, m *listMerge) (core.Page, error) {
	var page core.Page
	for want, records := l.Limit, 0; ; {
		places, err := m.next(ctx, want)
		if err != nil {
			return core.Page{}, err
		}
		found, err := s.listedAt(ctx, now, l, places)
		if err != nil {
			return core.Page{}, err
		}
		if room := l.Limit - len(page.Executions); len(found) > room {
			page.Executions = append(page.Executions, found[:room]...)
			page.Next = core.PlaceOf(found[room-1]).Cursor()
			return page, nil
		}
		page.Executions = append(page.Executions, found...)
		records += len(places)
		// What did not match, such as the running among all that is unfinished, makes room for what follows.
		want = max(l.Limit-len(page.Executions), min(batchKeys, listRecords-records))
		switch {
		case m.ended():
			return page, nil
		case len(page.Executions) == l.Limit, records >= listRecords, m.rounds == 0:
			page.Next = m.come.Cursor()
			return page, nil
		}
	}
}

// listedAt reads the executions at places of the list and returns, in order, those that match the listing and
// whose retention is not over.
func (s *Store) listedAt(ctx context.Context, now time.Time, l core.Listing, places []core.Place) ([]*core.Execution, error) {
	keys := make([]item, len(places))
	for i, p := range places {
		keys[i] = primaryKey(p.ID, sortExecution)
	}
	items, err := s.batchGet(ctx, keys)
	if err != nil {
		return nil, err
	}
	var found []*core.Execution
	for i, key := range keys {
		it, ok := items[itemID(key)]
		if !ok {
			continue
		}
		e, err := decode(it)
		if err != nil {
			s.opts.Logger.ErrorContext(ctx, "an item does not decode and is left out of a list", append(about(it), logError, err)...)
			continue
		}
		// An id that is used again has another place, and is listed there.
		if !expired(it, now) && l.Match(e) && core.PlaceOf(e).Compare(places[i]) == 0 {
			found = append(found, e)
		}
	}
	return found, nil
}

// listShard is one partition of the list index while it is read, newest first.
type listShard struct {
	key    string
	places []core.Place // read and not merged yet
	start  item         // where the next request begins; empty for the beginning
	read   core.Place   // how far it is read
	ended  bool
}

// listMerge merges partitions of the list index.
type listMerge struct {
	store  *Store
	task   string
	bounds listBounds
	width  int // over how many partitions a class is spread
	shards []*listShard
	scan   int        // how many entries a request looks through for those of a task
	rounds int        // how often each partition may still be asked
	come   core.Place // every entry up to here was returned
}

func (s *Store) newListMerge(l core.Listing, after core.Place, shards int) *listMerge {
	m := &listMerge{store: s, task: l.TaskID, bounds: boundsOf(l, after), width: shards, scan: listScan, rounds: listRounds, come: after}
	for _, class := range listClasses(l.Status) {
		for shard := range shards {
			m.shards = append(m.shards, &listShard{key: listKey(class, shard)})
		}
	}
	return m
}

// listBounds is between which places a partition of the list index is read. The first is read too; the last may be, and is
// dropped then: see next.
type listBounds struct{ first, last []byte } // nil for none

func boundsOf(l core.Listing, after core.Place) (b listBounds) {
	if !l.Since.IsZero() {
		b.first = listPlace(core.Place{CreatedAt: ceilMillis(l.Since)})
	}
	if !l.Until.IsZero() {
		b.last = listPlace(core.Place{CreatedAt: ceilMillis(l.Until)})
	}
	if after.ID != "" {
		if place := listPlace(after); b.last == nil || bytes.Compare(place, b.last) < 0 {
			b.last = place
		}
	}
	return b
}

// ceilMillis rounds up to what records have their times in.
func ceilMillis(t time.Time) time.Time { return core.Millis(t.Add(time.Millisecond - 1)) }

// empty reports whether nothing is between the bounds.
func (b listBounds) empty() bool {
	return b.first != nil && b.last != nil && bytes.Compare(b.first, b.last) >= 0
}

// in adds the bounds to the query of a partition.
func (b listBounds) in(query *dynamodb.QueryInput) {
	var condition string
	switch {
	case b.first != nil && b.last != nil:
		condition = " AND #at BETWEEN :first AND :last"
	case b.first != nil:
		condition = " AND #at >= :first"
	case b.last != nil:
		condition = " AND #at < :last"
	default:
		return
	}
	query.KeyConditionExpression = aws.String(*query.KeyConditionExpression + condition)
	query.ExpressionAttributeNames["#at"] = indexListAt
	for name, place := range map[string][]byte{":first": b.first, ":last": b.last} {
		if place != nil {
			query.ExpressionAttributeValues[name] = listAt(place)
		}
	}
}

// ended reports whether every entry was returned.
func (m *listMerge) ended() bool {
	open, _ := m.open()
	return len(open) == 0 && m.first() == nil
}

// first returns the partition that has the first place of those that are read; nil for none.
func (m *listMerge) first() *listShard {
	var first *listShard
	for _, sh := range m.shards {
		if len(sh.places) > 0 && (first == nil || sh.places[0].Compare(first.places[0]) < 0) {
			first = sh
		}
	}
	return first
}

// open returns the partitions of which all is merged that was read, but not all is read, and the first of the places
// to which they are read.
func (m *listMerge) open() (open []*listShard, bound core.Place) {
	for _, sh := range m.shards {
		if len(sh.places) > 0 || sh.ended {
			continue
		}
		if len(open) == 0 || sh.read.Compare(bound) < 0 {
			bound = sh.read
		}
		open = append(open, sh)
	}
	return open, bound
}

// next returns the places that follow, at most n. It returns fewer at the end, and when it has asked often enough.
func (m *listMerge) next(ctx context.Context, n int) ([]core.Place, error) {
	var out []core.Place
	for len(out) < n {
		open, bound := m.open()
		first := m.first()
		switch {
		case first != nil && (len(open) == 0 || first.places[0].Compare(bound) <= 0):
			p := first.places[0]
			first.places = first.places[1:]
			if p.Compare(m.come) != 0 { // an index that lags may have it in two partitions
				out = append(out, p)
			}
			m.come = p
		case len(open) == 0:
			return out, nil
		case m.rounds == 0:
			m.come = bound
			return out, nil
		default:
			if err := m.fill(ctx, open, n-len(out)); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// fill reads on in partitions, for n places in all.
func (m *listMerge) fill(ctx context.Context, open []*listShard, n int) error {
	m.rounds--
	limit := min(n, 2*n/m.width+20)
	if m.task != "" {
		limit = m.scan
	}
	errs := make([]error, len(open))
	m.store.parallel(len(open), func(i int) { errs[i] = m.read(ctx, open[i], limit) })
	return errors.Join(errs...)
}

// read reads the next entries of a partition, at most limit before those of other tasks are dropped.
func (m *listMerge) read(ctx context.Context, sh *listShard, limit int) error {
	s := m.store
	in := &dynamodb.QueryInput{
		TableName: aws.String(s.table), IndexName: aws.String(listIndex), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression:    aws.String("#l = :l"),
		ExpressionAttributeNames:  map[string]string{"#l": indexList},
		ExpressionAttributeValues: item{":l": text(sh.key)},
		Limit:                     aws.Int32(int32(limit)), //nolint:gosec // at most 1,000
		ExclusiveStartKey:         sh.start,
	}
	m.bounds.in(in)
	if m.task != "" {
		in.FilterExpression = aws.String("#t = :t")
		in.ExpressionAttributeNames["#t"] = aTask
		in.ExpressionAttributeValues[":t"] = text(m.task)
	}
	out, err := s.api.Query(ctx, in)
	if err != nil {
		return s.listError(err)
	}
	for _, it := range out.Items {
		p, err := placeOf(it)
		if err != nil {
			return err
		}
		sh.places = append(sh.places, p)
	}
	if sh.start = out.LastEvaluatedKey; len(sh.start) == 0 {
		sh.ended = true
		return nil
	}
	sh.read, err = placeOf(sh.start)
	return err
}

// placeOf returns the place of an entry, or of a key, of the list index.
func placeOf(it item) (core.Place, error) {
	b, ok := it[indexListAt].(*types.AttributeValueMemberB)
	if !ok {
		return core.Place{}, fmt.Errorf("index %s: attribute %q is a %T, not binary", listIndex, indexListAt, it[indexListAt])
	}
	return parseListPlace(b.Value)
}

// listError explains the error of a query, which for a table without the index names no sentinel of its own.
func (s *Store) listError(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationException" && strings.Contains(api.ErrorMessage(), "index") {
		return fmt.Errorf("table %s: %w: its index %s is missing or not built yet: deploy with the parameter ListIndex, or add what TableInput has: %w",
			s.where, core.ErrNotListed, listIndex, err)
	}
	return explain(s.where, err)
}

package dynamostore

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// batchKeys is how many items one BatchGetItem reads at most (AWS documentation, BatchGetItem).
const batchKeys = 100

// itemID names an item in a map.
func itemID(key item) string {
	d := decoder{item: key}
	return d.text(keyPK) + "\x00" + d.text(keySK)
}

// batchGet reads items consistently; those that do not exist are left out.
func (s *Store) batchGet(ctx context.Context, keys []item) (map[string]item, error) {
	found := make(map[string]item, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	unique := map[string]bool{}
	keys = slices.DeleteFunc(slices.Clone(keys), func(key item) bool {
		id := itemID(key)
		twice := unique[id]
		unique[id] = true
		return twice
	})
	chunks := slices.Collect(slices.Chunk(keys, batchKeys))
	errs := make([]error, len(chunks))
	var mu sync.Mutex
	s.parallel(len(chunks), func(i int) {
		errs[i] = s.getChunk(ctx, chunks[i], func(it item) {
			mu.Lock()
			defer mu.Unlock()
			found[itemID(it)] = it
		})
	})
	for _, err := range errs {
		if err != nil {
			return nil, explain(s.where, err)
		}
	}
	return found, nil
}

// getChunk reads at most batchKeys items and asks again for those that were not processed.
func (s *Store) getChunk(ctx context.Context, keys []item, each func(item)) error {
	if len(keys) == 1 {
		out, err := s.api.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: aws.String(s.table), Key: keys[0], ConsistentRead: aws.Bool(true),
		})
		if err == nil && len(out.Item) > 0 {
			each(out.Item)
		}
		return err
	}
	request := types.KeysAndAttributes{Keys: keys, ConsistentRead: aws.Bool(true)}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		out, err := s.api.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
			RequestItems: map[string]types.KeysAndAttributes{s.table: request},
		})
		if err != nil {
			return err
		}
		for _, it := range out.Responses[s.table] {
			each(it)
		}
		left, ok := out.UnprocessedKeys[s.table]
		if !ok || len(left.Keys) == 0 {
			return nil
		}
		request.Keys = left.Keys
		if err := wait(ctx, pause/2+rand.N(pause/2)); err != nil { //nolint:gosec // jitter needs no secret
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Get implements core.Store.
func (s *Store) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	if err := core.CheckIDs(ids...); err != nil {
		return nil, err
	}
	keys := make([]item, len(ids))
	for i, id := range ids {
		keys[i] = primaryKey(id, sortExecution)
	}
	items, err := s.batchGet(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*core.Execution, len(ids))
	for i, key := range keys {
		it, ok := items[itemID(key)]
		if !ok {
			continue
		}
		if at := filter.UnexpiredAt; !at.IsZero() && expired(it, at) {
			continue
		}
		e, err := decode(it)
		if err != nil {
			return nil, err
		}
		if filter.Match(e) {
			out[i] = e
		}
	}
	return out, nil
}

// expired reports whether an item's retention is over: that of a kept wake-up to the millisecond, that of an execution to
// the second. See putNew for the same as a condition.
func expired(it item, now time.Time) bool {
	d := decoder{item: it}
	if d.bool(aKept) {
		return d.int64(aExpires) <= now.UnixMilli()
	}
	return it[attributeTTL] != nil && d.int64(attributeTTL) <= now.Unix()
}

// GetBySleepKey implements core.Store.
func (s *Store) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = core.SleepID(key)
	}
	found, err := s.Get(ctx, ids, core.Filter{})
	return core.WithoutKept(found), err
}

// CheckSpawn implements core.Store.
func (s *Store) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	return core.MissingChildren(ctx, s, parent)
}

// Children implements core.Store.
func (s *Store) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	parents, err := s.Get(ctx, parentIDs, core.Filter{})
	if err != nil {
		return nil, err
	}
	out := make([][]*core.Execution, len(parentIDs))
	for i, id := range parentIDs {
		keys, err := s.pointers(ctx, id)
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(keys))
		for n, key := range keys {
			ids[n] = parsePointer(key)
		}
		children, err := s.Get(ctx, ids, core.Filter{})
		if err != nil {
			return nil, err
		}
		for n, e := range children {
			// A pointer goes before its child, which may have been refused since the id was taken.
			if e != nil && (e.Parent == nil || e.Parent.ID != id || pointerKey(e) != keys[n]) {
				children[n] = nil
			}
		}
		if p := parents[i]; p != nil {
			committed, err := core.ReadChildren(ctx, s, p, p.ChildIndexes())
			if err != nil {
				return nil, err
			}
			children = append(committed, children...)
		}
		children = slices.DeleteFunc(children, func(e *core.Execution) bool { return e == nil })
		slices.SortStableFunc(children, core.CompareChildren)
		out[i] = children
	}
	return out, nil
}

// pointers returns the keys of the pointers to children that were to be inserted under ids of their own.
func (s *Store) pointers(ctx context.Context, parentID string) ([]string, error) {
	var keys []string
	var start item
	for {
		out, err := s.api.Query(ctx, &dynamodb.QueryInput{
			TableName:                 aws.String(s.table),
			KeyConditionExpression:    aws.String("#pk = :pk AND begins_with(#sk, :prefix)"),
			ExpressionAttributeNames:  map[string]string{"#pk": keyPK, "#sk": keySK},
			ExpressionAttributeValues: item{":pk": text(parentID), ":prefix": text(pointerPrefix)},
			ConsistentRead:            aws.Bool(true),
			ExclusiveStartKey:         start,
		})
		if err != nil {
			return nil, explain(s.where, err)
		}
		for _, it := range out.Items {
			d := decoder{item: it}
			keys = append(keys, d.text(keySK))
		}
		if start = out.LastEvaluatedKey; len(start) == 0 {
			return keys, nil
		}
	}
}

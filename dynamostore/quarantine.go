package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// An item that has an entry in the queue or cancel index and does not decode would be read by every pass for ever. Whoever
// meets it puts it in quarantine: one conditional write takes it out of its queue and keeps where it was, so that Restore
// can put it back once it is repaired. Nothing else of the item is changed.
//
// An item of a later schema version is not corrupt: while a deploy is in progress the newer program treats it. It is put
// in quarantine only when nobody has for laterVersionLimit.

// QueueQuarantine is where the items are that do not decode, for Depth and Quarantined. No loop looks at it. Its due times
// are when they were put there.
const QueueQuarantine core.Queue = "quarantine"

// aQuarantine is what an item's entries were before it was put in quarantine, a map:
//
//	why     what is wrong with the item
//	q, d    its queue key and due time, where it had them
//	c       its cancel key, where it had one
const aQuarantine = "qt"

// laterVersionLimit is how long after its due time an item of a later schema version is left to a newer program.
const laterVersionLimit = time.Hour

// errLaterVersion means that an item was written by a newer program.
var errLaterVersion = errors.New("later schema version")

// corruptItem is the error of an item that does not decode. It matches core.ErrCorrupt, unless a newer program wrote it.
func corruptItem(id string, why error) error {
	if errors.Is(why, errLaterVersion) {
		return fmt.Errorf("item of execution %q: %w", id, why)
	}
	return fmt.Errorf("item of execution %q: %w: %w", id, core.ErrCorrupt, why)
}

// putAside treats an item that did not decode: it is logged and put in quarantine, or left to a newer program. It reports
// whether the entry is gone. A write that fails leaves the item to the next one who meets it.
func (s *Store) putAside(ctx context.Context, it item, now time.Time, why error) bool {
	d := decoder{item: it}
	if errors.Is(why, errLaterVersion) && now.UnixMilli() < d.int64(indexDueAt)+laterVersionLimit.Milliseconds() {
		s.opts.Logger.WarnContext(ctx, "an item is of a later schema version and is left to a newer program", append(about(it), logError, why)...)
		return false
	}
	_, err := s.api.UpdateItem(ctx, s.quarantine(it, now, why))
	if _, changed := conditionFailed(err); changed {
		return false
	}
	if err != nil {
		s.opts.Logger.ErrorContext(ctx, "an item does not decode and could not be put in quarantine", append(about(it), logError, errors.Join(why, err))...)
		return false
	}
	s.opts.Logger.ErrorContext(ctx, "an item does not decode and is in quarantine: repair it, then restore it", append(about(it), logError, why)...)
	return true
}

// quarantine takes an item out of its queue.
//
//	input:     an item that does not decode, as it was read, and why it does not
//	condition: its revision and its entries are those that were read
//	outcome:   it is in queue quarantine, its entries are remembered in qt, and its revision is raised where it has one
func (s *Store) quarantine(it item, now time.Time, why error) *dynamodb.UpdateItemInput {
	x := newExpression()
	d := decoder{item: it}
	reason := why.Error()
	mark := item{"why": text(reason[:min(len(reason), 500)])}
	for _, part := range []struct{ attribute, as string }{{indexQueue, "q"}, {indexDueAt, "d"}, {indexCancel, "c"}, {aRev, ""}} {
		v := it[part.attribute]
		if v == nil {
			x.when = append(x.when, fmt.Sprintf("attribute_not_exists(%s)", x.name(part.attribute)))
			continue
		}
		x.when = append(x.when, x.name(part.attribute)+" = "+x.value(v))
		if part.as != "" {
			mark[part.as] = v
		}
	}
	x.when = append(x.when, fmt.Sprintf("attribute_exists(%s)", x.name(keyPK)))
	x.assign(indexQueue, text(queueKey(QueueQuarantine, shardOf(d.text(keyPK), s.opts.Shards))))
	x.assign(indexDueAt, number(now.UnixMilli()))
	x.assign(aQuarantine, &types.AttributeValueMemberM{Value: mark})
	if rev, ok := it[aRev].(*types.AttributeValueMemberN); ok && rev != nil {
		x.set = append(x.set, fmt.Sprintf("%[1]s = %[1]s + %[2]s", x.name(aRev), x.value(number(1))))
	}
	if it[indexCancel] != nil {
		x.remove = append(x.remove, x.name(indexCancel))
	}
	sk := d.text(keySK)
	return x.input(s.table, primaryKey(d.text(keyPK), sk), types.ReturnValueNone)
}

// Quarantined is an item in quarantine.
type Quarantined struct {
	ID  string
	At  time.Time // when it was put there
	Why string    // what was wrong with it
}

// Quarantined returns items in quarantine, at most limit, the oldest of each shard first. It reads the queue index and the
// items, 1 read unit for 4 KB of each.
func (s *Store) Quarantined(ctx context.Context, limit int) ([]Quarantined, error) {
	shards, err := s.knownShards(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	var out []Quarantined
	for shard := range shards {
		p := &page{queue: QueueQuarantine, shard: shard}
		for !p.done && len(out) < limit {
			entries, err := s.readPage(ctx, p, limit-len(out))
			if err != nil {
				return nil, explain(s.where, err)
			}
			keys := make([]item, len(entries))
			for i, e := range entries {
				keys[i] = primaryKey(e.id, sortExecution)
			}
			items, err := s.batchGet(ctx, keys)
			if err != nil {
				return nil, err
			}
			for i, e := range entries {
				it := items[itemID(keys[i])]
				if d := (decoder{item: it}); parseQueue(d.text(indexQueue)) != QueueQuarantine {
					continue // the index lags
				}
				mark := decoder{item: markOf(it)}
				out = append(out, Quarantined{ID: e.id, At: time.UnixMilli(e.dueAt).UTC(), Why: mark.text("why")})
			}
		}
	}
	return out, nil
}

// markOf returns what is remembered of an item's entries; empty for none.
func markOf(it item) item {
	if m, ok := it[aQuarantine].(*types.AttributeValueMemberM); ok && m != nil {
		return m.Value
	}
	return item{}
}

// Restore puts an item that was repaired back into the queue from which quarantine took it, so that the loops go on with
// it. The error matches core.ErrNotFound for an item that does not exist, core.ErrNotAllowed for one that is not in
// quarantine, core.ErrInvalid for what is no id, and core.ErrCorrupt for one that still does not decode; nothing is written then.
func (s *Store) Restore(ctx context.Context, id string, now time.Time) error {
	if err := core.CheckIDs(id); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	key := primaryKey(id, sortExecution)
	items, err := s.batchGet(ctx, []item{key})
	if err != nil {
		return err
	}
	it, ok := items[itemID(key)]
	if !ok {
		return fmt.Errorf("restore execution %s: %w", id, core.ErrNotFound)
	}
	d := decoder{item: it}
	if parseQueue(d.text(indexQueue)) != QueueQuarantine {
		return fmt.Errorf("restore execution %s: %w: it is not in quarantine", id, core.ErrNotAllowed)
	}
	repaired := item{}
	for name, v := range it {
		repaired[name] = v
	}
	mark := markOf(it)
	for attribute, as := range map[string]string{indexQueue: "q", indexDueAt: "d", indexCancel: "c"} {
		delete(repaired, attribute)
		if v := mark[as]; v != nil {
			repaired[attribute] = v
		}
	}
	e, err := decode(repaired)
	if err != nil {
		return fmt.Errorf("restore execution %s: %w", id, err)
	}
	if (e.Queue == core.QueueNone || e.Queue == core.QueueParent) && e.Family != nil && !e.Status.Finished() {
		// Children that finished meanwhile were not counted: the check that all of them exist does it, once more.
		delete(repaired, aSpawned)
		repaired[indexQueue] = text(queueKey(core.QueueParent, shardOf(id, s.opts.Shards)))
		repaired[indexDueAt] = number(now.UnixMilli())
	}
	_, err = s.api.UpdateItem(ctx, s.restore(it, repaired))
	if _, changed := conditionFailed(err); changed {
		return fmt.Errorf("restore execution %s: %w", id, core.ErrConflict)
	}
	return writeError(s.where, err)
}

// restore undoes quarantine.
//
//	input:     an item in quarantine, and the same with its entries as they are to be
//	condition: its revision and its entry are those that were read
//	outcome:   the entries are those of the second, and whether all children are known to exist; qt is gone, the revision is
//	           raised
func (s *Store) restore(it, repaired item) *dynamodb.UpdateItemInput {
	x := newExpression()
	for _, name := range []string{aRev, indexQueue, indexDueAt} {
		x.when = append(x.when, x.name(name)+" = "+x.value(it[name]))
	}
	for _, name := range []string{indexQueue, indexDueAt, indexCancel, aSpawned} {
		switch v := repaired[name]; {
		case v != nil:
			x.assign(name, v)
		case it[name] != nil:
			x.remove = append(x.remove, x.name(name))
		}
	}
	x.remove = append(x.remove, x.name(aQuarantine))
	x.set = append(x.set, fmt.Sprintf("%[1]s = %[1]s + %[2]s", x.name(aRev), x.value(number(1))))
	d := decoder{item: it}
	return x.input(s.table, primaryKey(d.text(keyPK), sortExecution), types.ReturnValueNone)
}

// putForeignAside takes an item out of the queue index that is no execution and so cannot be due for anything.
func (s *Store) putForeignAside(ctx context.Context, key item, p *page) {
	d := decoder{item: key}
	if at := time.UnixMilli(d.int64(indexDueAt)); p.queue == QueueQuarantine || at.After(p.now) {
		return
	}
	pk, sk := d.text(keyPK), d.text(keySK)
	out, err := s.api.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(s.table), Key: primaryKey(pk, sk), ConsistentRead: aws.Bool(true),
	})
	if err == nil && out.Item[indexQueue] != nil { // else the index lags; an error is the next look's to meet
		s.putAside(ctx, out.Item, p.now, fmt.Errorf("the item %q %q is in the queue index and is no execution", pk, sk))
	}
}

package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

const (
	// skipFor is how long an entry that came to nothing is passed over: the index lags.
	skipFor = 3 * time.Second
	// maxSkipped bounds how many such entries are remembered.
	maxSkipped = 10_000
	// maxPages bounds how many pages of entries one sweep reads of a shard.
	maxPages = 8
)

// entry is what the queue index says of an execution.
type entry struct {
	id    string
	dueAt int64 // ms
}

// page is where reading a shard's entries has come to.
type page struct {
	queue core.Queue
	shard int
	start item
	done  bool
}

// due returns at most limit due entries of a queue, oldest first, and the first due time to come. Entries that
// came to nothing a moment ago are passed over. There is no upper bound in the query, so that one answer tells
// both.
func (s *Store) due(ctx context.Context, q core.Queue, now time.Time, limit int) (found []entry, next time.Time, err error) {
	shards, err := s.knownShards(ctx, now)
	if err != nil {
		return nil, next, err
	}
	var mu sync.Mutex
	errs := make([]error, shards)
	s.parallel(shards, func(shard int) {
		p := &page{queue: q, shard: shard}
		for pages, taken := 0, 0; !p.done && taken < limit && pages < maxPages; pages++ {
			entries, err := s.readPage(ctx, p, limit-taken+1)
			if err != nil {
				errs[shard] = err
				return
			}
			mu.Lock()
			for _, e := range entries {
				at := time.UnixMilli(e.dueAt).UTC()
				if at.After(now) {
					p.done = true
					if next.IsZero() || at.Before(next) {
						next = at
					}
					break
				}
				if !s.skipped(e, now) {
					found = append(found, e)
					taken++
				}
			}
			mu.Unlock()
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, next, explain(s.table, err)
	}
	slices.SortFunc(found, func(a, b entry) int { return cmp.Or(cmp.Compare(a.dueAt, b.dueAt), cmp.Compare(a.id, b.id)) })
	return found[:min(limit, len(found))], next, nil
}

// readPage reads the next entries of a shard, earliest due first.
func (s *Store) readPage(ctx context.Context, p *page, limit int) ([]entry, error) {
	out, err := s.api.Query(ctx, &dynamodb.QueryInput{
		TableName: aws.String(s.table), IndexName: aws.String(queueIndex),
		KeyConditionExpression:    aws.String("#q = :q"),
		ExpressionAttributeNames:  map[string]string{"#q": indexQueue},
		ExpressionAttributeValues: item{":q": text(queueKey(p.queue, p.shard))},
		Limit:                     aws.Int32(int32(min(limit, 1000))), //nolint:gosec // at most 1,000
		ExclusiveStartKey:         p.start,
	})
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(out.Items))
	for i, it := range out.Items {
		d := decoder{item: it}
		entries[i] = entry{d.text(keyPK), d.int64(indexDueAt)}
	}
	p.start, p.done = out.LastEvaluatedKey, len(out.LastEvaluatedKey) == 0
	return entries, nil
}

// skipped reports whether an entry came to nothing within skipFor before now.
func (s *Store) skipped(e entry, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, known := s.skip[e.id]
	return known && now.Before(until)
}

// lose remembers an entry that came to nothing.
func (s *Store) lose(id string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.skip) >= maxSkipped {
		for id, until := range s.skip {
			if !now.Before(until) {
				delete(s.skip, id)
			}
		}
		if len(s.skip) >= maxSkipped {
			clear(s.skip)
		}
	}
	s.skip[id] = now.Add(skipFor)
}

// maxRounds bounds how often one sweep goes back to the queue because entries came to nothing.
const maxRounds = 4

// rounds treats due entries of a queue until limit executions are changed. treat returns what became of each
// entry, nil for nothing; such an entry makes room for a further one.
func (s *Store) rounds(
	ctx context.Context, q core.Queue, now time.Time, limit int, treat func([]entry) ([]*core.Execution, error),
) (core.Swept, error) {
	var swept core.Swept
	for range maxRounds {
		want := limit - len(swept.Executions)
		entries, next, err := s.due(ctx, q, now, want)
		swept.NextDue = next
		if err != nil || len(entries) == 0 {
			return swept, err
		}
		changed, err := treat(entries)
		s.collect(&swept, entries, changed, now)
		if err != nil || len(entries) < want || len(swept.Executions) == limit {
			return swept, err
		}
	}
	return swept, nil
}

// collect adds what became of entries.
func (s *Store) collect(swept *core.Swept, entries []entry, changed []*core.Execution, now time.Time) {
	for i, e := range changed {
		if e == nil {
			swept.Lost++
			s.lose(entries[i].id, now)
			continue
		}
		swept.Executions = append(swept.Executions, e)
	}
}

// ClaimReady implements core.Store.
func (s *Store) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	if len(c.IDs) > 0 {
		return s.claimIDs(ctx, c)
	}
	return s.rounds(ctx, core.QueueReady, c.Now, c.Limit, func(entries []entry) ([]*core.Execution, error) {
		return s.claimAll(ctx, entries, c)
	})
}

// claimIDs claims executions that are known by id.
func (s *Store) claimIDs(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	var swept core.Swept
	// Two claims of one id at once would leave to chance which of them wins.
	named := map[string]bool{}
	unique := slices.DeleteFunc(slices.Clone(c.IDs), func(id string) bool {
		twice := named[id]
		named[id] = true
		return twice
	})
	for ids := unique; len(ids) > 0 && len(swept.Executions) < c.Limit; {
		n := min(c.Limit-len(swept.Executions), len(ids))
		entries := make([]entry, n)
		for i, id := range ids[:n] {
			entries[i] = entry{id: id}
		}
		ids = ids[n:]
		changed, err := s.claimAll(ctx, entries, c)
		s.collect(&swept, entries, changed, c.Now)
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}

func (s *Store) claimAll(ctx context.Context, entries []entry, c core.ReadyClaim) ([]*core.Execution, error) {
	claimed := make([]*core.Execution, len(entries))
	errs := make([]error, len(entries))
	s.parallel(len(entries), func(i int) { claimed[i], errs[i] = s.claim(ctx, entries[i].id, c) })
	return claimed, errors.Join(errs...)
}

// claim starts an attempt of an execution; nil when it cannot be had.
func (s *Store) claim(ctx context.Context, id string, c core.ReadyClaim) (*core.Execution, error) {
	nonce := core.NewNonce()
	out, err := s.api.UpdateItem(ctx, s.claimReady(id, c, nonce))
	if err == nil {
		return decode(out.Attributes)
	}
	old, failed := conditionFailed(err)
	if !failed {
		return nil, writeError(s.table, err)
	}
	if old == nil {
		return nil, nil //nolint:nilnil // it does not exist
	}
	d := decoder{item: old}
	if d.text(aNonce) == nonce {
		return decode(old) // this very claim, whose answer was lost
	}
	return nil, nil //nolint:nilnil // somebody else was faster, it is not due, or it does not fit
}

// sweep applies an event to due executions of a queue.
func (s *Store) sweep(
	ctx context.Context, q core.Queue, now time.Time, limit int, ev core.Event,
	first func(context.Context, *core.Execution) error,
) (core.Swept, error) {
	return s.rounds(ctx, q, now, limit, func(entries []entry) ([]*core.Execution, error) {
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.id
		}
		records, err := s.Get(ctx, ids, core.Filter{})
		if err != nil {
			return nil, err
		}
		changed := make([]*core.Execution, len(entries))
		errs := make([]error, len(entries))
		s.parallel(len(entries), func(i int) {
			if e := records[i]; e != nil && e.Queue == q && e.DueAt.UnixMilli() == entries[i].dueAt {
				changed[i], errs[i] = s.sweepOne(ctx, e, now, ev, first)
			}
		})
		return changed, errors.Join(errs...)
	})
}

// sweepOne applies an event to one record, unless somebody else was faster.
func (s *Store) sweepOne(
	ctx context.Context, e *core.Execution, now time.Time, ev core.Event, first func(context.Context, *core.Execution) error,
) (*core.Execution, error) {
	if first != nil {
		if err := first(ctx, e); err != nil {
			return nil, err
		}
	}
	after, err := core.Transition(e, ev, now)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // not allowed in its state
	}
	after.Nonce = core.NewNonce()
	err = s.update(ctx, core.Update{Before: e, After: after})
	if errors.Is(err, core.ErrConflict) || errors.Is(err, core.ErrNotFound) {
		return nil, nil //nolint:nilnil // somebody else was faster
	}
	if err != nil {
		return nil, err
	}
	return after, nil
}

// ClaimChildrenFinished implements core.Store.
func (s *Store) ClaimChildrenFinished(ctx context.Context, c core.Claim) (core.Swept, error) {
	return s.sweep(ctx, core.QueueParent, c.Now, c.Limit, core.ClaimChildren{ExecutorID: c.ExecutorID, ExpiresAt: c.ExpiresAt}, nil)
}

// MarkClosable implements core.Store.
func (s *Store) MarkClosable(ctx context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(ctx, core.QueueFinished, w.Now, w.Limit, core.MarkClosable{}, func(ctx context.Context, e *core.Execution) error {
		if !e.Counts() {
			return nil
		}
		return s.CountFinished(ctx, w.Now, []core.Count{{
			ParentID: e.Parent.ID, Siblings: e.Parent.Siblings, Indexes: []int{e.Parent.Index},
		}})[0].Err
	})
}

// ClaimClosable implements core.Store.
func (s *Store) ClaimClosable(ctx context.Context, c core.Claim) (core.Swept, error) {
	return s.sweep(ctx, core.QueueClose, c.Now, c.Limit, core.ClaimClose{ExpiresAt: c.ExpiresAt}, nil)
}

// ExpireRunning implements core.Store.
func (s *Store) ExpireRunning(ctx context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(ctx, core.QueueRunning, w.Now, w.Limit, core.ExpireLease{MaxRecoveries: w.MaxRecoveries}, nil)
}

// ExpireSleeping implements core.Store.
func (s *Store) ExpireSleeping(ctx context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(ctx, core.QueueSleeping, w.Now, w.Limit, core.ExpireSleep{}, nil)
}

// ExpireChildrenFinished implements core.Store.
func (s *Store) ExpireChildrenFinished(ctx context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(ctx, core.QueueParentClaimed, w.Now, w.Limit, core.ExpireChildren{MaxRecoveries: w.MaxRecoveries}, nil)
}

// ExpireClosing implements core.Store.
func (s *Store) ExpireClosing(ctx context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(ctx, core.QueueClosing, w.Now, w.Limit, core.ExpireClose{}, nil)
}

// ClaimCancelled implements core.Store.
func (s *Store) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	shards, err := s.knownShards(ctx, now)
	if err != nil {
		return nil, err
	}
	// The flag is written by whoever cancels, which may have been set up with another number of shards.
	seen := map[int]bool{}
	var ids []string
	for _, n := range []int{s.opts.Shards, shards} {
		shard := shardOf(executorID, n)
		if seen[shard] {
			continue
		}
		seen[shard] = true
		more, err := s.flagged(ctx, shard, executorID, limit-len(ids))
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	return s.clearFlags(ctx, ids, now, func(e *core.Execution) bool { return e.ExecutorID == executorID })
}

// ExpireCancelled implements core.Store.
func (s *Store) ExpireCancelled(ctx context.Context, w core.Sweep) (core.Swept, error) {
	shards, err := s.knownShards(ctx, w.Now)
	if err != nil {
		return core.Swept{}, err
	}
	lists := make([][]string, shards)
	errs := make([]error, shards)
	s.parallel(shards, func(i int) { lists[i], errs[i] = s.flagged(ctx, i, "", w.Limit) })
	if err := errors.Join(errs...); err != nil {
		return core.Swept{}, err
	}
	ids := slices.Concat(lists...)
	cleared, err := s.clearFlags(ctx, ids[:min(w.Limit, len(ids))], w.Now, func(e *core.Execution) bool {
		return !e.LeaseEnd().After(w.Now)
	})
	return core.Swept{Executions: cleared}, err
}

// flagged returns the ids of flagged executions in a shard, of one executor or, for an empty one, of all.
func (s *Store) flagged(ctx context.Context, shard int, executorID string, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	in := &dynamodb.QueryInput{
		TableName: aws.String(s.table), IndexName: aws.String(cancelIndex),
		KeyConditionExpression:    aws.String("#c = :c"),
		ExpressionAttributeNames:  map[string]string{"#c": indexCancel},
		ExpressionAttributeValues: item{":c": text(cancelKey(shard))},
		Limit:                     aws.Int32(int32(min(limit, 1000))), //nolint:gosec // at most 1,000
	}
	if executorID != "" {
		in.KeyConditionExpression = aws.String("#c = :c AND #x = :x")
		in.ExpressionAttributeNames["#x"] = indexExecutor
		in.ExpressionAttributeValues[":x"] = text(executorID)
	}
	out, err := s.api.Query(ctx, in)
	if err != nil {
		return nil, explain(s.table, err)
	}
	ids := make([]string, len(out.Items))
	for i, it := range out.Items {
		d := decoder{item: it}
		ids[i] = d.text(keyPK)
	}
	return ids, nil
}

// clearFlags takes back the flags of executions that pass the test and returns those, in order.
func (s *Store) clearFlags(
	ctx context.Context, ids []string, now time.Time, test func(*core.Execution) bool,
) ([]*core.Execution, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	records, err := s.Get(ctx, ids, core.Filter{})
	if err != nil {
		return nil, err
	}
	cleared := make([]*core.Execution, len(records))
	errs := make([]error, len(records))
	s.parallel(len(records), func(i int) {
		if e := records[i]; e != nil && test(e) {
			cleared[i], errs[i] = s.sweepOne(ctx, e, now, core.ClearCancellation{}, nil)
		}
	})
	cleared = slices.DeleteFunc(cleared, func(e *core.Execution) bool { return e == nil })
	return cleared, errors.Join(errs...)
}

// Depth returns how many entries a queue has, due or not. It reads them all, 0.5 read units for 4 KB of them.
func (s *Store) Depth(ctx context.Context, q core.Queue) (int, error) {
	shards, err := s.knownShards(ctx, time.Time{})
	if err != nil {
		return 0, err
	}
	total := 0
	for shard := range shards {
		var start item
		for {
			out, err := s.api.Query(ctx, &dynamodb.QueryInput{
				TableName: aws.String(s.table), IndexName: aws.String(queueIndex), Select: types.SelectCount,
				KeyConditionExpression:    aws.String("#q = :q"),
				ExpressionAttributeNames:  map[string]string{"#q": indexQueue},
				ExpressionAttributeValues: item{":q": text(queueKey(q, shard))},
				ExclusiveStartKey:         start,
			})
			if err != nil {
				return 0, explain(s.table, err)
			}
			total += int(out.Count)
			if start = out.LastEvaluatedKey; len(start) == 0 {
				break
			}
		}
	}
	return total, nil
}

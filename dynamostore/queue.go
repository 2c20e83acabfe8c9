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
	// skipUnfit is the same for an entry that another look at the record would not change: a task that is too long
	// for what is left, an item of a later schema version.
	skipUnfit = time.Minute
	// maxSkipped bounds how many such entries are remembered.
	maxSkipped = 10_000
	// maxLook is more entries than one look ever finds.
	maxLook = 1 << 20
	// maxPages bounds how many pages of entries one look reads of a shard.
	maxPages = 8
)

// entry is what the queue index says of an execution.
type entry struct {
	id    string
	dueAt int64 // ms
	queue core.Queue
}

// look says which entries of a queue are wanted: at most limit of those that are due at dueBy. A claim of ready
// executions has left for an attempt; it is zero for the other sweeps.
type look struct {
	queue core.Queue
	now   time.Time
	dueBy time.Time // what is due later is taken for what is not due
	left  time.Duration
	limit int
	// Of a claim of ready executions: see contention.go.
	spread   int
	rivals   []string
	executor string
	shared   bool
}

// queueView is what a look at a queue saw.
type queueView struct {
	found []entry   // the wanted entries, oldest first
	next  time.Time // the first due time to come
	// due is how many entries were seen that are due, those included that are passed over; oldest is when the first of
	// them was due.
	due    int
	oldest time.Time
}

// due looks at a queue. Entries that came to nothing a moment ago are passed over. There is no upper bound in the query,
// so that one answer tells what is due and what will be next.
func (s *Store) due(ctx context.Context, l look) (v queueView, err error) {
	shards, err := s.knownShards(ctx, l.now)
	if err != nil {
		return v, err
	}
	l.limit = min(l.limit, maxLook)
	var mu sync.Mutex
	errs := make([]error, shards)
	s.parallel(shards, func(shard int) {
		p := &page{queue: l.queue, shard: shard, now: l.now}
		wanted := max(l.limit, l.limit*max(l.spread, 1+len(l.rivals))/shards)
		for pages, taken := 0, 0; !p.done && taken < wanted && pages < maxPages; pages++ {
			entries, err := s.readPage(ctx, p, wanted-taken+1)
			if err != nil {
				errs[shard] = err
				return
			}
			mu.Lock()
			for _, e := range entries {
				at := time.UnixMilli(e.dueAt).UTC()
				if at.After(l.dueBy) {
					p.done = true
					if v.next.IsZero() || at.Before(v.next) {
						v.next = at
					}
					break
				}
				if v.due++; v.oldest.IsZero() || at.Before(v.oldest) {
					v.oldest = at
				}
				if !s.skipped(e, l) {
					v.found = append(v.found, e)
					taken++
				}
			}
			mu.Unlock()
		}
	})
	if err := errors.Join(errs...); err != nil {
		return queueView{}, explain(s.where, err)
	}
	slices.SortFunc(v.found, compareEntries)
	if !l.shared {
		v.found = v.found[:min(l.limit, len(v.found))]
	}
	return v, nil
}

// note adds what a look saw to what a sweep tells; the first look counts for what was due.
func (v queueView) note(swept *core.Swept) {
	swept.NextDue = v.next
	if swept.Due == 0 {
		swept.Due, swept.OldestDue = v.due, v.oldest
	}
}

// compareEntries sorts by due time.
func compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.dueAt, b.dueAt), cmp.Compare(a.id, b.id))
}

// page is where reading a shard's entries has come to.
type page struct {
	queue core.Queue
	shard int
	now   time.Time
	start item
	done  bool
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
	entries := make([]entry, 0, len(out.Items))
	for _, it := range out.Items {
		d := decoder{item: it}
		if d.text(keySK) != sortExecution {
			s.putForeignAside(ctx, it, p)
			continue
		}
		entries = append(entries, entry{d.text(keyPK), d.int64(indexDueAt), p.queue})
	}
	p.start, p.done = out.LastEvaluatedKey, len(out.LastEvaluatedKey) == 0
	return entries, nil
}

// skip is how long an entry is passed over.
type skip struct {
	until time.Time
	// timeout is that of a task that did not fit the time left; zero for an entry that is passed over whatever is left.
	timeout time.Duration
	// ends is after when such an entry is wanted all the same, to be ended; zero for never.
	ends time.Time
}

// skipped reports whether an entry came to nothing and is to be passed over still. What its execution's entry
// becomes later, under another due time, is not.
func (s *Store) skipped(e entry, l look) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark, known := s.skips[e]
	return known && l.now.Before(mark.until) && (mark.timeout == 0 || mark.timeout > l.left) &&
		(mark.ends.IsZero() || !l.now.After(mark.ends))
}

// passOver remembers an entry that came to nothing, unless what is known of it already goes further.
func (s *Store) passOver(e entry, now time.Time, mark skip) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.skips[e]; known && old.until.After(mark.until) && now.Before(old.until) {
		return
	}
	if len(s.skips) >= maxSkipped {
		for e, old := range s.skips {
			if !now.Before(old.until) {
				delete(s.skips, e)
			}
		}
		if len(s.skips) >= maxSkipped {
			clear(s.skips)
		}
	}
	s.skips[e] = mark
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

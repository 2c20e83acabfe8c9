package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Backlog is what stands in one queue.
type Backlog struct {
	Queue core.Queue
	// Depth is how many entries there are; AtLeast tells that there are more than were counted.
	Depth   int
	AtLeast bool
	// Oldest is the earliest due time; zero for an empty queue.
	Oldest time.Time
}

// Backlogs returns what stands in each queue, quarantine last. It counts limit entries of each queue at most, for reading
// them costs half a read unit for each 4 KB, some 40 entries; 0 counts all. progress, when it is not nil, is called now and
// then, never twice at once, with how many entries are counted so far.
func (s *Store) Backlogs(ctx context.Context, now time.Time, limit int, progress func(counted int)) ([]Backlog, error) {
	shards, err := s.knownShards(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("count queues: %w", err)
	}
	queues := append(core.Queues(), QueueQuarantine)
	all := make([]Backlog, len(queues))
	errs := make([]error, len(queues))
	var mu sync.Mutex
	counted := 0
	s.parallel(len(queues), func(i int) {
		all[i], errs[i] = s.backlog(ctx, queues[i], shards, limit, func(n int) {
			if progress == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			counted += n
			progress(counted)
		})
	})
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("count queues: %w", explain(s.where, err))
	}
	return all, nil
}

// backlog counts one queue, shard by shard. Of every shard it reads the first entry, which is the oldest there.
func (s *Store) backlog(ctx context.Context, q core.Queue, shards, limit int, progress func(counted int)) (Backlog, error) {
	b := Backlog{Queue: q}
	for shard := range shards {
		for p := (&page{queue: q, shard: shard}); !p.done; {
			first, want := len(p.start) == 0, 1000
			if limit > 0 {
				want = limit - b.Depth + 1
				if want <= 1 && !first {
					b.AtLeast = true
					break
				}
			}
			entries, err := s.readPage(ctx, p, max(1, want))
			if err != nil {
				return b, err
			}
			if first && len(entries) > 0 {
				if due := time.UnixMilli(entries[0].dueAt).UTC(); b.Oldest.IsZero() || due.Before(b.Oldest) {
					b.Oldest = due
				}
			}
			b.Depth += len(entries)
			if limit > 0 && b.Depth > limit {
				b.Depth, b.AtLeast = limit, true
				break
			}
			progress(len(entries))
		}
	}
	return b, nil
}

package eventsource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/localtest/lambdalocal"
)

// lane carries the records of some items, in their order, one invocation after the other.
type lane struct {
	source *Source

	mu      sync.Mutex
	records []record
	arrived chan struct{} // has an element when there may be records
}

func newLane(s *Source) *lane { return &lane{source: s, arrived: make(chan struct{}, 1)} }

// put adds records that came together: as far as a batch holds them they are in one.
func (l *lane) put(records ...record) {
	l.mu.Lock()
	l.records = append(l.records, records...)
	l.mu.Unlock()
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// take returns the next batch; empty when there is none.
func (l *lane) take() []record {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, n := 0, 0
	for n < len(l.records) && n < l.source.opts.Mapping.BatchSize {
		size += len(l.records[n].json) + 2
		if n > 0 && size > lambdalocal.MaxSyncPayload-100 {
			break
		}
		n++
	}
	batch := l.records[:n:n]
	l.records = l.records[n:]
	return batch
}

func (l *lane) run(ctx context.Context) {
	for {
		batch := l.take()
		if len(batch) == 0 {
			select {
			case <-l.arrived:
				continue
			case <-ctx.Done():
				return
			}
		}
		l.deliver(ctx, batch)
		if ctx.Err() != nil {
			return
		}
	}
}

// throttlePause is what a lane waits before it tries again to invoke a throttled function.
const throttlePause = 50 * time.Millisecond

// deliver invokes the function with a batch until that succeeds, or the batch has been tried often enough or is too old.
func (l *lane) deliver(ctx context.Context, batch []record) {
	s := l.source
	for failures := 0; ; {
		var old int
		batch, old = young(batch, time.Now().Add(-s.opts.Mapping.RecordAge))
		s.discard(old, "they are older than the mapping allows")
		if len(batch) == 0 {
			return
		}
		event, err := eventOf(batch)
		if err == nil {
			s.count(func(st *Stats) { st.Invocations++ })
			err = s.opts.Invoke(ctx, event)
		}
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.Is(err, lambdalocal.ErrThrottled): // it counts as no try
			s.count(func(st *Stats) { st.Throttles++ })
			timer := time.NewTimer(throttlePause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		default:
			if failures++; failures > s.opts.Mapping.Retries {
				s.discard(len(batch), fmt.Sprintf("try %d failed: %v", failures, err))
				return
			}
			s.count(func(st *Stats) { st.Retries++ })
		}
	}
}

// young returns those of the records that were written at the given time or later, and how many were not.
func young(batch []record, since time.Time) (kept []record, old int) {
	for _, r := range batch {
		if r.written.Before(since) {
			old++
			continue
		}
		kept = append(kept, r)
	}
	return kept, old
}

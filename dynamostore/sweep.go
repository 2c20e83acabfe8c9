package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// maxRounds bounds how often one sweep goes back to the queue because entries came to nothing.
const maxRounds = 4

// rounds treats due entries of a queue until l.limit executions are changed. treat returns what became of each
// entry, nil for nothing; such an entry makes room for a further one.
func (s *Store) rounds(
	ctx context.Context, l look, treat func([]entry) ([]*core.Execution, error),
) (core.Swept, error) {
	var swept core.Swept
	limit := l.limit
	if limit < 1 {
		return swept, nil
	}
	for range maxRounds {
		l.limit = limit - len(swept.Executions)
		v, err := s.due(ctx, l)
		if err == nil {
			v.note(&swept)
		}
		entries := v.found
		if err != nil || len(entries) == 0 {
			return s.outcome(ctx, swept, err)
		}
		changed, err := treat(entries)
		s.collect(&swept, entries, changed, l.now)
		if err != nil || len(entries) < l.limit || len(swept.Executions) == limit {
			return s.outcome(ctx, swept, err)
		}
	}
	return swept, nil
}

// outcome returns what a sweep returns that changed what it changed and met err. What was changed is the
// caller's to look after, and nobody else's until its lease ends: an error beside it is logged, and what it
// concerns is left to the next sweep.
func (s *Store) outcome(ctx context.Context, swept core.Swept, err error) (core.Swept, error) {
	if err != nil && len(swept.Executions) > 0 {
		s.opts.Logger.WarnContext(ctx, "a part of a sweep went wrong and is left to the next one", logError, err)
		err = nil
	}
	return swept, err
}

// collect adds what became of entries.
func (s *Store) collect(swept *core.Swept, entries []entry, changed []*core.Execution, now time.Time) {
	for i, e := range changed {
		if e == nil {
			swept.Lost++
			s.passOver(entries[i], now, skip{until: now.Add(skipFor)})
			continue
		}
		swept.Executions = append(swept.Executions, e)
	}
}

// sweep applies an event to due executions of a queue.
func (s *Store) sweep(
	ctx context.Context, q core.Queue, now time.Time, limit int, ev core.Event,
	first func(context.Context, *core.Execution) error,
) (core.Swept, error) {
	corrupt := 0
	swept, err := s.rounds(ctx, look{queue: q, now: now, dueBy: now, limit: limit}, func(entries []entry) ([]*core.Execution, error) {
		records, n, err := s.records(ctx, entries, now)
		if err != nil {
			return nil, err
		}
		corrupt += n
		changed := make([]*core.Execution, len(entries))
		errs := make([]error, len(entries))
		s.parallel(len(entries), func(i int) {
			if e := records[i]; e != nil && e.Queue == q && e.DueAt.UnixMilli() == entries[i].dueAt {
				changed[i], errs[i] = s.sweepOne(ctx, e, now, ev, first)
			}
		})
		return changed, errors.Join(errs...)
	})
	swept.Corrupt = corrupt
	return swept, err
}

// records reads the executions of entries, nil for one that is gone. One that does not decode is put aside, so that it
// stops nothing but itself; corrupt is how many these are.
func (s *Store) records(ctx context.Context, entries []entry, now time.Time) (_ []*core.Execution, corrupt int, _ error) {
	keys := make([]item, len(entries))
	for i, e := range entries {
		keys[i] = primaryKey(e.id, sortExecution)
	}
	items, err := s.batchGet(ctx, keys)
	if err != nil {
		return nil, 0, err
	}
	out := make([]*core.Execution, len(entries))
	for i, entry := range entries {
		it, ok := items[itemID(keys[i])]
		if !ok {
			continue
		}
		if out[i], err = decode(it); err != nil {
			if s.putAside(ctx, it, now, err) {
				corrupt++
			}
			s.passOver(entry, now, skip{until: now.Add(skipUnfit)})
		}
	}
	return out, corrupt, nil
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
	if err := cmp.Or(core.CheckExecutor(c.ExecutorID), core.CheckLease(c.ExpiresAt)); err != nil && c.Limit > 0 {
		return core.Swept{}, err
	}
	var mu sync.Mutex
	var recovered []*core.Execution
	ev := core.ClaimChildren{ExecutorID: c.ExecutorID, ExpiresAt: c.ExpiresAt, RecoveredBelow: c.RecoveredBelow}
	swept, err := s.sweep(ctx, core.QueueParent, c.Now, c.Limit, ev, func(_ context.Context, e *core.Execution) error {
		if _, apart := c.Claim(e); apart {
			mu.Lock()
			defer mu.Unlock()
			recovered = append(recovered, e)
		}
		return nil
	})
	slices.SortFunc(recovered, func(a, b *core.Execution) int { return a.DueAt.Compare(b.DueAt) })
	swept.Recovered = recovered
	swept.Lost -= len(recovered)
	return swept, err
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
	if err := core.CheckLease(c.ExpiresAt); err != nil && c.Limit > 0 {
		return core.Swept{}, err
	}
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

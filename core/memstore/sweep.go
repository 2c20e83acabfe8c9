package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// sweep calls change for due entries of a queue, oldest due first, until limit executions are changed. change
// reports whether it changed the record. An entry that is out of date is counted as lost.
func (s *Store) sweep(q core.Queue, now time.Time, limit int, current func(*record, *entry) bool, change func(*record) bool) core.Swept {
	var swept core.Swept
	if limit < 1 {
		return swept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.indexes[q]
	x.begin()
	var taken []*entry
	for len(x.seen) > 0 && len(swept.Executions) < limit && !x.seen[0].due.After(now) {
		e := x.take()
		taken = append(taken, e)
		if swept.Due++; swept.Due == 1 {
			swept.OldestDue = e.due
		}
		r := s.records[e.id]
		if r == nil || !current(r, e) || !change(r) {
			swept.Lost++
			continue
		}
		swept.Executions = append(swept.Executions, clone(r.Execution))
	}
	switch {
	case len(x.seen) == 0:
	case x.seen[0].due.After(now):
		swept.NextDue = x.seen[0].due
	default:
		swept.Due++ // there are more
	}
	x.giveBack(taken)
	return swept
}

// sweepEvent applies an event to due executions of a queue.
func (s *Store) sweepEvent(q core.Queue, now time.Time, limit int, ev core.Event) (core.Swept, error) {
	return s.sweep(q, now, limit, inQueue, func(r *record) bool { return s.apply(r, ev, now) }), nil
}

// inQueue reports whether an entry is the record's own.
func inQueue(r *record, e *entry) bool { return r.Queue == e.queue && r.DueAt.Equal(e.due) }

// ClaimReady implements core.Store.
func (s *Store) ClaimReady(_ context.Context, c core.ReadyClaim) (core.Swept, error) {
	if c.Limit < 1 {
		return core.Swept{}, nil
	}
	if err := core.CheckExecutor(c.ExecutorID); err != nil {
		return core.Swept{}, err
	}
	if len(c.IDs) == 0 {
		return s.claim(core.QueueReady, c.Look(), c.Limit, c.Claim)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var swept core.Swept
	named := map[string]bool{}
	for _, id := range c.IDs {
		if len(swept.Executions) == c.Limit {
			break
		}
		if named[id] {
			continue
		}
		named[id] = true
		s.claimOne(s.records[id], c.Claim, &swept)
	}
	return swept, nil
}

// claim applies a claim to due executions of a queue.
func (s *Store) claim(
	q core.Queue, now time.Time, limit int, claim func(*core.Execution) (*core.Execution, bool),
) (core.Swept, error) {
	var recovered []*core.Execution
	swept := s.sweep(q, now, limit, inQueue, func(r *record) bool {
		var one core.Swept
		s.claimOne(r, claim, &one)
		recovered = append(recovered, one.Recovered...)
		return len(one.Executions) > 0
	})
	swept.Recovered = recovered
	swept.Lost -= len(recovered)
	return swept, nil
}

// claimOne claims an execution, which may be nil, and notes what became of that.
func (s *Store) claimOne(r *record, claim func(*core.Execution) (*core.Execution, bool), swept *core.Swept) {
	if r == nil {
		swept.Lost++
		return
	}
	switch claimed, apart := claim(r.Execution); {
	case claimed != nil:
		claimed.Nonce = core.NewNonce()
		s.put(r, claimed)
		swept.Executions = append(swept.Executions, clone(r.Execution))
	case apart:
		swept.Recovered = append(swept.Recovered, clone(r.Execution))
	default:
		swept.Lost++
	}
}

// ClaimChildrenFinished implements core.Store.
func (s *Store) ClaimChildrenFinished(_ context.Context, c core.Claim) (core.Swept, error) {
	if err := cmp.Or(core.CheckExecutor(c.ExecutorID), core.CheckLease(c.ExpiresAt)); err != nil && c.Limit > 0 {
		return core.Swept{}, err
	}
	return s.claim(core.QueueParent, c.Now, c.Limit, c.Claim)
}

// MarkClosable implements core.Store.
func (s *Store) MarkClosable(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(core.QueueFinished, w.Now, w.Limit, inQueue, func(r *record) bool {
		if p := r.Parent; r.Counts() {
			s.count(core.Count{ParentID: p.ID, Siblings: p.Siblings, Indexes: []int{p.Index}}, w.Now)
		}
		return s.apply(r, core.MarkClosable{}, w.Now)
	}), nil
}

// ClaimClosable implements core.Store.
func (s *Store) ClaimClosable(_ context.Context, c core.Claim) (core.Swept, error) {
	if err := core.CheckLease(c.ExpiresAt); err != nil && c.Limit > 0 {
		return core.Swept{}, err
	}
	return s.sweepEvent(core.QueueClose, c.Now, c.Limit, core.ClaimClose{ExpiresAt: c.ExpiresAt})
}

// ExpireRunning implements core.Store.
func (s *Store) ExpireRunning(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweepEvent(core.QueueRunning, w.Now, w.Limit, core.ExpireLease{MaxRecoveries: w.MaxRecoveries})
}

// ExpireSleeping implements core.Store.
func (s *Store) ExpireSleeping(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweepEvent(core.QueueSleeping, w.Now, w.Limit, core.ExpireSleep{})
}

// ExpireChildrenFinished implements core.Store.
func (s *Store) ExpireChildrenFinished(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweepEvent(core.QueueParentClaimed, w.Now, w.Limit, core.ExpireChildren{MaxRecoveries: w.MaxRecoveries})
}

// ExpireClosing implements core.Store.
func (s *Store) ExpireClosing(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweepEvent(core.QueueClosing, w.Now, w.Limit, core.ExpireClose{})
}

// flagged reports whether an entry is that of a flagged record.
func flagged(r *record, e *entry) bool { return r.flag == e }

// ClaimCancelled implements core.Store. It looks at every flagged execution, which are few.
func (s *Store) ClaimCancelled(_ context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	if limit < 1 {
		return nil, nil
	}
	if err := core.CheckExecutor(executorID); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.indexes[QueueCancellation]
	x.begin()
	var found []*record
	for _, e := range x.seen {
		if r := s.records[e.id]; r != nil && flagged(r, e) && r.ExecutorID == executorID {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *record) int {
		return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
	})
	var cleared []*core.Execution
	for _, r := range found[:min(limit, len(found))] {
		if s.apply(r, core.ClearCancellation{}, now) {
			cleared = append(cleared, clone(r.Execution))
		}
	}
	return cleared, nil
}

// ExpireCancelled implements core.Store.
func (s *Store) ExpireCancelled(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(QueueCancellation, w.Now, w.Limit, flagged, func(r *record) bool {
		return s.apply(r, core.ClearCancellation{}, w.Now)
	}), nil
}

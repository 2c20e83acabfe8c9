package storetest

import (
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

const maxRecoveries = 5

// sweeper is one of the store's sweeps over a queue.
type sweeper struct {
	name string
	make func(id string, due time.Time) *core.Execution // an execution that the sweep finds
	run  func(now time.Time, limit int) (core.Swept, error)
	ev   core.Event // what the sweep applies
}

func (s *suite) sweepers() []sweeper {
	return []sweeper{
		{"ClaimReady", ready, s.claim, start(executor)},
		{"ClaimChildrenFinished", func(id string, due time.Time) *core.Execution { return s.committed(id, 2, due) },
			s.claimParents, core.ClaimChildren{ExecutorID: executor, ExpiresAt: at(500)}},
		{"MarkClosable", s.untold, s.markClosable, core.MarkClosable{}},
		{"ClaimClosable", s.closable, s.claimClosable, core.ClaimClose{ExpiresAt: at(500)}},
		{"ExpireRunning", s.running, s.expireRunning, core.ExpireLease{MaxRecoveries: maxRecoveries}},
		{"ExpireSleeping", sleeper, s.expireSleeping, core.ExpireSleep{}},
		{"ExpireChildrenFinished", s.processing, s.expireParents, core.ExpireChildren{MaxRecoveries: maxRecoveries}},
		{"ExpireClosing", s.closing, s.expireClosing, core.ExpireClose{}},
	}
}

func (s *suite) claim(now time.Time, limit int) (core.Swept, error) {
	return s.store.ClaimReady(s.ctx, core.ReadyClaim{
		Now: now, Limit: limit, ExecutorID: executor, Left: left, Leeway: leeway,
	})
}

func claimAt(now time.Time, limit int) core.Claim {
	return core.Claim{Sweep: sweepAt(now, limit), ExecutorID: executor, ExpiresAt: at(500)}
}

func sweepAt(now time.Time, limit int) core.Sweep {
	return core.Sweep{Now: now, Limit: limit, MaxRecoveries: maxRecoveries}
}

func (s *suite) claimParents(now time.Time, limit int) (core.Swept, error) {
	return s.store.ClaimChildrenFinished(s.ctx, claimAt(now, limit))
}

func (s *suite) markClosable(now time.Time, limit int) (core.Swept, error) {
	return s.store.MarkClosable(s.ctx, sweepAt(now, limit))
}

func (s *suite) claimClosable(now time.Time, limit int) (core.Swept, error) {
	return s.store.ClaimClosable(s.ctx, claimAt(now, limit))
}

func (s *suite) expireRunning(now time.Time, limit int) (core.Swept, error) {
	return s.store.ExpireRunning(s.ctx, sweepAt(now, limit))
}

func (s *suite) expireSleeping(now time.Time, limit int) (core.Swept, error) {
	return s.store.ExpireSleeping(s.ctx, sweepAt(now, limit))
}

func (s *suite) expireParents(now time.Time, limit int) (core.Swept, error) {
	return s.store.ExpireChildrenFinished(s.ctx, sweepAt(now, limit))
}

func (s *suite) expireClosing(now time.Time, limit int) (core.Swept, error) {
	return s.store.ExpireClosing(s.ctx, sweepAt(now, limit))
}

// sweepTests holds every sweep to what they have in common. Each sweep gets a store of its own.
func sweepTests() []test {
	var tests []test
	for i, sweep := range (&suite{}).sweepers() {
		tests = append(tests,
			test{sweep.name + " takes due executions, oldest first, up to its limit", func(s *suite) {
				oldestFirst(s, s.sweepers()[i])
			}},
			test{sweep.name + " gives each execution to one of many callers", func(s *suite) {
				eachOnce(s, s.sweepers()[i], 40, 8, 7)
			}},
			test{sweep.name + " leaves what changed since to others", func(s *suite) {
				changedSince(s, s.sweepers()[i])
			}},
		)
	}
	return append(tests, test{"a sweep looks at its own queue only", ownQueueOnly})
}

// oldestFirst uses due times of which no two share a leading digit, so that text order is not taken for time order,
// and enough executions that some share a shard.
func oldestFirst(s *suite, sweep sweeper) {
	order := []int{5, 0, 100, 7, 2, 30, 1, 11}
	made := map[int]*core.Execution{}
	for _, n := range order {
		made[n] = sweep.make(fmt.Sprintf("e%d", n), at(float64(n)))
		s.insert(made[n])
	}
	id := func(n int) string { return made[n].ID }
	s.none(func() (core.Swept, error) { return sweep.run(at(-1), 10) })
	now := at(11)
	s.eventually(func() string {
		if next, err := sweep.run(at(-1), 10); err != nil || !next.NextDue.Equal(at(0)) {
			return fmt.Sprintf("before all: next due %s, error %v, want %s", next.NextDue, err, at(0))
		}
		return ""
	})
	for _, want := range [][]int{{0, 1, 2}, {5}, {7, 11}} {
		got, err := sweep.run(now, len(want))
		if err != nil {
			s.Fatal(err)
		}
		var wantIDs []string
		for _, n := range want {
			wantIDs = append(wantIDs, id(n))
		}
		s.ids(got.Executions, wantIDs...)
		if oldest := made[want[0]].DueAt; got.Due < len(want) || got.OldestDue.IsZero() || got.OldestDue.After(oldest) {
			s.Errorf("%d entries were due, the oldest at %s; want at least %d and %s", got.Due, got.OldestDue, len(want), oldest)
		}
		for i, e := range got.Executions {
			if i < len(want) {
				s.changed(made[want[i]], e, sweep.ev, now)
			}
		}
	}
	s.eventually(func() string {
		got, err := sweep.run(now, 10)
		if err != nil || len(got.Executions) != 0 || !got.NextDue.Equal(at(30)) {
			return fmt.Sprintf("after all that is due: %v, next due %s, error %v, want none and %s",
				ids(got.Executions), got.NextDue, err, at(30))
		}
		return ""
	})
	s.stored(made[30])
	s.ids(s.swept(2, func() (core.Swept, error) { return sweep.run(at(100), 10) }), id(30), id(100))
	s.eventually(func() string {
		got, err := sweep.run(at(101), 10)
		if err != nil || len(got.Executions) != 0 || !got.NextDue.IsZero() || got.Lost != 0 || got.Due != 0 || !got.OldestDue.IsZero() {
			return fmt.Sprintf("in an empty queue: %v, next due %s, %d lost, %d due since %s, error %v",
				ids(got.Executions), got.NextDue, got.Lost, got.Due, got.OldestDue, err)
		}
		return ""
	})
}

// changedSince closes one execution, and takes another away, before the sweep comes.
func changedSince(s *suite, sweep sweeper) {
	ended, gone, stays := sweep.make("ended", base), sweep.make("gone", base), sweep.make("stays", at(1))
	s.insert(ended, gone, stays)
	after := ended
	if !ended.Status.Finished() {
		after = s.update(ended, core.Cancel{Reason: "why"}, base)
	}
	if after.CloseStatus != core.CloseClosed {
		after = s.update(after, core.Close{}, base)
	}
	if err := s.store.Delete(s.ctx, gone.ID); err != nil {
		s.Fatal(err)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return sweep.run(at(2), 10) }), stays.ID)
	s.stored(after)
	if s.get(gone.ID) != nil {
		s.Error("the sweep brought back a deleted execution")
	}
}

func ownQueueOnly(s *suite) {
	made := map[string]*core.Execution{}
	for _, sweep := range s.sweepers() {
		made[sweep.name] = sweep.make("for-"+sweep.name, base)
		s.insert(made[sweep.name])
	}
	for _, sweep := range s.sweepers() {
		got := s.swept(1, func() (core.Swept, error) { return sweep.run(base, 10) })
		s.ids(got, made[sweep.name].ID)
		delete(made, sweep.name)
		for _, e := range made {
			s.stored(e)
		}
		// What the sweep left might be due for the next one: it is out of the way.
		if err := s.store.Delete(s.ctx, got[0].ID); err != nil {
			s.Fatal(err)
		}
	}
}

package storetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

func readyTests() []test {
	return []test{
		{"a claim starts an attempt under a lease", claimStartsAttempt},
		{"a claim skips executions that do not fit the time left", claimSkipsWhatDoesNotFit},
		{"a claim takes what fits nobody, whatever time is left", claimWhatFitsNobody},
		{"a claim takes what has waited too long, whatever time is left", claimWhatIsOver},
		{"a claim by ids takes the due ones in their order", claimByIDs},
		{"a claim by ids keeps to its limit and its time left", claimByIDsWithinBounds},
		{"an execution that failed an attempt is claimed again when its delay is over", claimAgain},
		{"executions due at the same time are all claimed", claimTies},
		{"a claim leaves what became due after DueBy", claimLeavesWhatIsDueLater},
		{"a claim leaves what was recovered too often, and tells", claimLeavesRecovered},
		{"a claim of parents leaves what was recovered too often, and tells", claimLeavesRecoveredParents},
	}
}

func claimStartsAttempt(s *suite) {
	e := ready("a", base)
	s.insert(e)
	got := s.swept(1, func() (core.Swept, error) { return s.claim(at(2), 10) })[0]
	s.changed(e, got, start(executor), at(2))
	if got.Status != core.StatusRunning || got.ExecutorID != executor || got.Attempts != 1 || got.Rev != 2 ||
		!got.StartedAt.Equal(at(2)) || !got.ExpiresAt.Equal(at(2).Add(timeout+leeway)) ||
		got.Queue != core.QueueRunning || !got.DueAt.Equal(got.ExpiresAt) || !got.UpdatedAt.Equal(at(2)) {
		s.Errorf("record %+v", got)
	}
}

// passOver is for how many seconds a store may pass over an entry that came to nothing.
const passOver = 5

func claimSkipsWhatDoesNotFit(s *suite) {
	for i, timeout := range []time.Duration{time.Minute, time.Second, 2 * time.Minute, 30 * time.Second} {
		e := ready(fmt.Sprintf("e%d", i), at(float64(i)))
		e.Timeout = timeout
		s.insert(e)
	}
	short := func(limit int) (core.Swept, error) {
		return s.store.ClaimReady(s.ctx, core.ReadyClaim{
			Now: at(9), Limit: limit, ExecutorID: executor, Left: 30 * time.Second, Leeway: leeway,
		})
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return short(1) }), "e1")
	s.ids(s.swept(1, func() (core.Swept, error) { return short(10) }), "e3")
	s.none(func() (core.Swept, error) { return short(10) })
	s.ids(s.swept(2, func() (core.Swept, error) { return s.claim(at(9+passOver), 10) }), "e0", "e2")
}

// unfit is a claim of an executor with 1 s left, of those that have 30 s at most.
func (s *suite) unfit(now time.Time, limit int, ids ...string) (core.Swept, error) {
	return s.store.ClaimReady(s.ctx, core.ReadyClaim{
		Now: now, Limit: limit, ExecutorID: executor, Left: time.Second, Most: 30 * time.Second, Leeway: leeway, IDs: ids,
	})
}

// claimed fails the test when the record is not what StartAttempt made of e for such a claim, under a short lease.
func (s *suite) claimedUnfit(e, got *core.Execution, now time.Time) {
	s.Helper()
	s.changed(e, got, core.StartAttempt{ExecutorID: executor, Left: time.Second, Most: 30 * time.Second, Leeway: leeway}, now)
	if lease := min(e.Timeout, 30*time.Second) + leeway; !got.ExpiresAt.Equal(now.Add(lease)) || !got.DueAt.Equal(got.ExpiresAt) {
		s.Errorf("the lease of %s is %s, want %s", got.ID, got.ExpiresAt.Sub(now), lease)
	}
}

func claimWhatFitsNobody(s *suite) {
	var all []*core.Execution
	for i, timeout := range []time.Duration{30 * time.Second, 30*time.Second + time.Millisecond, time.Second, 20 * time.Minute, time.Hour} {
		e := ready(fmt.Sprintf("e%d", i), at(float64(i)))
		e.Timeout = timeout
		all = append(all, e)
	}
	s.insert(all...)
	got := s.swept(3, func() (core.Swept, error) { return s.unfit(at(9), 3) })
	s.ids(got, "e1", "e2", "e3")
	for _, e := range got {
		i := int(e.ID[1] - '0')
		s.claimedUnfit(all[i], e, at(9))
		s.stored(e)
	}
	if swept, err := s.unfit(at(9), 10, "e0", "e3", "e4", "none"); err != nil || len(swept.Executions) != 1 {
		s.Errorf("by ids: %d, error %v", len(swept.Executions), err)
	} else {
		s.claimedUnfit(all[4], swept.Executions[0], at(9))
	}
	s.stored(all[0])
	s.none(func() (core.Swept, error) { return s.unfit(at(9), 10) })
	future := ready("future", at(50))
	future.Timeout = time.Hour
	s.insert(future)
	s.none(func() (core.Swept, error) { return s.unfit(at(49), 10) })
	if swept, err := s.unfit(at(49), 10, "future"); err != nil || len(swept.Executions) != 0 {
		s.Errorf("not due: %d, error %v", len(swept.Executions), err)
	}
}

func claimWhatIsOver(s *suite) {
	waits, late, both := ready("waits", at(1)), ready("late", at(2)), ready("both", at(3))
	waits.Timeout, waits.ScheduleToStart = 10*time.Second, 5*time.Second
	late.Timeout, late.StartToFinish, late.StartedAt, late.FinishBy = 10*time.Second, 5*time.Second, at(2), at(7)
	both.Timeout, both.ScheduleToStart, both.StartToFinish, both.FinishBy = 10*time.Second, time.Hour, 5*time.Second, at(6.5)
	s.insert(waits, late, both)
	s.none(func() (core.Swept, error) { return s.unfit(at(6), 10) })
	s.ids(s.swept(1, func() (core.Swept, error) { return s.unfit(at(6.5+passOver), 1) }), "waits")
	got, err := s.unfit(at(6.5+passOver), 10, "late")
	if err != nil || len(got.Executions) != 1 {
		s.Fatalf("by id: %d, error %v", len(got.Executions), err)
	}
	s.claimedUnfit(late, got.Executions[0], at(6.5+passOver))
	rest := s.swept(1, func() (core.Swept, error) { return s.unfit(at(6.5+passOver), 10) })
	s.ids(rest, "both")
	s.claimedUnfit(both, rest[0], at(6.5+passOver))
}

func (s *suite) claimIDs(now time.Time, limit int, left time.Duration, ids ...string) []*core.Execution {
	s.Helper()
	got, err := s.store.ClaimReady(s.ctx, core.ReadyClaim{
		Now: now, Limit: limit, ExecutorID: executor, Left: left, Leeway: leeway, IDs: ids,
	})
	if err != nil {
		s.Fatal(err)
	}
	return got.Executions
}

func claimByIDs(s *suite) {
	a, b, c, future := ready("a", at(3)), ready("b", at(1)), ready("c", at(2)), ready("future", at(9))
	s.insert(a, b, c, future, ready("not named", base), s.running("running", base))
	got := s.claimIDs(at(5), 10, left, "a", "future", "none", "b", "running", "a", "c")
	s.ids(got, "a", "b", "c")
	for i, before := range []*core.Execution{a, b, c} {
		if i < len(got) {
			s.changed(before, got[i], start(executor), at(5))
		}
	}
	s.stored(future)
	s.ids(s.claimIDs(at(5), 10, left, "a", "b"))
	s.ids(s.claimIDs(at(9), 10, left, "future"), "future")
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claim(at(9), 10) }), "not named")
}

func claimByIDsWithinBounds(s *suite) {
	long := ready("long", base)
	long.Timeout = time.Minute
	s.insert(long, ready("a", at(1)), ready("b", at(2)))
	s.ids(s.claimIDs(at(5), 10, timeout, "long", "b"), "b")
	s.ids(s.claimIDs(at(5), 1, left, "a", "long"), "a")
	s.ids(s.claimIDs(at(5), 10, left, "a", "long"), "long")
}

func claimAgain(s *suite) {
	e := ready("a", base)
	e.Retry.MaxAttempts = 2
	s.insert(e)
	s.swept(1, func() (core.Swept, error) { return s.claim(base, 1) })
	e = s.update(s.get("a"), core.FailAttempt{
		ExecutorID: executor, Failure: core.Failure{Code: core.CodeFailed, Message: "no"}, Delay: 1500 * time.Millisecond,
	}, at(1))
	s.none(func() (core.Swept, error) { return s.claim(at(2.499), 1) })
	got := s.swept(1, func() (core.Swept, error) { return s.claim(at(2.5), 1) })[0]
	s.changed(e, got, start(executor), at(2.5))
	if got.Attempts != 2 || got.Failure == nil || got.Failure.Message != "no" {
		s.Errorf("attempt %d, failure %v", got.Attempts, got.Failure)
	}
}

func claimTies(s *suite) {
	var all []*core.Execution
	for i := range 25 {
		all = append(all, ready(fmt.Sprintf("e%d", i), base))
	}
	s.insert(all...)
	got := map[string]bool{}
	for range tries {
		swept, err := s.claim(base, 10)
		if err != nil || len(swept.Executions) > 10 {
			s.Fatalf("%d executions, error %v", len(swept.Executions), err)
		}
		for _, e := range swept.Executions {
			if got[e.ID] {
				s.Errorf("%s was claimed twice", e.ID)
			}
			got[e.ID] = true
		}
	}
	if len(got) != len(all) {
		s.Errorf("%d of %d were claimed", len(got), len(all))
	}
}

// leaves calls claim until it has returned all that it should take and leave, in any order.
func (s *suite) leaves(claim func() (core.Swept, error), take, leave []string) {
	s.Helper()
	taken, left := map[string]bool{}, map[string]bool{}
	for range tries {
		got, err := claim()
		if err != nil {
			s.Fatal(err)
		}
		for _, id := range ids(got.Executions) {
			taken[id] = true
		}
		for _, id := range ids(got.Recovered) {
			left[id] = true
		}
		if len(taken) >= len(take) && len(left) >= len(leave) {
			break
		}
	}
	for what, diff := range map[string]string{
		"taken": cmp.Diff(take, slices.Sorted(maps.Keys(taken))), "left": cmp.Diff(leave, slices.Sorted(maps.Keys(left))),
	} {
		if diff != "" {
			s.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func claimLeavesWhatIsDueLater(s *suite) {
	for i := range 5 {
		s.insert(ready(fmt.Sprintf("e%d", i), at(float64(i))))
	}
	claim := core.ReadyClaim{Now: at(4), DueBy: at(1), Limit: 10, ExecutorID: executor, Left: left, Leeway: leeway}
	var swept core.Swept
	got := s.swept(2, func() (core.Swept, error) {
		var err error
		swept, err = s.store.ClaimReady(s.ctx, claim)
		return swept, err
	})
	s.ids(got, "e0", "e1")
	if !got[0].StartedAt.Equal(at(4)) || !got[0].ExpiresAt.Equal(at(4).Add(timeout+leeway)) {
		s.Errorf("an attempt began at %s under a lease until %s, and not now", got[0].StartedAt, got[0].ExpiresAt)
	}
	if swept.Due != 2 || !swept.NextDue.Equal(at(2)) {
		s.Errorf("%d were due, the next at %s", swept.Due, swept.NextDue)
	}
	claim.IDs = []string{"e3"}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.store.ClaimReady(s.ctx, claim) }), "e3")
	s.ids(s.swept(2, func() (core.Swept, error) { return s.claim(at(4), 10) }), "e2", "e4")
}

func claimLeavesRecovered(s *suite) {
	recovered := func(id string, due time.Time, times int) *core.Execution {
		e := ready(id, due)
		e.Recoveries = times
		return e
	}
	twice, five := recovered("twice", base, 2), recovered("five", at(1), 5)
	late, waited := recovered("late", at(4), 5), recovered("waited", at(5), 5) // no code is to run for these
	late.StartToFinish, late.FinishBy = time.Second, at(5)
	waited.ScheduleToStart = time.Second
	s.insert(twice, five, ready("a", at(2)), recovered("once", at(3), 1), recovered("not due", at(900), 2), late, waited)
	claim := core.ReadyClaim{Now: at(9), Limit: 10, ExecutorID: executor, Left: left, Leeway: leeway, RecoveredBelow: 2}
	s.leaves(func() (core.Swept, error) { return s.store.ClaimReady(s.ctx, claim) }, []string{"a", "late", "once", "waited"}, []string{"five", "twice"})
	s.stored(twice)
	s.stored(five)
	claim.RecoveredBelow, claim.IDs = 3, []string{"five", "not due", "twice", "none"}
	swept, err := s.store.ClaimReady(s.ctx, claim)
	if err != nil {
		s.Fatal(err)
	}
	s.ids(swept.Executions, "twice")
	s.ids(swept.Recovered, "five")
	if swept.Lost != 2 {
		s.Errorf("%d came to nothing, not 2", swept.Lost)
	}
	s.ids(s.claimIDs(at(9), 10, left, "five"), "five")
}

func claimLeavesRecoveredParents(s *suite) {
	parent := func(id string, due time.Time, times int) *core.Execution {
		e := s.committed(id, 2, due)
		e.Family.Recoveries = times
		return e
	}
	twice := parent("twice", base, 2)
	late := parent("late", at(3), 5)
	late.StartToFinish, late.FinishBy = time.Second, at(4)
	s.insert(twice, parent("a", at(1), 0), parent("once", at(2), 1), late)
	claim := claimAt(at(9), 10)
	claim.RecoveredBelow = 2
	s.leaves(func() (core.Swept, error) { return s.store.ClaimChildrenFinished(s.ctx, claim) }, []string{"a", "late", "once"}, []string{"twice"})
	s.stored(twice)
	claim = claimAt(at(9+passOver), 10)
	claim.RecoveredBelow = 3
	s.ids(s.swept(1, func() (core.Swept, error) { return s.store.ClaimChildrenFinished(s.ctx, claim) }), "twice")
}

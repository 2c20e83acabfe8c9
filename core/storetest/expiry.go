package storetest

import (
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func expiryTests() []test {
	return []test{
		{"an attempt whose executor died is recovered, and fails when that happens too often", expireAttempts},
		{"a finished execution whose executor died goes on to be followed up", expireFinished},
		{"a sleep that nobody ended times out", expireSleeps},
		{"finished children whose executor died are processed again, up to a limit", expireProcessing},
		{"a parent that finished under its lease goes on to be followed up", expireFinishedParent},
		{"closing is tried again after growing delays, for ever", expireClosingDelays},
		{"a lease that was ended in time does not expire", endedInTime},
	}
}

// cycle lets a lease run out again and again: begin starts it anew, expire ends it. It returns the last record.
func (s *suite) cycle(
	times int, begin func(now time.Time) *core.Execution, expire func(time.Time, int) (core.Swept, error), ev core.Event,
) *core.Execution {
	s.Helper()
	var last *core.Execution
	for i := range times {
		before := begin(at(float64(1000 * i)))
		if before == nil {
			s.Fatalf("nothing to begin after %d leases ran out", i)
		}
		s.none(func() (core.Swept, error) { return expire(before.DueAt.Add(-time.Millisecond), 10) })
		last = s.swept(1, func() (core.Swept, error) { return expire(before.DueAt, 10) })[0]
		s.changed(before, last, ev, before.DueAt)
	}
	return last
}

func expireAttempts(s *suite) {
	s.insert(ready("a", base))
	last := s.cycle(maxRecoveries+1, func(now time.Time) *core.Execution {
		return s.swept(1, func() (core.Swept, error) { return s.claim(now, 1) })[0]
	}, s.expireRunning, core.ExpireLease{MaxRecoveries: maxRecoveries})
	if last.Status != core.StatusFailed || last.Failure == nil || last.Failure.Code != core.CodeCrashed ||
		last.Recoveries != maxRecoveries+1 {
		s.Errorf("%s, failure %v, %d recoveries", last.Status, last.Failure, last.Recoveries)
	}
}

func expireFinished(s *suite) {
	e := child("a", "parent", 0, 2, base)
	s.insert(e)
	e = s.update(e, start(executor), base)
	e = s.update(e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: []byte("1")}}, at(1))
	s.none(func() (core.Swept, error) { return s.markClosable(at(34), 10) })
	got := s.swept(1, func() (core.Swept, error) { return s.expireRunning(at(35), 10) })[0]
	s.changed(e, got, core.ExpireLease{MaxRecoveries: maxRecoveries}, at(35))
	if got.Status != core.StatusCompleted || got.Queue != core.QueueFinished || !got.DueAt.Equal(at(35)) {
		s.Errorf("%s in queue %q", got.Status, got.Queue)
	}
}

func expireSleeps(s *suite) {
	e := sleeper("key", at(1))
	woken := sleeper("woken", at(1))
	s.insert(e, woken)
	woken = s.update(woken, core.Wake{Output: core.Payload{Data: []byte("2")}}, base)
	s.none(func() (core.Swept, error) { return s.expireSleeping(at(0.999), 10) })
	got := s.swept(1, func() (core.Swept, error) { return s.expireSleeping(at(1), 10) })[0]
	s.changed(e, got, core.ExpireSleep{}, at(1))
	s.stored(woken)
	s.none(func() (core.Swept, error) { return s.expireRunning(at(1000), 10) })
}

func expireProcessing(s *suite) {
	s.insert(s.committed("a", 2, at(1)))
	last := s.cycle(maxRecoveries+1, func(now time.Time) *core.Execution {
		return s.swept(1, func() (core.Swept, error) {
			return s.store.ClaimChildrenFinished(s.ctx, core.Claim{
				Sweep: sweepAt(now.Add(time.Minute), 1), ExecutorID: executor, ExpiresAt: now.Add(2 * time.Minute),
			})
		})[0]
	}, s.expireParents, core.ExpireChildren{MaxRecoveries: maxRecoveries})
	if last.Status != core.StatusFailed || last.Failure == nil || last.Failure.Code != core.CodeCrashed ||
		last.Queue != core.QueueFinished {
		s.Errorf("%s, failure %v, queue %q", last.Status, last.Failure, last.Queue)
	}
}

func expireFinishedParent(s *suite) {
	e := s.processing("a", at(10))
	e.Parent = &core.Parent{ID: "gone", TaskID: "parent", Index: 1, Siblings: 2}
	s.insert(e)
	s.count("a", 1, 0)
	e = s.update(s.get("a"), core.CompleteFamily{ExecutorID: executor}, at(1))
	got := s.swept(1, func() (core.Swept, error) { return s.expireParents(at(10), 10) })[0]
	s.changed(e, got, core.ExpireChildren{MaxRecoveries: maxRecoveries}, at(10))
	if got.Status != core.StatusCompleted || got.Queue != core.QueueFinished {
		s.Errorf("%s in queue %q", got.Status, got.Queue)
	}
}

func expireClosingDelays(s *suite) {
	s.insert(s.closable("a", base))
	now := base
	for i := range 12 {
		claimed := s.swept(1, func() (core.Swept, error) {
			return s.store.ClaimClosable(s.ctx, core.Claim{
				Sweep: sweepAt(now, 1), ExecutorID: executor, ExpiresAt: now.Add(time.Second),
			})
		})[0]
		now = claimed.DueAt
		got := s.swept(1, func() (core.Swept, error) { return s.expireClosing(now, 1) })[0]
		s.changed(claimed, got, core.ExpireClose{}, now)
		if got.CloseRecoveries != i+1 || !got.DueAt.After(now) {
			s.Fatalf("recovery %d: %d recoveries, due %s after %s", i, got.CloseRecoveries, got.DueAt, now)
		}
		if i < 2 {
			s.none(func() (core.Swept, error) { return s.claimClosable(got.DueAt.Add(-time.Millisecond), 1) })
		}
		now = got.DueAt
	}
}

func endedInTime(s *suite) {
	for i := range 5 {
		e := ready(fmt.Sprintf("e%d", i), base)
		s.insert(e)
		e = s.update(e, start(executor), base)
		s.update(e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: []byte("1")}}, at(1))
	}
	s.none(func() (core.Swept, error) { return s.expireRunning(at(1000), 10) })
}

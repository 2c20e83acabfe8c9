package storetest

import (
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func readyTests() []test {
	return []test{
		{"a claim starts an attempt under a lease", claimStartsAttempt},
		{"a claim skips executions that do not fit the time left", claimSkipsWhatDoesNotFit},
		{"a claim by ids takes the due ones in their order", claimByIDs},
		{"a claim by ids keeps to its limit and its time left", claimByIDsWithinBounds},
		{"an execution that failed an attempt is claimed again when its delay is over", claimAgain},
		{"executions due at the same time are all claimed", claimTies},
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

package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/perdure-dev/perdure/core"
)

func cancellationTests() []test {
	return []test{
		{"an executor claims the flags of its own cancelled executions", claimFlags},
		{"an executor claims at most limit flags", claimFlagsLimit},
		{"a flag outlives the closing of its execution", flagOfClosed},
		{"flags expire when the executor's lease is over", expireFlags},
		{"expiring flags keeps to its limit", expireFlagsLimit},
	}
}

// flagged puts a cancelled execution whose executor is to be told; its lease ends at base plus 35 s.
func (s *suite) flagged(id, executorID string) *core.Execution {
	s.Helper()
	e := s.apply(ready(id, base), start(executorID), base)
	s.insert(e)
	e = s.update(e, core.Cancel{Reason: "why"}, at(1))
	if !e.NeedsCancellation {
		s.Fatalf("%s is not flagged", id)
	}
	return e
}

// flags claims flags until n are claimed.
func (s *suite) flags(n int, executorID string, limit int) []*core.Execution {
	s.Helper()
	var all []*core.Execution
	for range tries {
		got, err := s.store.ClaimCancelled(s.ctx, executorID, at(2), limit)
		if err != nil || len(got) > limit {
			s.Fatalf("%d flags, limit %d, error %v", len(got), limit, err)
		}
		if all = append(all, got...); len(all) >= n && n > 0 {
			break
		}
	}
	slices.SortFunc(all, func(a, b *core.Execution) int { return strings.Compare(a.ID, b.ID) })
	if len(all) != n {
		s.Fatalf("claimed the flags of %v, want %d", ids(all), n)
	}
	return all
}

func claimFlags(s *suite) {
	a, other := s.flagged("a", "x1"), s.flagged("b", "x2")
	s.insert(s.apply(ready("running", base), start("x1"), base))
	held := s.processing("held", at(30))
	s.insert(held)
	held = s.update(held, core.Cancel{Reason: "why"}, at(1))

	got := s.flags(1, "x1", 10)[0]
	s.changed(a, got, core.ClearCancellation{}, at(2))
	s.stored(other)
	s.changed(held, s.flags(1, executor, 10)[0], core.ClearCancellation{}, at(2))
	s.flags(0, "x1", 10)
	s.flags(0, "x", 10)
	s.ids(s.flags(1, "x2", 10), "b")
}

func claimFlagsLimit(s *suite) {
	for i := range 5 {
		s.flagged(fmt.Sprintf("e%d", i), "x1")
	}
	seen := map[string]bool{}
	for _, e := range s.flags(5, "x1", 2) {
		seen[e.ID] = true
	}
	if len(seen) != 5 {
		s.Errorf("claimed %v", seen)
	}
}

func flagOfClosed(s *suite) {
	e := s.flagged("a", "x1")
	if e.CloseStatus != core.CloseClosed {
		s.Fatalf("close status %s", e.CloseStatus)
	}
	e = s.apply(child("child", "gone", 0, 1, base), start("x2"), base)
	s.insert(e)
	e = s.update(e, core.Cancel{Reason: "why"}, at(1))
	s.update(e, core.Close{}, at(1))
	s.ids(s.flags(1, "x1", 10), "a")
	s.ids(s.flags(1, "x2", 10), "child")
}

func expireFlags(s *suite) {
	a := s.flagged("a", "x1")
	held := s.processing("held", at(60))
	s.insert(held, s.running("running", at(1)))
	held = s.update(held, core.Cancel{Reason: "why"}, at(1))
	expire := func(seconds float64) func() (core.Swept, error) {
		return func() (core.Swept, error) { return s.store.ExpireCancelled(s.ctx, sweepAt(at(seconds), 10)) }
	}
	s.none(expire(34.999))
	s.changed(a, s.swept(1, expire(35))[0], core.ClearCancellation{}, at(35))
	s.none(expire(59.999))
	s.stored(held)
	s.changed(held, s.swept(1, expire(60))[0], core.ClearCancellation{}, at(60))
	s.none(expire(1000))
	s.flags(0, "x1", 10)
}

func expireFlagsLimit(s *suite) {
	for i := range 5 {
		s.flagged(fmt.Sprintf("e%d", i), fmt.Sprintf("x%d", i%3))
	}
	s.swept(5, func() (core.Swept, error) {
		got, err := s.store.ExpireCancelled(s.ctx, sweepAt(at(100), 2))
		if len(got.Executions) > 2 {
			s.Errorf("expired %d flags, limit 2", len(got.Executions))
		}
		return got, err
	})
}

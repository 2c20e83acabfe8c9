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
		{"an executor's cancellations come in the order of their times", claimFlagsInOrder},
		{"a flag outlives the closing of its execution", flagOfClosed},
		{"flags expire when the executor's lease is over", expireFlags},
		{"expiring flags keeps to its limit", expireFlagsLimit},
		{"flags expire in the order of their leases, however many are not due", expireFlagsInOrder},
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

// flagsSeen makes an index that lags by looks show the flags.
func (s *suite) flagsSeen() {
	s.Helper()
	for range tries {
		if got, err := s.store.ClaimCancelled(s.ctx, "nobody", at(1), 1); err != nil || len(got) > 0 {
			s.Fatalf("flags of nobody: %v, error %v", ids(got), err)
		}
	}
}

// claimFlagsInOrder cancels in an order that is neither that of the ids, nor of the inserts, nor of the leases.
func claimFlagsInOrder(s *suite) {
	order := []string{"c", "a", "e", "b", "d"}
	made := map[string]*core.Execution{}
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		began := at(float64(-i))
		made[id] = s.apply(ready(id, began), start("x1"), began)
		s.insert(made[id])
		s.flagged("other-"+id, "x2")
	}
	for i, id := range order {
		made[id] = s.update(made[id], core.Cancel{Reason: "why"}, at(1+float64(i)/16))
	}
	claim := func(limit int, want ...string) {
		s.Helper()
		got, err := s.store.ClaimCancelled(s.ctx, "x1", at(2), limit)
		if err != nil {
			s.Fatal(err)
		}
		s.ids(got, want...)
	}
	s.flagsSeen()
	claim(2, "c", "a")
	claim(2, "e", "b")
	claim(2, "d")
	claim(2)
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

// expireFlagsInOrder has leases that end in another order than that of the ids and of the cancellations, behind many that
// have not ended.
func expireFlagsInOrder(s *suite) {
	for i := range 20 {
		s.flagged(fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i)) // their leases end at 35 s
	}
	for i, seconds := range []float64{7, 5, 9, 6, 8} {
		e := s.running(fmt.Sprintf("e%d", i), at(seconds))
		s.insert(e)
		s.update(e, core.Cancel{Reason: "why"}, at(1))
	}
	s.flagsSeen()
	var got []string
	for range 3 {
		swept, err := s.store.ExpireCancelled(s.ctx, sweepAt(at(9), 2))
		if err != nil {
			s.Fatal(err)
		}
		got = append(got, ids(swept.Executions)...)
		if !swept.NextDue.IsZero() && !swept.NextDue.Equal(at(35)) {
			s.Errorf("next due %s", swept.NextDue)
		}
	}
	if want := "[e1 e3 e0 e4 e2]"; fmt.Sprint(got) != want {
		s.Errorf("expired %v, want %s", got, want)
	}
	s.eventually(func() string {
		if swept, err := s.store.ExpireCancelled(s.ctx, sweepAt(at(9), 2)); err != nil || len(swept.Executions) > 0 || !swept.NextDue.Equal(at(35)) {
			return fmt.Sprintf("expired %v, next due %s, error %v", ids(swept.Executions), swept.NextDue, err)
		}
		return ""
	})
}

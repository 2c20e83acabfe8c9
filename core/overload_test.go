package core_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// slowStore serves its requests one after the other, in the order in which they come.
type slowStore struct {
	each  time.Duration
	stall func(n int) time.Duration // how much longer the n-th request takes; nil for no longer

	mu     sync.Mutex
	served int
	ops    map[string]int
	free   time.Time // when all that came before is served
}

// serve waits until a request that comes now is served.
func (s *slowStore) serve(op string) {
	s.mu.Lock()
	if now := time.Now(); s.free.Before(now) {
		s.free = now
	}
	s.served++
	if s.ops == nil {
		s.ops = map[string]int{}
	}
	s.ops[op]++
	s.free = s.free.Add(s.each)
	if s.stall != nil {
		s.free = s.free.Add(s.stall(s.served))
	}
	wait := time.Until(s.free)
	s.mu.Unlock()
	time.Sleep(wait)
}

// overload runs a parent of children on a slow store with several engines, and fails the test when one of them does not
// complete, or later than within.
func overload(t *testing.T, store *slowStore, engines, children int, each, within time.Duration) {
	t.Helper()
	child := core.NewTask("child", func(ctx context.Context, _ int) (int, error) {
		select {
		case <-time.After(each):
			return 1, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: 10 * time.Second})
	fan := core.NewParentTask("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		out := make([]core.Child, n)
		for i := range out {
			out[i] = child.Child(i)
		}
		return n, out, nil
	}, core.TaskOptions{Timeout: 10 * time.Second})
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Logger = nil
		w.config.Store = slowed{w.store, store}
		h := enqueue(w, fan, children)
		began := time.Now()
		var stops []func()
		for range engines {
			stops = append(stops, w.start())
		}
		ctx, cancel := context.WithTimeout(w.ctx, time.Hour)
		defer cancel()
		_, err := h.Wait(ctx)
		took := time.Since(began)
		for range 20 {
			if w.closed() {
				break
			}
			w.settle()
		}
		for _, stop := range stops {
			stop()
		}
		ended := map[core.Status]int{}
		recoveries := 0
		w.store.Each(func(e *core.Execution) {
			ended[e.Status]++
			recoveries += e.Recoveries
			if e.Status != core.StatusCompleted && ended[e.Status] < 5 {
				t.Errorf("%s is %s: %v", e.TaskID, e.Status, e.Failure)
			}
		})
		t.Logf("after %s, %d requests %v: %v, %d recoveries", took, store.served, store.ops, ended, recoveries)
		if err != nil || took > within {
			t.Errorf("it ended after %s, error %v", took, err)
		}
		w.checkClosed()
	})
}

func TestOverload_MakesExecutionsLateAndFailsNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		each              time.Duration
		engines, children int
		code              time.Duration
		within            time.Duration
	}{
		{"20 requests a second", 50 * time.Millisecond, 2, 1000, 100 * time.Millisecond, 3 * time.Minute},
		{"5 requests a second", 200 * time.Millisecond, 3, 300, 100 * time.Millisecond, 10 * time.Minute},
		{"children of a second", 50 * time.Millisecond, 2, 500, time.Second, 3 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			overload(t, &slowStore{each: c.each}, c.engines, c.children, c.code, c.within)
		})
	}
}

func TestOverload_OfAStoreThatStallsForAWhileFailsNone(t *testing.T) {
	t.Parallel()
	stall := func(n int) time.Duration {
		if n%300 == 250 {
			return 20 * time.Second
		}
		return 0
	}
	overload(t, &slowStore{each: 10 * time.Millisecond, stall: stall}, 2, 1000, 100*time.Millisecond, 10*time.Minute)
}

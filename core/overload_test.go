package core_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// busyStore serves its requests one after the other, in the order in which they come.
type busyStore struct {
	each  time.Duration
	alone bool                      // each record of a request is served alone, and not all together
	stall func(n int) time.Duration // how much longer the n-th request takes; nil for no longer

	mu     sync.Mutex
	served int
	ops    map[string]int
	free   time.Time // when all that came before is served
}

// serve waits until a request for so many records that comes now is served.
func (s *busyStore) serve(op string, records int) {
	s.mu.Lock()
	if now := time.Now(); s.free.Before(now) {
		s.free = now
	}
	s.served++
	if s.ops == nil {
		s.ops = map[string]int{}
	}
	s.ops[op]++
	if !s.alone {
		records = 1
	}
	s.free = s.free.Add(time.Duration(max(1, records)) * s.each)
	if s.stall != nil {
		s.free = s.free.Add(s.stall(s.served))
	}
	wait := time.Until(s.free)
	s.mu.Unlock()
	time.Sleep(wait)
}

// overloaded runs work on a slow store with several engines, and fails the test when an execution does not complete, or the
// last of them later than within.
func overloaded(t *testing.T, store *busyStore, engines int, work string, n int, each, within time.Duration) {
	t.Helper()
	child := core.NewTask("child", func(ctx context.Context, in int) (int, error) {
		select {
		case <-time.After(each):
			return in, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: 10 * time.Second})
	fan := core.NewParentTaskWithFinalize("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		out := make([]core.Child, n)
		for i := range out {
			out[i] = child.Child(i)
		}
		return n, out, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) { return len(r.Children), nil },
		core.TaskOptions{Timeout: 10 * time.Second})
	chain := core.NewSequentialTask("chain", core.Then(core.Then(child, child), child), core.TaskOptions{})
	inIdleWorld(t, []core.Definition{fan, child, chain}, func(w *world) {
		w.config.Logger = nil
		w.config.Store = slowed{w.store, store}
		var handles []*core.Handle[int]
		switch work {
		case "children":
			handles = append(handles, enqueue(w, fan, n))
		case "roots":
			for i := range n {
				handles = append(handles, enqueue(w, child, i))
			}
		case "sequences":
			for i := range n {
				handles = append(handles, enqueue(w, chain, i))
			}
		}
		began := time.Now()
		var stops []func()
		for range engines {
			stops = append(stops, w.start())
		}
		ctx, cancel := context.WithTimeout(w.ctx, time.Hour)
		defer cancel()
		for _, h := range handles {
			if _, err := h.Wait(ctx); err != nil {
				t.Error(err)
			}
		}
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
		t.Logf("%s: %d requests %v: %v, %d recoveries", took, store.served, store.ops, ended, recoveries)
		if took > within {
			t.Errorf("the last ended after %s, not within %s", took, within)
		}
		w.checkClosed()
	})
}

// A store that served 20 requests a second had two engines at work on 1,000 children with 10 s each: 447 of them ended
// failed or timed out without having been run.
func TestOverload_MakesExecutionsLateAndFailsNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		each    time.Duration
		alone   bool
		engines int
		work    string
		n       int
		code    time.Duration
		within  time.Duration
	}{
		{"children", 50 * time.Millisecond, false, 2, "children", 1000, 100 * time.Millisecond, 2 * time.Minute},
		{"children, by the record", 50 * time.Millisecond, true, 2, "children", 1000, 100 * time.Millisecond, 10 * time.Minute},
		{"children of a second", 50 * time.Millisecond, false, 2, "children", 500, time.Second, 3 * time.Minute},
		{"children of nine seconds", 50 * time.Millisecond, false, 2, "children", 500, 9 * time.Second, 10 * time.Minute},
		{"5 requests a second", 200 * time.Millisecond, false, 3, "children", 300, 100 * time.Millisecond, 2 * time.Minute},
		{"5 records a second", 200 * time.Millisecond, true, 3, "children", 300, 100 * time.Millisecond, 10 * time.Minute},
		{"roots", 50 * time.Millisecond, false, 2, "roots", 1000, 100 * time.Millisecond, 5 * time.Minute},
		{"roots, by the record", 50 * time.Millisecond, true, 2, "roots", 1000, 100 * time.Millisecond, 10 * time.Minute},
		{"roots, 5 records a second", 200 * time.Millisecond, true, 3, "roots", 300, time.Second, 20 * time.Minute},
		{"sequences", 50 * time.Millisecond, false, 2, "sequences", 200, 100 * time.Millisecond, 5 * time.Minute},
		{"sequences, 5 records a second", 200 * time.Millisecond, true, 3, "sequences", 60, time.Second, 20 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			overloaded(t, &busyStore{each: c.each, alone: c.alone}, c.engines, c.work, c.n, c.code, c.within)
		})
	}
}

func TestOverload_OfAStoreThatStallsForAWhileFailsNone(t *testing.T) {
	t.Parallel()
	for _, work := range []string{"children", "roots", "sequences"} {
		t.Run(work, func(t *testing.T) {
			t.Parallel()
			stall := func(n int) time.Duration {
				if n%200 == 150 {
					return 20 * time.Second
				}
				return 0
			}
			overloaded(t, &busyStore{each: 10 * time.Millisecond, stall: stall}, 2, work, 100, 100*time.Millisecond, 10*time.Minute)
		})
	}
}

// claims counts the executions that were claimed.
type claims struct {
	slowed
	n *atomic.Int64
}

func (s claims) ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error) {
	swept, err := s.slowed.ClaimReady(ctx, claim)
	s.n.Add(int64(len(swept.Executions)))
	return swept, err
}

// An executor that knew nothing of the store yet claimed all that it had room for. The last claim came so late that none of
// them began in time: all were given back, each for longer than the one before.
func TestOverload_OfWhatAFreshExecutorClaimsNothingIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, byID := range []bool{false, true} {
		t.Run(map[bool]string{false: "from the queue", true: "by id"}[byID], func(t *testing.T) {
			t.Parallel()
			task := core.NewTask("task", func(_ context.Context, in int) (int, error) { return in, nil }, core.TaskOptions{Timeout: 5 * time.Second})
			inIdleWorld(t, []core.Definition{task}, func(w *world) {
				var claimed atomic.Int64
				w.config.Store = claims{slowed{w.store, &busyStore{each: 40 * time.Millisecond, alone: true}}, &claimed}
				var handles []*core.Handle[int]
				var ids []string
				for i := range 50 {
					handles = append(handles, enqueue(w, task, i))
					ids = append(ids, handles[i].ID())
				}
				began := time.Now()
				x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: began.Add(30 * time.Second)})
				if byID {
					if _, err := x.StartIDs(w.ctx, ids); err != nil {
						t.Error(err)
					}
				}
				if _, err := x.Repeat(w.ctx, core.LoopStartReady, began); err != nil {
					t.Error(err)
				}
				x.Flush()
				ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
				defer cancel()
				for i, h := range handles {
					if n, err := h.Wait(ctx); err != nil || n != i {
						t.Errorf("task %d returned %d, %v", i, n, err)
					}
				}
				if n := claimed.Load(); n != 50 {
					t.Errorf("50 tasks were claimed %d times", n)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the last ended after %s", took)
				}
			})
		})
	}
}

// claimedSteps counts the steps that went through the ready queue.
type claimedSteps struct {
	slowed
	steps *atomic.Int64
}

func (s claimedSteps) ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error) {
	swept, err := s.slowed.ClaimReady(ctx, claim)
	for _, e := range swept.Executions {
		if e.Parent != nil {
			s.steps.Add(1)
		}
	}
	return swept, err
}

// On a slow store an executor bounds what it has under way. The step behind one that ended counted as one more, so steps
// were left to the queue, at the price of two more writes each, when the store could serve the fewest.
func TestOverload_LeavesNoStepToTheQueue(t *testing.T) {
	t.Parallel()
	step := core.NewTask("step", func(_ context.Context, in int) (int, error) { return in + 1, nil }, core.TaskOptions{})
	steps := core.Then(step, step)
	for range 8 {
		steps = core.Then(steps, step)
	}
	chain := core.NewSequentialTask("chain", steps, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{step, chain}, func(w *world) {
		w.config.Concurrency = 1000 // the pace is what bounds it
		var claimed atomic.Int64
		w.config.Store = claimedSteps{slowed{w.store, &busyStore{each: 50 * time.Millisecond}}, &claimed}
		var handles []*core.Handle[int]
		for range 30 {
			handles = append(handles, enqueue(w, chain, 0))
		}
		stop := w.start()
		for _, h := range handles {
			if n, err := h.Wait(w.ctx); err != nil || n != 10 {
				t.Errorf("the chain returned %d, %v", n, err)
			}
		}
		stop()
		if n := claimed.Load(); n > 0 {
			t.Errorf("%d of 300 steps went through the queue", n)
		}
	})
}

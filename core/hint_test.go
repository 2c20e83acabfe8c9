package core_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// hinted gives an executor of its own hints of executions, as an invocation by the table's stream would, and returns
// how long it took.
func (w *world) hinted(deadline time.Time, until time.Duration, hints ...core.Hint) time.Duration {
	w.Helper()
	began := time.Now()
	x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: deadline})
	if _, err := x.StartHinted(w.ctx, hints, began.Add(until)); err != nil {
		w.Fatal(err)
	}
	x.Flush()
	return time.Since(began)
}

func hintOf[Out any](h *core.Handle[Out], due time.Time) core.Hint {
	return core.Hint{ID: h.ID(), DueAt: due}
}

func TestAHintedInvocationReturnsAsSoonAsNothingRuns(t *testing.T) {
	brief := core.NewTask("brief", func(context.Context, int) (int, error) { time.Sleep(10 * time.Millisecond); return 1, nil }, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{brief})
		h := enqueue(w, brief, 1)
		if took := w.hinted(time.Time{}, time.Minute, hintOf(h, time.Now())); took != 10*time.Millisecond {
			t.Errorf("it took %s, want the task's 10ms", took)
		}
		if took := w.hinted(time.Time{}, time.Minute); took != 0 {
			t.Errorf("with nothing to do it took %s", took)
		}
		w.checkClosed()
	})
}

// What arrives while an invocation has a long task to wait for was once not looked at before that had ended. Its hints wait
// behind that task, and it is left to them for a second.
func TestAnInvocationServesWhatArrivesBehindALongTask(t *testing.T) {
	long := core.NewTask("long", func(context.Context, int) (int, error) { time.Sleep(30 * time.Second); return 1, nil }, core.TaskOptions{Timeout: time.Minute})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{long, double})
		h := enqueue(w, long, 1)
		var behind []*core.Handle[int]
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range 100 {
				time.Sleep(251 * time.Millisecond)
				behind = append(behind, enqueue(w, double, i))
			}
		}()
		if took := w.hinted(time.Time{}, time.Minute, hintOf(h, time.Now())); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("it took %s, want the long task's 30s", took)
		}
		<-sent
		if len(behind) != 100 {
			t.Fatalf("%d came behind it", len(behind))
		}
		for _, h := range behind {
			e := w.get(h.ID())
			if waited := e.StartedAt.Sub(e.CreatedAt); e.Status != core.StatusCompleted || waited > 1500*time.Millisecond {
				t.Errorf("%s is %s, waited %s", h.ID(), e.Status, waited)
			}
		}
		w.checkClosed()
	})
}

func TestAHintThatDoesNotFitTheDeadlineIsLeftAlone(t *testing.T) {
	long := core.NewTask("long", func(context.Context, int) (int, error) { return 1, nil }, core.TaskOptions{Timeout: 40 * time.Second})
	short := core.NewTask("short", func(context.Context, int) (int, error) { return 1, nil }, core.TaskOptions{Timeout: 5 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{long, short})
		deadline := time.Now().Add(30 * time.Second)
		a, b := enqueue(w, long, 1), enqueue(w, short, 1)
		soon := enqueueWith(w, short, 1, core.EnqueueOptions{Delay: 20 * time.Second})
		late := enqueueWith(w, short, 1, core.EnqueueOptions{Delay: 24 * time.Second}) // 27 s less 5 s is when the last may start
		now := time.Now()
		took := w.hinted(deadline, time.Minute, hintOf(a, now), hintOf(b, now), hintOf(soon, now.Add(20*time.Second)), hintOf(late, now.Add(24*time.Second)))
		for name, c := range map[string]struct {
			id   string
			want core.Status
		}{
			"long": {a.ID(), core.StatusReady}, "short": {b.ID(), core.StatusCompleted},
			"soon": {soon.ID(), core.StatusCompleted}, "late": {late.ID(), core.StatusReady},
		} {
			if got := w.get(c.id).Status; got != c.want {
				t.Errorf("%s is %s, want %s", name, got, c.want)
			}
		}
		if took > 21*time.Second {
			t.Errorf("it waited %s for what it could not start", took)
		}
	})
}

// Whatever an invocation does in its time, nobody waits for it for longer than the leeway after its deadline.
func TestNoLeaseOutlivesItsInvocationByMoreThanTheLeeway(t *testing.T) {
	stubborn := core.NewTask("stubborn", func(context.Context, int) (int, error) { time.Sleep(time.Hour); return 1, nil }, core.TaskOptions{Timeout: 7 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{stubborn})
		deadline := time.Now().Add(30 * time.Second)
		enqueue(w, stubborn, 1)
		go func() {
			for range 60 {
				time.Sleep(500 * time.Millisecond)
				enqueue(w, stubborn, 1)
			}
		}()
		x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: deadline})
		if _, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Errorf("it began %s after its deadline to flush", time.Since(deadline))
		}
		statuses := map[core.Status]int{}
		w.store.Each(func(e *core.Execution) {
			statuses[e.Status]++
			if e.ExpiresAt.After(deadline.Add(5 * time.Second)) {
				t.Errorf("a lease ends %s after the deadline", e.ExpiresAt.Sub(deadline))
			}
		})
		if statuses[core.StatusReady] == 0 || statuses[core.StatusTimedOut] == 0 {
			t.Errorf("it took all or none: %v", statuses)
		}
		x.Flush()
		if time.Now().After(deadline) {
			t.Errorf("it was flushed %s after its deadline", time.Since(deadline))
		}
		time.Sleep(2 * time.Hour) // for the code that goes on
	})
}

// A lease is not worth being awake for, and a sleep that ends is.
func TestTheTimeoutsLoopWaitsForSleepsAlone(t *testing.T) {
	asleep := core.NewSleepingTask[string]("asleep", core.TaskOptions{Timeout: 40 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{asleep, double})
		h := enqueue(w, double, 1)
		w.claim(h.ID()) // its lease ends in 35 s
		began := time.Now()
		loop := func() {
			t.Helper()
			x := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
			if _, err := x.Repeat(w.ctx, core.LoopTimeouts, began.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			x.Flush()
		}
		if loop(); time.Since(began) != 0 {
			t.Errorf("it waited %s for a lease", time.Since(began))
		}
		s := enqueue(w, asleep, "key")
		go func() {
			time.Sleep(5 * time.Second)
			if _, err := asleep.EnqueueWith(w.ctx, w.client, "sooner", core.EnqueueOptions{Timeout: 10 * time.Second}); err != nil {
				t.Error(err)
			}
		}()
		loop()
		if e := w.get(s.ID()); e.Status != core.StatusTimedOut || e.FinishedAt.Sub(e.CreatedAt) > 40*time.Second+250*time.Millisecond {
			t.Errorf("the sleep is %s after %s", e.Status, e.FinishedAt.Sub(e.CreatedAt))
		}
		w.store.Each(func(e *core.Execution) {
			if e.TaskID == "asleep" && e.ID != s.ID() {
				if late := e.FinishedAt.Sub(e.CreatedAt.Add(10 * time.Second)); e.Status != core.StatusTimedOut || late > 250*time.Millisecond {
					t.Errorf("the sleep that began later is %s, %s late", e.Status, late)
				}
			}
		})
	})
}

func TestARetryIsWaitedForByTheInvocationThatSeesIt(t *testing.T) {
	for _, delay := range []time.Duration{50 * time.Millisecond, time.Second, 20 * time.Second} {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			t.Parallel()
			flaky := core.NewTask("flaky", func(ctx context.Context, _ int) (int, error) {
				if core.InfoOf(ctx).Attempt == 1 {
					return 0, core.RetryAfter(fmt.Errorf("not yet"), delay)
				}
				return 1, nil
			}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []core.Definition{flaky})
				h := enqueue(w, flaky, 1)
				took := w.hinted(time.Time{}, time.Minute, hintOf(h, time.Now()))
				if e := w.get(h.ID()); e.Status != core.StatusCompleted || took < delay || took > delay+250*time.Millisecond {
					t.Errorf("it is %s after %s", e.Status, took)
				}
			})
		})
	}
}

// Many invocations that all wait for one timer would each be paid for.
func TestAHintedInvocationDoesNotWaitForOthersTimers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		enqueueWith(w, double, 1, core.EnqueueOptions{Delay: 20 * time.Second})
		h := enqueue(w, double, 1)
		if took := w.hinted(time.Time{}, time.Minute, hintOf(h, time.Now())); took != 0 {
			t.Errorf("it took %s", took)
		}
		if e := w.get(h.ID()); e.Status != core.StatusCompleted {
			t.Errorf("it is %s", e.Status)
		}
	})
}

// Each of several invocations that the stream woke at once looked at the queue, saw what the others had hints of, and claimed
// that: of two claims of one execution one is billed for nothing.
func TestWhoIsGivenHintsLeavesWhatOthersHaveHintsOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		e := w.engine()
		// invoke gives an executor of the engine hints, and lets it end.
		invoke := func(hints ...core.Hint) {
			x := e.NewExecutor(core.ExecutorOptions{})
			if _, err := x.StartHinted(w.ctx, hints, time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			x.Flush()
		}
		mine, others := enqueue(w, double, 1), enqueue(w, double, 2)
		invoke(hintOf(mine, time.Now()))
		invoke()
		if m, o := w.get(mine.ID()).Status, w.get(others.ID()).Status; m != core.StatusCompleted || o != core.StatusReady {
			t.Errorf("what it had the hint of is %s, what another had is %s", m, o)
		}
		time.Sleep(1100 * time.Millisecond)
		late := hintOf(others, w.get(others.ID()).DueAt)
		invoke(late) // the hint is not acted on any more: it is seen in the queue
		if o := w.get(others.ID()).Status; o != core.StatusCompleted {
			t.Errorf("what nobody took for a second is %s", o)
		}
	})
}

// Hints that came when an invocation had no room for them were forgotten by it.
func TestAHintThatThereIsNoRoomForIsKept(t *testing.T) {
	t.Parallel()
	brief := core.NewTask("brief", func(context.Context, int) (int, error) { time.Sleep(50 * time.Millisecond); return 1, nil }, core.TaskOptions{})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{brief})
		w.config.Concurrency = 2
		var handles []*core.Handle[int]
		var hints []core.Hint
		for i := range 10 {
			handles = append(handles, enqueue(w, brief, i))
			hints = append(hints, hintOf(handles[i], time.Now()))
		}
		if took := w.hinted(time.Time{}, time.Minute, hints...); took != 250*time.Millisecond {
			t.Errorf("it took %s, not five times a task's 50 ms", took)
		}
		for i, h := range handles {
			if e := w.get(h.ID()); e.Status != core.StatusCompleted {
				t.Errorf("task %d is %s", i, e.Status)
			}
		}
	})
}

// A schedule's invocation in a process that is given hints waits for what becomes due within its time, since nobody who had
// the hint of that has waited.
func TestATickBetweenHintsStartsInTimeWhatItAwaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		e := w.engine()
		h := enqueueWith(w, double, 1, core.EnqueueOptions{Delay: 30 * time.Second})
		x := e.NewExecutor(core.ExecutorOptions{})
		if _, err := x.StartHinted(w.ctx, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		x = e.NewExecutor(core.ExecutorOptions{})
		if _, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		got := w.get(h.ID())
		if late := got.StartedAt.Sub(got.StartAt); got.Status != core.StatusCompleted || late > 10*time.Millisecond {
			t.Errorf("it is %s, begun %s late", got.Status, late)
		}
	})
}

// An invocation left its hint to those who look at the queue, since it had come late, and did not look itself, since another
// had a moment before. What it named waited for the next tick.
func TestWhoLeavesALateHintToTheQueueLooksThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		e := w.engine()
		invoke := func(hint core.Hint) {
			x := e.NewExecutor(core.ExecutorOptions{})
			if _, err := x.StartHinted(w.ctx, []core.Hint{hint}, time.Now()); err != nil {
				t.Fatal(err)
			}
			x.Flush()
		}
		h := enqueue(w, double, 1)
		late := hintOf(h, time.Now())
		time.Sleep(4700 * time.Millisecond)
		invoke(core.Hint{ID: "gone", DueAt: time.Now().Add(-2500 * time.Millisecond)}) // from now on hints have 5 s
		time.Sleep(500 * time.Millisecond)
		if status := w.get(h.ID()).Status; status != core.StatusReady {
			t.Fatalf("it is %s before its hint comes", status)
		}
		invoke(late)
		if status := w.get(h.ID()).Status; status != core.StatusCompleted {
			t.Errorf("it is %s after its hint has come", status)
		}
	})
}

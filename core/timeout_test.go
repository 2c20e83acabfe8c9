package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// ended returns how an execution ended that did not complete.
func ended[Out any](w *world, h *core.Handle[Out]) *core.ExecutionError {
	w.Helper()
	_, err := h.Wait(w.ctx)
	var failed *core.ExecutionError
	if !errors.As(err, &failed) {
		w.Fatalf("error %v", err)
	}
	return failed
}

func timedOut[Out any](w *world, h *core.Handle[Out], code core.FailureCode, text string) {
	w.Helper()
	failed := ended(w, h)
	if failed.Status != core.StatusTimedOut || failed.Failure.Code != code || !strings.Contains(failed.Failure.Message, text) {
		w.Errorf("%s, code %s: %s; want code %s with %q", failed.Status, failed.Failure.Code, failed.Failure.Message, code, text)
	}
}

// patient runs until its context ends, and returns the cause.
var patient = core.NewTask("patient", func(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}, core.TaskOptions{Timeout: time.Minute, Retry: core.RetryPolicy{MaxAttempts: 10}})

func TestStartToFinishBoundsAnAttempt(t *testing.T) {
	inWorld(t, []core.Definition{patient}, func(w *world) {
		start := time.Now()
		h := enqueueWith(w, patient, 1, core.EnqueueOptions{StartToFinish: 10 * time.Second})
		timedOut(w, h, core.CodeStartToFinish, core.ErrStartToFinish.Error())
		if took := time.Since(start); took < 10*time.Second || took > 12*time.Second {
			w.Errorf("took %s", took)
		}
	})
}

func TestStartToFinishBoundsTheRetries(t *testing.T) {
	inWorld(t, []core.Definition{patient}, func(w *world) {
		start := time.Now()
		h := enqueueWith(w, patient, 1, core.EnqueueOptions{
			StartToFinish: 25 * time.Second, Timeout: 10 * time.Second, Retry: &core.RetryPolicy{MaxAttempts: 10},
		})
		timedOut(w, h, core.CodeStartToFinish, "") // attempts at 0, 11 and 23 s
		if e := w.get(h.ID()); e.Attempts != 3 || !e.FinishBy.Equal(core.Millis(start.Add(25*time.Second))) {
			w.Errorf("attempt %d, finish by %s", e.Attempts, e.FinishBy.Sub(start))
		}
	})
}

func TestARetryThatWouldComeTooLateIsNotWaitedFor(t *testing.T) {
	fails := core.NewTask("fails", func(context.Context, int) (int, error) { return 0, errors.New("boom") },
		core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 10, BaseDelay: time.Minute}, StartToFinish: 30 * time.Second})
	inWorld(t, []core.Definition{fails}, func(w *world) {
		start := time.Now()
		timedOut(w, enqueue(w, fails, 1), core.CodeStartToFinish, "the last one: boom")
		if took := time.Since(start); took > 2*time.Second {
			w.Errorf("took %s", took)
		}
	})
}

func TestStartToFinishBoundsAParentAndCancelsItsChildren(t *testing.T) {
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{patient.Child(1), double.Child(2), patient.ChildWith(3, core.EnqueueOptions{Delay: time.Hour})}, nil
	}, core.TaskOptions{StartToFinish: 20 * time.Second})
	loop := core.NewLoopingTask("loop", poll, core.LoopOptions{MaxIterations: 1000, Sleep: time.Second}, core.TaskOptions{StartToFinish: 20 * time.Second})
	inWorld(t, []core.Definition{parent, patient, double, loop, poll}, func(w *world) {
		start := time.Now()
		h := enqueue(w, parent, 1)
		l := enqueue(w, loop, start.Add(time.Hour))
		timedOut(w, h, core.CodeStartToFinish, "start-to-finish timeout of 20s")
		timedOut(w, l, core.CodeStartToFinish, "start-to-finish timeout of 20s")
		if took := time.Since(start); took < 20*time.Second || took > 22*time.Second {
			w.Errorf("took %s", took)
		}
		w.settle()
		children, err := w.client.Children(w.ctx, h.ID())
		if err != nil || children[0].Status != core.StatusCancelled || children[1].Status != core.StatusCompleted || children[2].Status != core.StatusCancelled {
			w.Errorf("children %v, error %v", children, err)
		}
	})
}

func TestScheduleToStartBoundsTheWaitForAnExecutor(t *testing.T) {
	t.Parallel()
	inIdleWorld(t, []core.Definition{double}, func(w *world) {
		late := enqueueWith(w, double, 1, core.EnqueueOptions{ScheduleToStart: time.Minute})
		delayed := enqueueWith(w, double, 2, core.EnqueueOptions{ScheduleToStart: time.Minute, Delay: 90 * time.Second})
		time.Sleep(2 * time.Minute)
		stop := w.start()
		timedOut(w, late, core.CodeScheduleToStart, "schedule-to-start timeout of 1m0s: the attempt waited 2m0s")
		if got := wait(w, delayed); got != 4 {
			w.Error(got)
		}
		stop()
		w.checkClosed()
	})
}

func TestBadTimeoutsAreRefused(t *testing.T) {
	t.Parallel()
	for want, def := range map[string]core.Definition{
		"ScheduleToStart is -1s": core.NewTask("a", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{ScheduleToStart: -time.Second}),
		"StartToFinish is 1µs":   core.NewTask("a", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{StartToFinish: time.Microsecond}),
		"a sleeping task has":    core.NewSleepingTask[int]("a", core.TaskOptions{StartToFinish: time.Second}),
	} {
		if _, err := core.NewRegistry(def); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestShutdownTellsRunningCodeAndWaits(t *testing.T) {
	t.Parallel()
	var causes []error
	polite := core.NewTask("polite", func(ctx context.Context, n int) (int, error) {
		select {
		case <-core.ShuttingDown(ctx):
			causes = append(causes, context.Cause(ctx))
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: time.Hour})
	inIdleWorld(t, []core.Definition{polite}, func(w *world) {
		h := enqueue(w, polite, 7)
		stop := w.start()
		time.Sleep(time.Minute)
		start := time.Now()
		stop()
		if got := wait(w, h); got != 7 || time.Since(start) > time.Second || len(causes) != 1 || causes[0] != nil {
			w.Errorf("output %d after %s, causes %v", got, time.Since(start), causes)
		}
		w.checkClosed()
	})
}

func TestShutdownGivesBackWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	runs := 0
	rude := core.NewTask("rude", func(ctx context.Context, n int) (int, error) {
		if runs++; runs > 1 {
			return n, nil
		}
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: time.Hour})
	rudeEnd := core.NewParentTaskWithFinalize("rude_end",
		func(_ context.Context, n int) (int, []core.Child, error) { return n, nil, nil },
		func(ctx context.Context, r core.Results[int]) (int, error) {
			if r.Output == 1 {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return r.Output, nil
		}, core.TaskOptions{Timeout: time.Hour})
	inIdleWorld(t, []core.Definition{rude, rudeEnd}, func(w *world) {
		h, f := enqueue(w, rude, 7), enqueue(w, rudeEnd, 1)
		w.config.ShutdownGrace = 10 * time.Second
		stop := w.start()
		time.Sleep(time.Minute)
		start := time.Now()
		stop()
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			w.Errorf("shutdown took %s", took)
		}
		e := w.get(h.ID())
		if e.Status != core.StatusReady || e.Attempts != 0 || e.Recoveries != 0 || e.DueAt.After(time.Now()) {
			w.Errorf("it is %s, attempt %d, recovery %d", e.Status, e.Attempts, e.Recoveries)
		}
		if e := w.get(f.ID()); e.Status != core.StatusWaitingForChildren || e.Family.Processing != core.ProcessingIdle {
			w.Errorf("parent is %s, %s", e.Status, e.Family.Processing)
		}
		if err := f.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		stop = w.start()
		if got := wait(w, h); got != 7 || w.get(h.ID()).Attempts != 1 {
			w.Errorf("output %d in attempt %d", got, w.get(h.ID()).Attempts)
		}
		stop()
		w.checkClosed()
	})
}

// An input that takes long to read may come when the lease is over and another executor is at work: code was once begun
// then all the same, with a context that had ended.
func TestCodeIsNotBegunWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	runs := 0 // read after the engine has stopped
	var ctxErr error
	slow := core.NewTask("slow", func(ctx context.Context, in string) (int, error) {
		runs++
		ctxErr = ctx.Err()
		return len(in), nil
	}, core.TaskOptions{Timeout: 10 * time.Second})
	inIdleWorld(t, []core.Definition{slow}, func(w *world) {
		w.store = memstore.New(memstore.Options{Inline: 8})
		var err error
		if w.client, err = core.NewClient(w.store, core.ClientOptions{}); err != nil {
			t.Fatal(err)
		}
		w.config.Store = &slowLoad{Store: w.store, first: time.Minute}
		h := enqueue(w, slow, strings.Repeat("a", 100))
		stop := w.start()
		if out := wait(w, h); out != 100 {
			t.Errorf("it came to %d", out)
		}
		w.settle()
		stop()
		if runs != 1 || ctxErr != nil {
			t.Errorf("the code was called %d times, its context's error is %v", runs, ctxErr)
		}
		w.checkClosed()
	})
}

// slowLoad takes long for the first loads.
type slowLoad struct {
	core.Store
	first time.Duration
	times int32        // how many are slow; 0 for one
	least atomic.Int32 // payloads of a load that counts
	loads atomic.Int32
}

func (s *slowLoad) Load(ctx context.Context, payloads ...*core.Payload) error {
	if len(payloads) >= int(s.least.Load()) && s.loads.Add(1) <= max(1, s.times) {
		time.Sleep(s.first)
	}
	return s.Store.Load(ctx, payloads...)
}

// An attempt whose time was over before its code began, as when the store is slow, was once a failed one: an execution of
// one attempt, or a parent's finalize, timed out though its code had never run.
func TestAnAttemptWhoseCodeWasNotBegunIsNoFailedOne(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 100)
	size := core.NewTask("size", func(_ context.Context, in string) (int, error) { return len(in), nil }, core.TaskOptions{Timeout: 10 * time.Second})
	say := core.NewTask("say", func(_ context.Context, in string) (string, error) { return in + long, nil }, core.TaskOptions{Timeout: 10 * time.Second})
	sum := core.NewParentTaskWithFinalize("sum", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{say.Child("b"), say.Child("c")}, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		n := 0
		for _, c := range r.Children {
			out, err := say.Result(c)
			if err != nil {
				return 0, err
			}
			n += len(out)
		}
		return n, nil
	}, core.TaskOptions{Timeout: 10 * time.Second})
	for _, times := range []int32{1, 3, 1000} {
		t.Run(fmt.Sprintf("%d slow loads", times), func(t *testing.T) {
			t.Parallel()
			inIdleWorld(t, []core.Definition{size, say, sum}, func(w *world) {
				w.store = memstore.New(memstore.Options{Inline: 8})
				var err error
				if w.client, err = core.NewClient(w.store, core.ClientOptions{}); err != nil {
					t.Fatal(err)
				}
				slow := &slowLoad{Store: w.store, first: 12 * time.Second, times: times}
				w.config.Store = slow
				stop := w.start()
				one := enqueue(w, size, long)
				w.settle()
				slow.least.Store(2) // the outputs of the family
				slow.loads.Store(0)
				family := enqueue(w, sum, 1)
				w.settle()
				stop()
				a, b := w.get(one.ID()), w.get(family.ID())
				if a.Status != core.StatusCompleted || a.Attempts != 1 || a.Recoveries != 0 {
					t.Errorf("the task is %s after %d attempts and %d recoveries", a.Status, a.Attempts, a.Recoveries)
				}
				if b.Status != core.StatusCompleted || b.Family.Recoveries != 0 {
					t.Errorf("the parent is %s after %d recoveries", b.Status, b.Family.Recoveries)
				}
				w.checkClosed()
			})
		})
	}
}

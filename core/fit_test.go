package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// functionTimeout is that of the functions in these tests: an attempt may take 14m56s.
const functionTimeout = 15 * time.Minute

// invoke runs one invocation of a function that takes ticks from all loops, which begins late of a whole life.
func invoke(w *world, e *core.Engine, late time.Duration, loops ...core.Loop) {
	w.Helper()
	deadline := time.Now().Add(functionTimeout)
	time.Sleep(late)
	x := e.NewExecutor(core.ExecutorOptions{Deadline: deadline})
	var group sync.WaitGroup
	for _, loop := range loops {
		group.Go(func() {
			if _, err := x.Repeat(w.ctx, loop, time.Now().Add(time.Second)); err != nil {
				w.Error(err)
			}
		})
	}
	group.Wait()
	x.Flush()
}

// functions returns an engine whose executors live 15 minutes, and what it logs.
func functions(w *world) (*core.Engine, *bytes.Buffer) {
	var log bytes.Buffer
	w.config.FunctionTimeout = functionTimeout
	w.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	return w.engine(), &log
}

func refusedForItsTimeout(t *testing.T, how string, err error, timeout string) {
	t.Helper()
	if !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%s: error %v, want one that matches ErrInvalid", how, err)
		return
	}
	for _, says := range []string{`task "double"`, timeout, "14m56s", "raise the timeout of the functions"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v does not say %q", how, err, says)
		}
	}
}

func TestATimeoutThatNoExecutorHasTimeForIsRefusedWhereThatIsKnown(t *testing.T) {
	asleep := core.NewSleepingTask[int]("asleep", core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(double, double), core.TaskOptions{})
	t.Parallel()
	inIdleWorld(t, []core.Definition{double, asleep, chain}, func(w *world) {
		e, _ := functions(w)
		ofEngine, err := e.NewClient(core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		x := e.NewExecutor(core.ExecutorOptions{SweepOnly: true})
		defer x.Flush()
		ofExecutor, err := x.NewClient(core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		longest := core.Config{FunctionTimeout: functionTimeout}.LongestTimeout()
		told, err := core.NewClient(w.store, core.ClientOptions{Registry: w.config.Registry, Limits: core.Limits{Timeout: longest}})
		if err != nil {
			w.Fatal(err)
		}
		for name, c := range map[string]*core.Client{"the engine's": ofEngine, "an executor's": ofExecutor, "a client that is told": told} {
			for _, d := range []time.Duration{longest + time.Millisecond, 20 * time.Minute, 24 * time.Hour} {
				opts := core.EnqueueOptions{Timeout: d}
				_, err := double.EnqueueWith(w.ctx, c, 1, opts)
				refusedForItsTimeout(w.T, name, err, d.String())
				_, err = c.EnqueueRaw(w.ctx, "double", []byte("1"), opts)
				refusedForItsTimeout(w.T, name+" raw", err, d.String())
				_, err = double.Prepare(c, 1, opts)
				refusedForItsTimeout(w.T, name+" prepared", err, d.String())
				many := double.EnqueueMany(w.ctx, c, []core.BulkItem[int]{{Input: 1, Options: opts}}, nil)
				refusedForItsTimeout(w.T, name+" of many", many[0].Err, d.String())
			}
		}
		w.store.Each(func(e *core.Execution) { w.Errorf("execution %s of %s was written", e.ID, e.TaskID) })
		// What fits, and what has no attempt to fit, is taken.
		for what, err := range map[string]error{
			"the longest": second(double.EnqueueWith(w.ctx, told, 1, core.EnqueueOptions{Timeout: longest})),
			"a sleep":     second(asleep.EnqueueWith(w.ctx, told, "key", core.EnqueueOptions{Timeout: 24 * time.Hour})),
			"a sequence":  second(chain.EnqueueWith(w.ctx, told, 1, core.EnqueueOptions{Timeout: 24 * time.Hour})),
		} {
			if err != nil {
				w.Errorf("%s: %v", what, err)
			}
		}
		invoke(w, e, 0, core.LoopStartReady)
		w.store.Each(func(e *core.Execution) {
			if e.Status != core.StatusCompleted && !e.Sleeping() {
				w.Errorf("%s of %s is %s: %v", e.ID, e.TaskID, e.Status, e.Failure)
			}
		})
	})
}

func second[A any](_ A, err error) error { return err }

func TestARedriveOfWhatFitsNoExecutorAnyMoreIsRefused(t *testing.T) {
	fails := core.NewTask("double", func(context.Context, int) (int, error) { return 0, errors.New("no") }, core.TaskOptions{})
	t.Parallel()
	inIdleWorld(t, []core.Definition{fails}, func(w *world) {
		h := enqueueWith(w, fails, 1, core.EnqueueOptions{Timeout: 20 * time.Minute})
		stop := w.start() // for ever
		time.Sleep(time.Minute)
		stop()
		e, _ := functions(w)
		c, err := e.NewClient(core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		_, err = c.Redrive(w.ctx, h.ID())
		refusedForItsTimeout(w.T, "redrive", err, "20m0s")
	})
}

// It once stayed ready for ever, and its parent waited for ever.
func TestAnExecutionThatFitsNoExecutorFailsAndItsParentGoesOn(t *testing.T) {
	ran := false
	long := core.NewTask("long", func(_ context.Context, n int) (int, error) {
		ran = true
		return n, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 5}})
	family := core.NewParentTask("family", func(context.Context, int) (int, []core.Child, error) {
		return 1, []core.Child{double.Child(1), long.ChildWith(1, core.EnqueueOptions{Timeout: 20 * time.Minute})}, nil
	}, core.TaskOptions{})
	t.Parallel()
	for name, start := range map[string]func(w *world, x *core.Executor, id string){
		"from the queue": func(w *world, x *core.Executor, _ string) {
			if _, err := x.StartReady(w.ctx, 10); err != nil {
				w.Error(err)
			}
		},
		"by a hint": func(w *world, x *core.Executor, id string) {
			if _, err := x.StartHinted(w.ctx, []core.Hint{{ID: id}}, time.Now()); err != nil {
				w.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ran = false
			inIdleWorld(t, []core.Definition{double, long, family}, func(w *world) {
				h := enqueueWith(w, long, 1, core.EnqueueOptions{Timeout: 20 * time.Minute})
				e, log := functions(w)
				x := e.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(functionTimeout)})
				start(w, x, h.ID())
				x.Flush()
				failed := ended(w, h)
				if failed.Status != core.StatusFailed || failed.Failure.Code != core.CodeInvalid || ran || w.get(h.ID()).Attempts != 1 {
					w.Errorf("it is %s: %+v; ran %t", failed.Status, failed.Failure, ran)
				}
				for _, says := range []string{`task "long"`, "20m0s", "14m56s", "raise the timeout of the functions"} {
					if !strings.Contains(failed.Failure.Message, says) {
						w.Errorf("failure %q does not say %q", failed.Failure.Message, says)
					}
				}
				if line := log.String(); !strings.Contains(line, "level=WARN") || !strings.Contains(line, h.ID()) || !strings.Contains(line, "limit=14m56s") {
					w.Errorf("log:\n%s", line)
				}
				w.checkClosed()
			})
		})
	}
	t.Run("a child from before the functions' timeout shrank", func(t *testing.T) {
		later := core.NewParentTask("later", func(context.Context, int) (int, []core.Child, error) {
			return 1, []core.Child{double.Child(1), long.ChildWith(1, core.EnqueueOptions{Timeout: 20 * time.Minute, Delay: time.Minute})}, nil
		}, core.TaskOptions{})
		inIdleWorld(t, []core.Definition{double, long, later}, func(w *world) {
			h := enqueue(w, later, 1)
			stop := w.start() // executors that live for ever
			time.Sleep(time.Second)
			stop()
			e, _ := functions(w)
			for range 3 {
				invoke(w, e, 0, core.Loops()...)
				time.Sleep(time.Minute)
			}
			family := wait(w, h)
			if c := family.Children[1]; c.Status != core.StatusFailed || c.Failure.Code != core.CodeInvalid || !strings.Contains(c.Failure.Message, "14m56s") {
				w.Errorf("child %s: %+v", c.Status, c.Failure)
			}
			w.checkClosed()
		})
	})
	t.Run("a child that is known to", func(t *testing.T) {
		inIdleWorld(t, []core.Definition{double, long, family}, func(w *world) {
			h := enqueue(w, family, 1)
			e, _ := functions(w)
			invoke(w, e, 0, core.LoopStartReady)
			failed := ended(w, h)
			if failed.Status != core.StatusFailed || failed.Failure.Code != core.CodeInvalid || !strings.Contains(failed.Failure.Message, "child 1") ||
				!strings.Contains(failed.Failure.Message, "20m0s") {
				w.Errorf("the parent is %s: %+v", failed.Status, failed.Failure)
			}
		})
	})
}

// What no code is to run for was once left to executors with more time, and ended by none.
func TestWhatIsOverEndsThoughItDoesNotFitWhatIsLeft(t *testing.T) {
	long := core.NewTask("long", func(context.Context, int) (int, error) { return 0, errors.New("not yet") },
		core.TaskOptions{Timeout: 10 * time.Minute, Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Minute}})
	t.Parallel()
	inIdleWorld(t, []core.Definition{double, long}, func(w *world) {
		waits := enqueueWith(w, long, 1, core.EnqueueOptions{ScheduleToStart: time.Hour})
		retried := enqueueWith(w, long, 2, core.EnqueueOptions{StartToFinish: time.Hour, ID: "retried"})
		open := enqueueWith(w, long, 3, core.EnqueueOptions{})
		e, _ := functions(w)
		x := e.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(functionTimeout)})
		if _, err := x.StartIDs(w.ctx, []string{"retried"}); err != nil {
			w.Fatal(err)
		}
		x.Flush()
		short := func() {
			w.Helper()
			x := e.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(time.Minute)})
			if _, err := x.StartReady(w.ctx, 10); err != nil {
				w.Error(err)
			}
			x.Flush()
		}
		time.Sleep(59 * time.Minute)
		short()
		for _, h := range []*core.Handle[int]{waits, retried, open} {
			if got := w.get(h.ID()).Status; got != core.StatusReady {
				w.Errorf("%s is %s before its time is over", h.ID(), got)
			}
		}
		time.Sleep(2 * time.Minute)
		short()
		timedOut(w, waits, core.CodeScheduleToStart, "the attempt waited 1h1m0s")
		timedOut(w, retried, core.CodeStartToFinish, "start-to-finish timeout of 1h0m0s is over")
		if got := w.get(open.ID()).Status; got != core.StatusReady {
			w.Errorf("what others have time for is %s", got)
		}
	})
}

// A parent whose finalize function no executor had time for was once claimed and released every second, for ever.
func TestAParentWhoseFinalizeFitsNoExecutorEnds(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent",
		func(context.Context, int) (int, []core.Child, error) { return 0, []core.Child{double.Child(1)}, nil },
		func(context.Context, core.Results[int]) (int, error) { return 1, nil }, core.TaskOptions{})
	opts := core.EnqueueOptions{Timeout: 20 * time.Minute}
	failed := func(w *world, h *core.Handle[int], limit string) {
		w.Helper()
		e := ended(w, h)
		if e.Status != core.StatusFinalizeFailed || e.Failure.Code != core.CodeInvalid {
			w.Errorf("it is %s: %+v", e.Status, e.Failure)
		}
		for _, says := range []string{`finalize of task "parent"`, "20m0s", limit, "raise the timeout"} {
			if !strings.Contains(e.Failure.Message, says) {
				w.Errorf("failure %q does not say %q", e.Failure.Message, says)
			}
		}
		w.checkClosed()
	}
	// commit commits the parent, as an executor that lived longer and died then.
	commit := func(w *world, h *core.Handle[int]) {
		w.update(w.claim(h.ID()), core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte("1")}, Nonce: "n", Size: 1,
			Manifest: manifest(w.T, core.Spec{TaskID: "double", Input: []byte("1"), Timeout: time.Second}),
			CheckAt:  time.Now().Add(10 * time.Second),
		})
		time.Sleep(10 * time.Second)
	}
	t.Parallel()
	t.Run("since the functions' timeout shrank", func(t *testing.T) {
		inIdleWorld(t, []core.Definition{double, parent}, func(w *world) {
			h := enqueueWith(w, parent, 1, opts)
			commit(w, h)
			e, log := functions(w)
			invoke(w, e, 0, core.LoopProcessChildren) // puts the child
			invoke(w, e, 0, core.LoopStartReady)
			failed(w, h, "14m56s")
			if !strings.Contains(log.String(), "finalize fails: no executor has time for its timeout") {
				w.Errorf("log:\n%s", log)
			}
		})
	})
	t.Run("where parents are taken on", func(t *testing.T) {
		inIdleWorld(t, []core.Definition{double, parent}, func(w *world) {
			h := enqueueWith(w, parent, 1, opts)
			commit(w, h)
			// The function that starts tasks lives for an hour, the one that takes parents on for 15 minutes.
			w.config.Limits.Timeout = core.Config{FunctionTimeout: time.Hour}.LongestTimeout()
			e, _ := functions(w)
			invoke(w, e, 0, core.LoopProcessChildren) // puts the child
			invoke(w, e, 0, core.LoopStartReady)
			if got := w.get(h.ID()).Status; got != core.StatusWaitingForChildren {
				w.Fatalf("it is %s", got)
			}
			invoke(w, e, 0, core.LoopProcessChildren)
			failed(w, h, "14m56s")
		})
	})
}

// A task of exactly the function's timeout, less what is kept free at its end, was once accepted and never run: some
// milliseconds of every invocation are gone before anything starts.
func TestATaskThatTakesAllOfAnInvocationIsStarted(t *testing.T) {
	task := func(timeout time.Duration) core.Definition {
		return core.NewTask("all", func(context.Context, int) (int, error) { return 1, nil }, core.TaskOptions{Timeout: timeout})
	}
	config := func(timeout time.Duration) core.Config {
		registry, err := core.NewRegistry(task(timeout))
		if err != nil {
			t.Fatal(err)
		}
		return core.Config{Store: newWorld(t, nil).store, Registry: registry, FunctionTimeout: functionTimeout}
	}
	t.Parallel()
	for _, timeout := range []time.Duration{functionTimeout - 4*time.Second + time.Millisecond, functionTimeout - 3*time.Second, functionTimeout} {
		_, err := core.NewEngine(config(timeout))
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "does not fit the function's timeout 15m0s less 4s to start and to flush") {
			t.Errorf("%s: error %v", timeout, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{task(functionTimeout - 4*time.Second)})
		e, _ := functions(w)
		c, err := e.NewClient(core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.EnqueueRaw(w.ctx, "all", []byte("1"), core.EnqueueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		invoke(w, e, 900*time.Millisecond, core.LoopStartReady)
		if got := w.get(id).Status; got != core.StatusCompleted {
			t.Errorf("it is %s", got)
		}
	})
	wide := config(functionTimeout - 4*time.Second)
	wide.StartMargin = 10 * time.Second
	if _, err := core.NewEngine(wide); err == nil || wide.LongestTimeout() != functionTimeout-13*time.Second {
		t.Errorf("error %v, longest %s", err, wide.LongestTimeout())
	}
	for says, change := range map[string]func(*core.Config){
		"FunctionTimeout is -1s":     func(c *core.Config) { c.FunctionTimeout = -time.Second },
		"StartMargin is -1s":         func(c *core.Config) { c.StartMargin = -time.Second },
		"Leeway is 175200h0m0s":      func(c *core.Config) { c.Leeway = 20 * 365 * 24 * time.Hour },
		"limits: Timeout is -1s":     func(c *core.Config) { c.Limits.Timeout = -time.Second },
		"limits: Timeout is 1ns":     func(c *core.Config) { c.Limits.Timeout = 1 },
		"FunctionTimeout is 175200h": func(c *core.Config) { c.FunctionTimeout = 20 * 365 * 24 * time.Hour },
	} {
		c := config(time.Second)
		change(&c)
		if _, err := core.NewEngine(c); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

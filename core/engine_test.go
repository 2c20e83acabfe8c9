package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

var double = core.NewTask("double", func(_ context.Context, n int) (int, error) { return 2 * n, nil }, core.TaskOptions{})

func TestATaskRunsOnceAndItsOutputIsKept(t *testing.T) {
	var info core.Info
	task := core.NewTask("greet", func(ctx context.Context, name string) (string, error) {
		info = core.InfoOf(ctx)
		return "hello " + name, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{task}, func(w *world) {
		h := enqueue(w, task, "you")
		if got := wait(w, h); got != "hello you" {
			w.Errorf("output %q", got)
		}
		e := w.get(h.ID())
		if e.Status != core.StatusCompleted || e.Attempts != 1 || e.Recoveries != 0 || e.Failure != nil || e.RootID != e.ID {
			w.Errorf("record %+v", e)
		}
		if info.ExecutionID != h.ID() || info.TaskID != "greet" || info.Attempt != 1 || info.ParentID != "" ||
			!info.Deadline.Equal(e.StartedAt.Add(30*time.Second)) {
			w.Errorf("info %+v", info)
		}
	})
}

func TestAFailingTaskIsRetriedAfterItsDelays(t *testing.T) {
	var starts []time.Duration
	var previous []string
	var begun time.Time
	task := core.NewTask("flaky", func(ctx context.Context, _ struct{}) (int, error) {
		starts = append(starts, time.Since(begun).Round(100*time.Millisecond))
		info := core.InfoOf(ctx)
		if info.Previous != nil {
			previous = append(previous, info.Previous.Message)
		}
		if info.Attempt < 4 {
			return 0, fmt.Errorf("attempt %d", info.Attempt)
		}
		return info.Attempt, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 5, BaseDelay: time.Second, Multiplier: 3, MaxDelay: 5 * time.Second}})
	inWorld(t, []core.Definition{task}, func(w *world) {
		begun = time.Now()
		if got := wait(w, enqueue(w, task, struct{}{})); got != 4 {
			w.Errorf("completed in attempt %d, want 4", got)
		}
		for i, want := range []time.Duration{0, time.Second, 4 * time.Second, 9 * time.Second} {
			if late := starts[i] - want; late < 0 || late > time.Second {
				w.Errorf("attempt %d started after %s, want %s", i+1, starts[i], want)
			}
		}
		if diff := cmp.Diff([]string{"attempt 1", "attempt 2", "attempt 3"}, previous); diff != "" {
			w.Error(diff)
		}
	})
}

func TestHowAnAttemptEnds(t *testing.T) {
	stubborn := make(chan struct{})
	for name, c := range map[string]struct {
		run      func(context.Context, int) (int, error)
		retry    int
		status   core.Status
		code     core.FailureCode
		message  string
		attempts int
	}{
		"an error, no retry": {
			run:    func(context.Context, int) (int, error) { return 0, errors.New("no luck") },
			status: core.StatusFailed, code: core.CodeFailed, message: "no luck", attempts: 1,
		},
		"an error in every attempt": {
			run:   func(context.Context, int) (int, error) { return 0, errors.New("no luck") },
			retry: 3, status: core.StatusFailed, code: core.CodeFailed, message: "no luck", attempts: 3,
		},
		"an error not worth a retry": {
			run:   func(context.Context, int) (int, error) { return 0, core.NonRetryable(errors.New("never")) },
			retry: 3, status: core.StatusFailed, code: core.CodeFailed, message: "never", attempts: 1,
		},
		"a panic": {
			run:   func(context.Context, int) (int, error) { panic("oh") },
			retry: 2, status: core.StatusFailed, code: core.CodePanicked, message: "panic: oh", attempts: 2,
		},
		"a timeout": {
			run: func(ctx context.Context, _ int) (int, error) {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			},
			retry: 2, status: core.StatusTimedOut, code: core.CodeTimedOut, message: "attempt timed out", attempts: 2,
		},
		"a timeout that the code does not heed": {
			run: func(context.Context, int) (int, error) {
				<-stubborn
				return 0, nil
			},
			status: core.StatusTimedOut, code: core.CodeTimedOut, message: "attempt timed out, and its code went on", attempts: 1,
		},
		"a long error": {
			run:    func(context.Context, int) (int, error) { return 0, errors.New(strings.Repeat("é", 500)) },
			status: core.StatusFailed, code: core.CodeFailed, message: strings.Repeat("é", 98) + "…", attempts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			task := core.NewTask("task", c.run, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: c.retry}})
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				if strings.Contains(name, "heed") {
					stubborn = release
				}
				w := newWorld(t, []core.Definition{task})
				stop := w.start()
				h := enqueue(w, task, 1)
				_, err := h.Wait(w.ctx)
				var ended *core.ExecutionError
				if !errors.As(err, &ended) {
					t.Fatalf("error %v, want an ExecutionError", err)
				}
				if ended.Status != c.status || ended.Failure.Code != c.code || ended.Failure.Message != c.message {
					t.Errorf("ended %s, %s %q", ended.Status, ended.Failure.Code, ended.Failure.Message)
				}
				if e := w.get(h.ID()); e.Attempts != c.attempts {
					t.Errorf("%d attempts, want %d", e.Attempts, c.attempts)
				} else if c.code == core.CodePanicked {
					if err := w.client.LoadFailure(w.ctx, e); err != nil || !strings.Contains(string(e.Failure.Detail.Data), "engine_test.go") {
						t.Errorf("no stack in the detail %q, error %v", e.Failure.Detail.Data, err)
					}
				}
				close(release)
				stop()
				w.checkClosed()
			})
		})
	}
}

func TestRetryAfterReplacesThePolicysDelay(t *testing.T) {
	task := core.NewTask("task", func(ctx context.Context, _ int) (int, error) {
		if core.InfoOf(ctx).Attempt == 1 {
			return 0, core.RetryAfter(errors.New("busy"), time.Hour)
		}
		return 1, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	inWorld(t, []core.Definition{task}, func(w *world) {
		begun := time.Now()
		wait(w, enqueue(w, task, 0))
		if took := time.Since(begun); took < time.Hour || took > time.Hour+2*time.Second {
			w.Errorf("took %s, want an hour", took)
		}
	})
}

// It was cut to the millisecond before it, and an engine that looks at the very time started it then.
func TestAStartAtATimeBetweenMillisecondsIsNotEarly(t *testing.T) {
	task := core.NewTask("task", func(context.Context, int) (time.Time, error) { return time.Now(), nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{task}, func(w *world) {
		time.Sleep(300 * time.Microsecond)
		at := time.Now().Add(time.Hour + 500*time.Microsecond)
		if started := wait(w, enqueueWith(w, task, 0, core.EnqueueOptions{StartAt: at})); started.Before(at) {
			w.Errorf("started at %s, before %s", started, at)
		}
	})
}

func TestAStartIsDelayed(t *testing.T) {
	task := core.NewTask("task", func(context.Context, int) (time.Time, error) { return time.Now(), nil },
		core.TaskOptions{Delay: time.Minute})
	inWorld(t, []core.Definition{task}, func(w *world) {
		for name, c := range map[string]struct {
			opts core.EnqueueOptions
			want time.Duration
		}{
			"by the task":     {core.EnqueueOptions{}, time.Minute},
			"by the options":  {core.EnqueueOptions{Delay: time.Second}, time.Second},
			"to a given time": {core.EnqueueOptions{StartAt: time.Now().Add(24 * time.Hour)}, 24 * time.Hour},
		} {
			begun := time.Now()
			started := wait(w, enqueueWith(w, task, 0, c.opts))
			if late := started.Sub(begun) - c.want; c.opts.StartAt.IsZero() && (late < -time.Millisecond || late > time.Second) {
				w.Errorf("%s: started after %s, want %s", name, started.Sub(begun), c.want)
			}
			if !c.opts.StartAt.IsZero() && started.Before(c.opts.StartAt) {
				w.Errorf("%s: started at %s, before %s", name, started, c.opts.StartAt)
			}
		}
	})
}

func TestABadEnqueueWritesNothing(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		raw := func(task, input string) error {
			_, err := w.client.EnqueueRaw(w.ctx, task, []byte(input), core.EnqueueOptions{})
			return err
		}
		with := func(opts core.EnqueueOptions) error {
			_, err := double.EnqueueWith(w.ctx, w.client, 1, opts)
			return err
		}
		for name, c := range map[string]struct {
			err  error
			is   error
			says string
		}{
			"an unknown task":        {raw("nope", "1"), core.ErrUnknownTask, `"nope"`},
			"malformed JSON":         {raw("double", "{"), core.ErrInvalid, "unexpected end of JSON"},
			"more than one value":    {raw("double", "1 2"), core.ErrInvalid, "after top-level value"},
			"the wrong type":         {raw("double", `"x"`), core.ErrInvalid, "decode int"},
			"a payload too large":    {raw("double", strings.Repeat("1", 1<<20+1)), core.ErrTooLarge, "1048577 bytes, the limit is 1048576"},
			"a malformed id":         {with(core.EnqueueOptions{ID: "a b"}), core.ErrInvalid, `"a b"`},
			"a derived id":           {with(core.EnqueueOptions{ID: "c.x"}), core.ErrInvalid, `"c.x"`},
			"a negative delay":       {with(core.EnqueueOptions{Delay: -1}), core.ErrInvalid, "Delay is -1ns"},
			"a delay and a time":     {with(core.EnqueueOptions{Delay: 1, StartAt: time.Now()}), core.ErrInvalid, "exclude each other"},
			"a negative timeout":     {with(core.EnqueueOptions{Timeout: -time.Second}), core.ErrInvalid, "Timeout is -1s"},
			"a bad retry policy":     {with(core.EnqueueOptions{Retry: &core.RetryPolicy{Jitter: 2}}), core.ErrInvalid, "Jitter is 2"},
			"a time too far ahead":   {with(core.EnqueueOptions{StartAt: time.Now().Add(20 * 365 * 24 * time.Hour)}), core.ErrInvalid, "StartAt"},
			"a get of what is not":   {func() error { _, err := w.client.Get(w.ctx, "none"); return err }(), core.ErrNotFound, "none"},
			"a cancel of what isn't": {w.client.Cancel(w.ctx, "none", ""), core.ErrNotFound, "none"},
		} {
			if !errors.Is(c.err, c.is) || !strings.Contains(fmt.Sprint(c.err), c.says) {
				w.Errorf("%s: error %v, want %v that says %s", name, c.err, c.is, c.says)
			}
		}
		if n := w.store.Len(); n != 0 {
			w.Errorf("%d executions were written", n)
		}
	})
}

func TestAChosenIDIsTakenOnce(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		opts := core.EnqueueOptions{ID: "order-7"}
		h := enqueueWith(w, double, 1, opts)
		if _, err := double.EnqueueWith(w.ctx, w.client, 2, opts); !errors.Is(err, core.ErrAlreadyExists) {
			w.Errorf("error %v", err)
		}
		if got := wait(w, h); got != 2 {
			w.Errorf("output %d", got)
		}
	})
}

func TestAnExecutorThatDiesLosesNothing(t *testing.T) {
	var ran atomic.Int32
	task := core.NewTask("task", func(ctx context.Context, _ int) (int, error) {
		ran.Add(1)
		return core.InfoOf(ctx).Attempt, nil
	}, core.TaskOptions{Timeout: 10 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{task})
		h := enqueue(w, task, 0)
		w.claim(h.ID())
		begun := time.Now()
		stop := w.start()
		if attempt := wait(w, h); attempt != 1 {
			t.Errorf("completed in attempt %d: a recovery counts as none", attempt)
		}
		if took := time.Since(begun); took < 15*time.Second || took > 18*time.Second {
			t.Errorf("recovered after %s, want the timeout of 10s and the leeway of 5s", took)
		}
		if e := w.get(h.ID()); e.Recoveries != 1 || ran.Load() != 1 {
			t.Errorf("%d recoveries, %d runs", e.Recoveries, ran.Load())
		}
		stop()
		w.checkClosed()
	})
}

func TestATaskThatKillsItsExecutorFailsAfterTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		h := enqueue(w, double, 0)
		sweeper := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
		for deaths := 0; ; deaths++ {
			if w.get(h.ID()).Status.Finished() {
				if deaths != 6 {
					t.Errorf("failed after %d deaths, want 6", deaths)
				}
				break
			}
			w.claim(h.ID())
			time.Sleep(time.Minute)
			if _, err := sweeper.ExpireTimeouts(w.ctx, 10); err != nil {
				t.Fatal(err)
			}
		}
		if e := w.get(h.ID()); e.Status != core.StatusFailed || e.Failure.Code != core.CodeCrashed {
			t.Errorf("ended %s, %v", e.Status, e.Failure)
		}
		sweeper.Flush()
		w.checkClosed()
	})
}

func TestAnUnknownTaskIsGivenBackUntilTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		h := enqueue(w, double, 21)
		lost := enqueue(w, double, 1)
		w.config.Registry, _ = core.NewRegistry()
		stop := w.start()
		time.Sleep(10 * time.Minute)
		stop()
		if e := w.get(h.ID()); e.Status != core.StatusReady || e.Attempts != 0 || e.Recoveries != 0 {
			t.Errorf("%s, %d attempts, %d recoveries", e.Status, e.Attempts, e.Recoveries)
		}
		other := newWorld(t, []core.Definition{double})
		other.store, other.client, other.config.Store = w.store, w.client, w.store
		if err := w.client.Cancel(w.ctx, lost.ID(), ""); err != nil {
			t.Fatal(err)
		}
		stop = other.start()
		if got := wait(w, h); got != 42 {
			t.Errorf("output %d", got)
		}
		stop()
		gone := enqueue(w, double, 1)
		stop = w.start()
		time.Sleep(2*time.Hour + time.Minute)
		stop()
		if e := w.get(gone.ID()); e.Status != core.StatusFailed || e.Failure.Code != core.CodeNotFound {
			t.Errorf("after the limit it is %s, %v", e.Status, e.Failure)
		}
		w.checkClosed()
	})
}

func TestAnExecutorTakesOnlyWhatFitsItsDeadline(t *testing.T) {
	long := core.NewTask("long", func(context.Context, int) (int, error) { return 1, nil }, core.TaskOptions{Timeout: time.Minute})
	short := core.NewTask("short", func(context.Context, int) (int, error) { return 1, nil }, core.TaskOptions{Timeout: time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{long, short})
		h1, h2 := enqueue(w, long, 1), enqueue(w, short, 1)
		x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(30 * time.Second)})
		if _, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		if a, b := w.get(h1.ID()).Status, w.get(h2.ID()).Status; a != core.StatusReady || b != core.StatusCompleted {
			t.Errorf("long is %s, short is %s", a, b)
		}
	})
}

func TestALoopWaitsForWhatIsDueBeforeTheNextTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		soon := enqueueWith(w, double, 1, core.EnqueueOptions{Delay: 20 * time.Second})
		late := enqueueWith(w, double, 1, core.EnqueueOptions{Delay: 90 * time.Second})
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		begun := time.Now()
		if _, err := x.Repeat(w.ctx, core.LoopStartReady, begun.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		if took := time.Since(begun); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("returned after %s, want 20s", took)
		}
		if a, b := w.get(soon.ID()).Status, w.get(late.ID()).Status; a != core.StatusCompleted || b != core.StatusReady {
			t.Errorf("soon is %s, late is %s", a, b)
		}
	})
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	store := newWorld(t, nil).store
	slow := core.NewTask("slow", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{Timeout: time.Hour})
	registry, err := core.NewRegistry(slow)
	if err != nil {
		t.Fatal(err)
	}
	for says, config := range map[string]core.Config{
		"Store is nil":    {Registry: registry},
		"Registry is nil": {Store: store},
		`task "slow": its Timeout 1h0m0s does not fit the function's timeout 2m0s`: {Store: store, Registry: registry, FunctionTimeout: 2 * time.Minute},
		"Leeway is -1s":       {Store: store, Registry: registry, Leeway: -time.Second},
		"Concurrency is -1":   {Store: store, Registry: registry, Concurrency: -1},
		"Payload is 99999999": {Store: store, Registry: registry, Limits: core.Limits{Payload: 99999999}},
	} {
		if _, err := core.NewEngine(config); !errors.Is(err, core.ErrInvalid) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	nothing := func(context.Context, int) (int, error) { return 0, nil }
	unregistered := core.NewTask("finalize", func(context.Context, core.Results[int]) (int, error) { return 0, nil }, core.TaskOptions{})
	parent := func(context.Context, int) (int, []core.Child, error) { return 0, nil, nil }
	for says, task := range map[string]core.Definition{
		`task id "a-b"`:                        core.NewTask("a-b", nothing, core.TaskOptions{}),
		`task "x": its function is nil`:        core.NewTask[int, int]("x", nil, core.TaskOptions{}),
		`task "x": Timeout is -1s`:             core.NewTask("x", nothing, core.TaskOptions{Timeout: -time.Second}),
		`MaxAttempts is -1`:                    core.NewTask("x", nothing, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: -1}}),
		`finalize task "finalize" is not regi`: core.NewParentTaskWithFinalizeTask("x", parent, unregistered, core.TaskOptions{}),
		`task "x": its finalize is nil`:        core.NewParentTaskWithFinalize[int, int, int]("x", parent, nil, core.TaskOptions{}),
		`number 1 of the registered tasks is`:  (*core.Task[int, int])(nil),
	} {
		if _, err := core.NewRegistry(task); !errors.Is(err, core.ErrInvalid) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	if _, err := core.NewRegistry(slow, slow); err == nil || !strings.Contains(err.Error(), `"slow": it is registered twice`) {
		t.Errorf("error %v", err)
	}
}

// A start time with nanoseconds was once kept as it was in memory, and cut in DynamoDB.
func TestTimesAreKeptInWholeMilliseconds(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		h := enqueueWith(w, double, 1, core.EnqueueOptions{
			StartAt: time.Now().Add(time.Second + 1234567*time.Nanosecond), Timeout: time.Second + time.Microsecond,
		})
		e := w.get(h.ID())
		wait(w, h)
		for _, at := range []time.Time{e.StartAt, e.DueAt, w.get(h.ID()).ExpiresAt} {
			if !at.Equal(core.Millis(at)) {
				w.Errorf("%s has more than milliseconds", at.Format(time.RFC3339Nano))
			}
		}
	})
}

// lossy loses the answer of every insert, after which the execution starts before the insert is tried again.
type lossy struct {
	core.Store
	started func(id string)
}

func (s lossy) Insert(ctx context.Context, e []*core.Execution) []error {
	if errs := s.Store.Insert(ctx, e); errs[0] != nil {
		return errs
	}
	s.started(e[0].ID)
	return []error{core.ErrUnknownOutcome}
}

// An enqueue whose answer was lost once failed as already existing when an executor had been faster than the
// second try.
func TestAnEnqueueWhoseAnswerIsLostIsStillItsOwn(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		client, err := core.NewClient(lossy{w.store, func(string) { time.Sleep(5 * time.Second) }}, core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		h, err := double.Enqueue(w.ctx, client, 4)
		if err != nil {
			w.Fatal(err)
		}
		if got := wait(w, h); got != 8 {
			w.Errorf("output %d", got)
		}
	})
}

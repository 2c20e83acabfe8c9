package core_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/perdure-dev/perdure/core"
)

// A text of 40 MB was once kept as it was, for 33,761 write units.
func TestAFailureTextIsKeptWithinBounds(t *testing.T) {
	const keeps = 16 << 10
	huge := strings.Repeat("é", 3<<20) // 6 MB of two bytes each
	fails := core.NewTask("fails", func(context.Context, int) (int, error) { return 0, errors.New(huge) }, core.TaskOptions{})
	panics := core.NewTask("panics", func(context.Context, int) (int, error) { panic(huge) }, core.TaskOptions{})
	finalizes := core.NewParentTaskWithFinalize("finalizes",
		func(context.Context, int) (int, []core.Child, error) { return 0, nil, nil },
		func(context.Context, core.Results[int]) (int, error) { return 0, errors.New(huge) }, core.TaskOptions{})
	retried := core.NewTask("retried", func(context.Context, int) (int, error) { return 0, errors.New(huge) },
		core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Hour}})
	refused := core.NewTask("refused", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{}).
		Validate(func(n int) error {
			if n == 1 {
				return errors.New(huge)
			}
			return nil
		})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{refused.Child(1)}, nil
	}, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(fails, double), core.TaskOptions{})
	asleep := core.NewSleepingTask[int]("asleep", core.TaskOptions{})
	t.Parallel()
	inIdleWorld(t, []core.Definition{fails, panics, finalizes, retried, refused, parent, chain, double, asleep}, func(w *world) {
		ids := map[string]string{
			"an error":          enqueue(w, fails, 1).ID(),
			"a panic":           enqueue(w, panics, 1).ID(),
			"a finalize":        enqueue(w, finalizes, 1).ID(),
			"before a retry":    enqueue(w, retried, 1).ID(),
			"a refused child":   enqueue(w, parent, 1).ID(),
			"a step":            enqueue(w, chain, 1).ID(),
			"a wake-up":         enqueue(w, asleep, "woken").ID(),
			"a raw wake-up":     enqueue(w, asleep, "woken raw").ID(),
			"a cancellation":    enqueue(w, asleep, "cancelled").ID(),
			"a wake-up that is": enqueue(w, asleep, "kept").ID(),
		}
		if _, err := core.WakeupWithError(w.ctx, w.client, asleep, "woken", errors.New(huge)); err != nil {
			w.Fatal(err)
		}
		if _, err := w.client.WakeupRaw(w.ctx, "asleep", "woken raw", nil, huge); err != nil {
			w.Fatal(err)
		}
		if _, err := core.WakeupWithError(w.ctx, w.client, asleep, "kept", errors.New(huge)); err != nil {
			w.Fatal(err)
		}
		if err := w.client.Cancel(w.ctx, ids["a cancellation"], huge); err != nil {
			w.Fatal(err)
		}
		stop := w.start()
		time.Sleep(time.Minute)
		stop()
		for name, id := range ids {
			f := w.get(id).Failure
			if f == nil {
				w.Errorf("%s: it is %s, without a failure", name, w.get(id).Status)
				continue
			}
			detail := string(f.Detail.Data)
			if len(f.Message) > 200 || len(detail) > 2*keeps+200 {
				w.Errorf("%s: %d bytes of message, %d of detail", name, len(f.Message), len(detail))
			}
			if !utf8.ValidString(f.Message) || !utf8.ValidString(detail) {
				w.Errorf("%s: cut within a character", name)
			}
			if name != "a step" && !strings.Contains(detail, "bytes more were left out)") {
				w.Errorf("%s: the detail does not say that it was cut", name)
			}
		}
		if stack := string(w.get(ids["a panic"]).Failure.Detail.Data); !strings.Contains(stack, "goroutine ") {
			w.Error("the panic's stack is missing")
		}
	})
}

// A text that is not UTF-8 came back from DynamoDB as another one than from memory.
func TestAFailureTextIsUTF8(t *testing.T) {
	broken := "caf\xe9 \xff\xfe closed"
	fails := core.NewTask("fails", func(context.Context, int) (int, error) { return 0, errors.New(broken) }, core.TaskOptions{})
	long := core.NewTask("long", func(context.Context, int) (int, error) { return 0, errors.New(strings.Repeat(broken, 100)) }, core.TaskOptions{})
	inWorld(t, []core.Definition{fails, long}, func(w *world) {
		if got := ended(w, enqueue(w, fails, 1)).Failure; got.Message != "caf\uFFFD \uFFFD closed" || !got.Detail.IsZero() {
			w.Errorf("message %q, detail %q", got.Message, got.Detail.Data)
		}
		if got := ended(w, enqueue(w, long, 1)).Failure; !utf8.ValidString(got.Message) || !utf8.Valid(got.Detail.Data) {
			w.Errorf("message %q, detail %q", got.Message, got.Detail.Data)
		}
	})
}

// RetryAfter once took 292 years.
func TestAWaitThatCodeAsksForIsBounded(t *testing.T) {
	asks := core.NewTask("asks", func(_ context.Context, after time.Duration) (int, error) {
		return 0, core.RetryAfter(errors.New("not yet"), after)
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Hour}})
	again := core.NewTask("again", func(_ context.Context, sleep time.Duration) (core.Iteration[time.Duration, int], error) {
		return core.Iteration[time.Duration, int]{Sleep: sleep}, nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", again, core.LoopOptions{MaxIterations: 2, Sleep: time.Hour}, core.TaskOptions{})
	const month = 30 * 24 * time.Hour
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{
		math.MaxInt64: month, month + 1: month, month: month, 90*time.Second + 400*time.Microsecond: 90 * time.Second,
	} {
		inIdleWorld(t, []core.Definition{asks, again, loop}, func(w *world) {
			now := core.Millis(time.Now())
			retried, looped := enqueue(w, asks, asked), enqueue(w, loop, asked)
			stop := w.start()
			time.Sleep(time.Minute)
			stop()
			if e := w.get(retried.ID()); e.Status != core.StatusReady || e.StartAt.Sub(now) != want || !e.DueAt.Equal(e.StartAt) {
				w.Errorf("asked for %s: it is %s and due in %s, want %s", asked, e.Status, e.StartAt.Sub(now), want)
			}
			children, err := w.client.Children(w.ctx, looped.ID())
			if err != nil || len(children) != 2 || children[1].StartAt.Sub(now) != want {
				w.Errorf("asked for %s: error %v, iterations %+v", asked, err, children)
			}
		})
	}
	for asked, want := range map[time.Duration]int{math.MinInt64: 2, -1: 2, 0: 2, time.Microsecond: 2} {
		inIdleWorld(t, []core.Definition{asks}, func(w *world) {
			h := enqueue(w, asks, asked)
			stop := w.start()
			time.Sleep(time.Second)
			stop()
			if e := w.get(h.ID()); e.Attempts != want {
				w.Errorf("asked for %s: %d attempts within a second", asked, e.Attempts)
			}
		})
	}
}

// A base delay of a microsecond once meant none in memory and the default of 1 s on DynamoDB.
func TestDelaysMeanTheSameOnEveryStore(t *testing.T) {
	t.Parallel()
	for policy, says := range map[core.RetryPolicy]string{
		{BaseDelay: time.Microsecond}:             "BaseDelay is 1µs",
		{MaxDelay: time.Millisecond - 1}:          "MaxDelay is 999.999µs",
		{BaseDelay: -1}:                           "BaseDelay is -1ns",
		{BaseDelay: 30*24*time.Hour + 1}:          "BaseDelay is 720h0m0.000000001s",
		{MaxDelay: math.MaxInt64}:                 "MaxDelay is",
		{Multiplier: math.Inf(1)}:                 "Multiplier is +Inf",
		{Multiplier: 0.5}:                         "Multiplier is 0.5",
		{Jitter: math.Inf(-1)}:                    "Jitter is -Inf",
		{MaxAttempts: math.MaxInt}:                "MaxAttempts is",
		{Multiplier: 2, Jitter: 1 + 1e-9}:         "Jitter is",
		{Multiplier: math.SmallestNonzeroFloat64}: "Multiplier is",
	} {
		if _, err := double.Prepare(plainClient(t), 1, core.EnqueueOptions{Retry: &policy}); !errors.Is(err, core.ErrInvalid) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%+v: error %v, want one that says %q", policy, err, says)
		}
		task := core.NewTask("x", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{Retry: policy})
		if _, err := core.NewRegistry(task); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: registered, error %v", policy, err)
		}
	}
	for _, policy := range []core.RetryPolicy{{Multiplier: math.NaN()}, {Jitter: math.NaN()}} { // no keys of a map
		if _, err := double.Prepare(plainClient(t), 1, core.EnqueueOptions{Retry: &policy}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: error %v", policy, err)
		}
	}
	e, err := double.Prepare(plainClient(t), 1, core.EnqueueOptions{
		Delay: 1500 * time.Microsecond, Timeout: 2500 * time.Microsecond, ScheduleToStart: 3500 * time.Microsecond,
		StartToFinish: 4500 * time.Microsecond, Retry: &core.RetryPolicy{BaseDelay: 5500 * time.Microsecond, MaxDelay: 6500 * time.Microsecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range []time.Duration{e.Delay, e.Timeout, e.ScheduleToStart, e.StartToFinish, e.Retry.BaseDelay, e.Retry.MaxDelay} {
		if want := time.Duration(i+1) * time.Millisecond; d != want {
			t.Errorf("duration %d is %s, want %s", i, d, want)
		}
	}
	for _, keep := range []time.Duration{time.Microsecond, -time.Hour, math.MaxInt64} {
		if _, err := core.NewClient(newWorld(t, nil).store, core.ClientOptions{KeepWakeups: keep}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("KeepWakeups %s: error %v", keep, err)
		}
	}
}

func plainClient(t *testing.T) *core.Client {
	t.Helper()
	c, err := core.NewClient(newWorld(t, nil).store, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A base delay of a day once meant an hour, since that is the default of the longest.
func TestABaseDelayIsNotCutByADefault(t *testing.T) {
	t.Parallel()
	task := core.NewTask("daily", func(context.Context, int) (int, error) { return 0, errors.New("no") },
		core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3, BaseDelay: 24 * time.Hour}})
	inIdleWorld(t, []core.Definition{task}, func(w *world) {
		h := enqueue(w, task, 1)
		start := time.Now()
		stop := w.start()
		time.Sleep(time.Minute)
		if wait := w.get(h.ID()).StartAt.Sub(start); wait != 24*time.Hour {
			w.Errorf("the second attempt is due in %s", wait)
		}
		time.Sleep(24 * time.Hour)
		if wait := w.get(h.ID()).StartAt.Sub(start); wait != 48*time.Hour {
			w.Errorf("the third attempt is due in %s", wait)
		}
		stop()
	})
}

func TestAStartFarAwayIsRefusedAndOneLongAgoIsNow(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		time.Now().Add(10*365*24*time.Hour + time.Hour), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<60, 0), time.Unix(math.MaxInt64, 0),
	} {
		if e, err := double.Prepare(plainClient(t), 1, core.EnqueueOptions{StartAt: at}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: error %v, %+v", at, err, e)
		}
	}
	for _, at := range []time.Time{time.Unix(-1<<60, 0), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Now().Add(-time.Hour)} {
		e, err := double.Prepare(plainClient(t), 1, core.EnqueueOptions{StartAt: at})
		if err != nil || e.Delay != 0 || !e.DueAt.Equal(e.CreatedAt) {
			t.Errorf("%s: error %v, %+v", at, err, e)
		}
	}
}

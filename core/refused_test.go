package core_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
)

// through makes the world's clients use a store that calls hook before each operation.
func (w *world) through(hook func(core.Store) core.Store, opts core.ClientOptions) *core.Client {
	w.Helper()
	opts.Registry = w.config.Registry
	c, err := core.NewClient(hook(w.store), opts)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// What is not UTF-8 became U+FFFD on its way, so that two different keys were one, and a signal never met its waiter.
func TestAKeyThatIsNotUTF8IsRefusedAtBothEnds(t *testing.T) {
	parent := asks()
	name := core.NewTask("name", func(context.Context, string) (string, error) { return "\xff", nil }, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(name, approval), core.TaskOptions{})
	bad := core.NewParentTaskWithFinalize("bad", func(context.Context, string) (int, []core.Child, error) {
		return 0, []core.Child{approval.Child("a\xc3")}, nil
	}, func(context.Context, core.Results[int]) (string, error) { return "", nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, seq, bad, name, approval, double}, func(w *world) {
		for name, do := range map[string]func() error{
			"enqueue": func() error { _, err := approval.Enqueue(w.ctx, w.client, "k\xff"); return err },
			"many": func() error {
				return approval.EnqueueMany(w.ctx, w.client, []core.BulkItem[string]{{Input: "k\xff"}}, nil)[0].Err
			},
			"prepare": func() error { _, err := approval.Prepare(w.client, "k\xff", core.EnqueueOptions{}); return err },
			"wakeup":  func() error { _, err := wakeup(w, "k\xff", "yes"); return err },
			"with an error": func() error {
				_, err := core.WakeupWithError(w.ctx, w.client, approval, "k\xff", errors.New("no"))
				return err
			},
			"raw wakeup": func() error {
				_, err := w.client.WakeupRaw(w.ctx, "approval", "k\xff", []byte(`"yes"`), "")
				return err
			},
			"raw, bytes": func() error {
				_, err := w.client.EnqueueRaw(w.ctx, "approval", []byte("\"k\xff\""), core.EnqueueOptions{})
				return err
			},
			"raw, escaped": func() error {
				_, err := w.client.EnqueueRaw(w.ctx, "approval", []byte(`"k\ufffd"`), core.EnqueueOptions{})
				return err
			},
			"raw, surrogate": func() error {
				_, err := w.client.EnqueueRaw(w.ctx, "approval", []byte(`"k\ud800"`), core.EnqueueOptions{})
				return err
			},
			"idempotency": func() error {
				_, err := double.EnqueueWith(w.ctx, w.client, 1, core.EnqueueOptions{Key: "k\xff"})
				return err
			},
			"text of a failure": func() error {
				_, err := core.WakeupWithError(w.ctx, w.client, approval, "k", errors.New("no\xff"))
				return err
			},
			"raw text of a failure": func() error { _, err := w.client.WakeupRaw(w.ctx, "approval", "k", nil, "no\xff"); return err },
			"reason":                func() error { return w.client.Cancel(w.ctx, "nobody", "since\xff") },
		} {
			if err := do(); !errors.Is(err, core.ErrInvalid) {
				w.Errorf("%s: error %v", name, err)
			}
		}
		if w.store.Len() != 0 {
			w.Errorf("%d records were written", w.store.Len())
		}
		for _, h := range []*core.Handle[string]{enqueue(w, seq, "x"), enqueue(w, bad, "x")} {
			if e := ended(w, h); e.Failure.Code != core.CodeInvalid || !strings.Contains(e.Failure.Message, "not UTF-8") {
				w.Errorf("%s: %+v", e.TaskID, e.Failure)
			}
		}
		// The character itself is text like any other.
		h := enqueue(w, parent, []string{"k\ufffd", "ké 世界"})
		time.Sleep(time.Minute)
		for _, key := range []string{"k\ufffd", "ké 世界"} {
			if _, err := wakeup(w, key, "yes"); err != nil {
				w.Error(err)
			}
		}
		if got := wait(w, h); got != "yes yes" {
			w.Error(got)
		}
	})
}

// The second task's signal was told that the first one's is finished, and was lost.
func TestTwoTasksCannotKeepSignalsUnderOneKey(t *testing.T) {
	other := core.NewSleepingTask[int]("other", core.TaskOptions{Timeout: time.Hour})
	inWorld(t, []core.Definition{approval, other}, func(w *world) {
		if _, err := wakeup(w, "k", "yes"); err != nil {
			w.Fatal(err)
		}
		for name, do := range map[string]func() error{
			"wakeup": func() error { _, err := core.Wakeup(w.ctx, w.client, other, "k", 1); return err },
			"failure": func() error {
				_, err := core.WakeupWithError(w.ctx, w.client, other, "k", errors.New("no"))
				return err
			},
			"raw": func() error { _, err := w.client.WakeupRaw(w.ctx, "other", "k", []byte("1"), ""); return err },
		} {
			if err := do(); !errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrFinished) ||
				!strings.Contains(err.Error(), "task approval") {
				w.Errorf("%s: error %v", name, err)
			}
		}
		_, err := other.Enqueue(w.ctx, w.client, "k")
		if !errors.Is(err, core.ErrAlreadyExists) || !strings.Contains(err.Error(), "task approval") {
			w.Errorf("a sleeper of the other task: error %v", err)
		}
		if got := wait(w, enqueue(w, approval, "k")); got != "yes" {
			w.Error(got)
		}
		if _, err := core.Wakeup(w.ctx, w.client, other, "k", 1); !errors.Is(err, core.ErrInvalid) {
			w.Errorf("once it is taken: error %v", err)
		}
	})
}

// A wake-up of a task that does not sleep returned nil, and held the key of the one that does for a day.
func TestAWakeupOfATaskThatDoesNotSleepIsRefused(t *testing.T) {
	text := core.NewTask("text", func(_ context.Context, in string) (string, error) { return in, nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{approval, text}, func(w *world) {
		for name, do := range map[string]func() error{
			"wakeup":  func() error { _, err := core.Wakeup(w.ctx, w.client, text, "k", "yes"); return err },
			"failure": func() error { _, err := core.WakeupWithError(w.ctx, w.client, text, "k", errors.New("no")); return err },
			"nil":     func() error { _, err := core.WakeupWithError(w.ctx, w.client, approval, "k", nil); return err },
			"no task": func() error {
				_, err := core.Wakeup(w.ctx, w.client, (*core.Task[string, string])(nil), "k", "yes")
				return err
			},
		} {
			if err := do(); !errors.Is(err, core.ErrInvalid) {
				w.Errorf("%s: error %v", name, err)
			}
		}
		if w.store.Len() != 0 {
			w.Errorf("%d records were written", w.store.Len())
		}
		h := enqueue(w, approval, "k")
		if _, err := wakeup(w, "k", "yes"); err != nil {
			w.Error(err)
		}
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
	})
}

func TestWhatDoesNotEncodeIsInvalid(t *testing.T) {
	number := core.NewTask("number", func(_ context.Context, in float64) (float64, error) { return in, nil }, core.TaskOptions{})
	any1 := core.NewTask("any", func(_ context.Context, in any) (any, error) { return in, nil }, core.TaskOptions{})
	asleep := core.NewSleepingTask[float64]("asleep", core.TaskOptions{Timeout: time.Hour})
	parent := core.NewParentTask("parent", func(context.Context, string) (int, []core.Child, error) {
		return 0, []core.Child{number.Child(math.Inf(1))}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{number, any1, asleep, parent}, func(w *world) {
		for name, do := range map[string]func() error{
			"enqueue": func() error { _, err := number.Enqueue(w.ctx, w.client, math.NaN()); return err },
			"many": func() error {
				return number.EnqueueMany(w.ctx, w.client, []core.BulkItem[float64]{{Input: math.NaN()}}, nil)[0].Err
			},
			"prepare":   func() error { _, err := number.Prepare(w.client, math.Inf(-1), core.EnqueueOptions{}); return err },
			"a channel": func() error { _, err := any1.Enqueue(w.ctx, w.client, make(chan int)); return err },
			"wakeup":    func() error { _, err := core.Wakeup(w.ctx, w.client, asleep, "k", math.NaN()); return err },
		} {
			if err := do(); !errors.Is(err, core.ErrInvalid) {
				w.Errorf("%s: error %v", name, err)
			}
		}
		if w.store.Len() != 0 {
			w.Errorf("%d records were written", w.store.Len())
		}
		h := enqueue(w, parent, "")
		_, err := h.Wait(w.ctx)
		if e := new(core.ExecutionError); !errors.As(err, &e) || e.Failure.Code != core.CodeInvalid {
			w.Errorf("a child: error %v", err)
		}
	})
}

// asked counts what a store is asked.
func asked(n *int) func(core.Store) core.Store {
	return func(s core.Store) core.Store {
		return faultstore.New(s, func(faultstore.Op) faultstore.Fault {
			*n++
			return faultstore.None
		})
	}
}

func TestAnIDThatCannotBeIsRefusedBeforeTheStoreIsAsked(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		var n int
		c := w.through(asked(&n), core.ClientOptions{})
		for _, id := range []string{
			"", strings.Repeat("x", 65), strings.Repeat("x", 3000), "a b", "a/b", "é", "\xff", "a\n", ".", "c.", "a.b.c", "cc.x", "c." + strings.Repeat("x", 65),
		} {
			h := double.HandleOf(c, id)
			for name, do := range map[string]func() error{
				"Get":           func() error { _, err := c.Get(w.ctx, id); return err },
				"GetMany":       func() error { _, err := c.GetMany(w.ctx, []string{"fine", id}); return err },
				"Children":      func() error { _, err := c.Children(w.ctx, id); return err },
				"Tree":          func() error { _, err := c.Tree(w.ctx, id); return err },
				"Cancel":        func() error { return c.Cancel(w.ctx, id, "") },
				"Redrive":       func() error { _, err := c.Redrive(w.ctx, id); return err },
				"RedrivenAs":    func() error { _, err := c.RedrivenAs(w.ctx, id); return err },
				"Handle.Wait":   func() error { _, err := h.Wait(w.ctx); return err },
				"Handle.Get":    func() error { _, err := h.Get(w.ctx); return err },
				"Handle.Cancel": func() error { return h.Cancel(w.ctx, "") },
			} {
				if err := do(); !errors.Is(err, core.ErrInvalid) || len(err.Error()) > 300 {
					w.Errorf("%s of %.40q: error %.400v", name, id, err)
				}
			}
		}
		if n != 0 {
			w.Errorf("the store was asked %d times", n)
		}
		for _, id := range []string{"a", "A-b_9", core.NewID(), core.SleepID("k"), core.KeyID("k"), core.RedriveID("a"), strings.Repeat("x", 64)} {
			if _, err := c.Get(w.ctx, id); !errors.Is(err, core.ErrNotFound) {
				w.Errorf("%q: error %v", id, err)
			}
		}
	})
}

// A step that sleeps was put whatever Validate said of its key.
func TestTheKeyOfASleepingStepIsValidated(t *testing.T) {
	strict := core.NewSleepingTask[string]("strict", core.TaskOptions{Timeout: time.Hour}).Validate(func(key string) error {
		if !strings.HasPrefix(key, "order ") {
			return fmt.Errorf("%q is no order", key)
		}
		return nil
	})
	name := core.NewTask("name", func(_ context.Context, in string) (string, error) { return in, nil }, core.TaskOptions{})
	second := core.NewSequentialTask("second", core.Then(name, strict), core.TaskOptions{})
	first := core.NewSequentialTask("first", core.Then(strict, name), core.TaskOptions{})
	parent := core.NewParentTaskWithFinalize("parent", func(_ context.Context, key string) (string, []core.Child, error) {
		return "", []core.Child{strict.Child(key)}, nil
	}, func(context.Context, core.Results[string]) (string, error) { return "", nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{second, first, parent, strict, name}, func(w *world) {
		for _, task := range []*core.Task[string, string]{second, first, parent} {
			if e := ended(w, enqueue(w, task, "17")); e.Failure.Code != core.CodeInvalid || !strings.Contains(e.Failure.Message, "is no order") {
				w.Errorf("%s: %+v", e.TaskID, e.Failure)
			}
		}
		w.store.Each(func(e *core.Execution) {
			if e.Sleeping() {
				w.Errorf("%s was put", e.ID)
			}
		})
		if _, err := w.client.EnqueueRaw(w.ctx, "strict", []byte(`"17"`), core.EnqueueOptions{}); !errors.Is(err, core.ErrInvalid) {
			w.Errorf("raw: error %v", err)
		}
		h := enqueue(w, second, "order 17")
		time.Sleep(time.Minute)
		if _, err := core.Wakeup(w.ctx, w.client, strict, "order 17", "yes"); err != nil {
			w.Fatal(err)
		}
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
	})
}

// stubborn is a store that answers as an AWS client does whose context has ended: with an error of its own.
type stubborn struct {
	core.Store
	asked func()
}

var errSDK = errors.New("request canceled")

func (s stubborn) Get(ctx context.Context, ids []string, f core.Filter) ([]*core.Execution, error) {
	s.asked()
	if ctx.Err() != nil {
		return nil, errSDK
	}
	return s.Store.Get(ctx, ids, f)
}

func (s stubborn) Insert(ctx context.Context, executions []*core.Execution) []error {
	s.asked()
	if ctx.Err() == nil {
		return s.Store.Insert(ctx, executions)
	}
	errs := make([]error, len(executions))
	for i := range errs {
		errs[i] = fmt.Errorf("%w: %w", core.ErrUnknownOutcome, errSDK)
	}
	return errs
}

func TestAnEndedContextsCauseIsTold(t *testing.T) {
	cause := errors.New("the caller hung up")
	inWorld(t, []core.Definition{double, approval}, func(w *world) {
		running := enqueueWith(w, double, 1, core.EnqueueOptions{Delay: time.Hour})
		calls := map[string]func(context.Context, *core.Client) error{
			"Wait": func(ctx context.Context, c *core.Client) error {
				_, err := double.HandleOf(c, running.ID()).Wait(ctx)
				return err
			},
			"Get": func(ctx context.Context, c *core.Client) error { _, err := c.Get(ctx, running.ID()); return err },
			"GetMany": func(ctx context.Context, c *core.Client) error {
				_, err := c.GetMany(ctx, []string{running.ID()})
				return err
			},
			"Tree":    func(ctx context.Context, c *core.Client) error { _, err := c.Tree(ctx, running.ID()); return err },
			"Cancel":  func(ctx context.Context, c *core.Client) error { return c.Cancel(ctx, running.ID(), "") },
			"Redrive": func(ctx context.Context, c *core.Client) error { _, err := c.Redrive(ctx, running.ID()); return err },
			"Enqueue": func(ctx context.Context, c *core.Client) error { _, err := double.Enqueue(ctx, c, 1); return err },
			"sleeper": func(ctx context.Context, c *core.Client) error { _, err := approval.Enqueue(ctx, c, "k"); return err },
			"raw": func(ctx context.Context, c *core.Client) error {
				_, err := c.EnqueueRaw(ctx, "double", []byte("1"), core.EnqueueOptions{})
				return err
			},
			"many": func(ctx context.Context, c *core.Client) error {
				return double.EnqueueMany(ctx, c, []core.BulkItem[int]{{Input: 1}}, nil)[0].Err
			},
			"Wakeup": func(ctx context.Context, c *core.Client) error {
				_, err := core.Wakeup(ctx, c, approval, "k", "yes")
				return err
			},
			"List": func(ctx context.Context, c *core.Client) error { _, err := c.List(ctx, core.Listing{}); return err },
		}
		before := w.store.Len()
		for name, call := range calls {
			ctx, cancel := context.WithCancelCause(w.ctx)
			cancel(cause)
			c := w.through(func(s core.Store) core.Store { return stubborn{s, func() {}} }, core.ClientOptions{})
			if err := call(ctx, c); !errors.Is(err, cause) {
				w.Errorf("%s, ended before: error %v", name, err)
			}
			if name == "List" {
				continue
			}
			ctx, cancel = context.WithCancelCause(w.ctx)
			c = w.through(func(s core.Store) core.Store { return stubborn{s, func() { cancel(cause) }} }, core.ClientOptions{})
			if err := call(ctx, c); !errors.Is(err, cause) {
				w.Errorf("%s, ended meanwhile: error %v", name, err)
			}
			plain, stop := context.WithCancel(w.ctx)
			c = w.through(func(s core.Store) core.Store { return stubborn{s, stop} }, core.ClientOptions{})
			if err := call(plain, c); !errors.Is(err, context.Canceled) {
				w.Errorf("%s, cancelled: error %v", name, err)
			}
			stop()
		}
		if n := w.store.Len(); n != before {
			w.Errorf("%d records were written", n-before)
		}
		wait(w, running)
	})
}

// forgetful is a store in which a key is taken by what it does not show, as by a record whose retention is over.
type forgetful struct {
	core.Store
	asked func()
}

func (s forgetful) Get(_ context.Context, ids []string, _ core.Filter) ([]*core.Execution, error) {
	s.asked()
	return make([]*core.Execution, len(ids)), nil
}

func (s forgetful) Insert(_ context.Context, executions []*core.Execution) []error {
	s.asked()
	errs := make([]error, len(executions))
	for i := range errs {
		errs[i] = core.ErrAlreadyExists
	}
	return errs
}

// A signal, and a sleeper, tried again and again without a pause where the store showed and hid a record at once.
func TestWhatIsTriedAgainIsTriedAtAPace(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		for name, call := range map[string]func(context.Context, *core.Client) error{
			"signal": func(ctx context.Context, c *core.Client) error {
				_, err := core.Wakeup(ctx, c, approval, "k", "yes")
				return err
			},
			"sleeper": func(ctx context.Context, c *core.Client) error { _, err := approval.Enqueue(ctx, c, "k"); return err },
		} {
			ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
			n := 0
			c := w.through(func(s core.Store) core.Store {
				return forgetful{s, func() {
					if n++; n > 1000 {
						cancel() // nothing waits, so time does not pass
					}
				}}
			}, core.ClientOptions{})
			if err := call(ctx, c); !errors.Is(err, context.DeadlineExceeded) || n > 150 {
				w.Errorf("%s: asked %d times, error %v", name, n, err)
			}
			cancel()
		}
	})
}

// In the second in which its retention ended a kept signal was neither there nor not.
func TestAKeptSignalGivesWayTheMomentItExpires(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		var n int
		c := w.through(asked(&n), core.ClientOptions{KeepWakeups: 1500 * time.Millisecond})
		send := func(out string) error { _, err := core.Wakeup(w.ctx, c, approval, "k", out); return err }
		if err := send("old"); err != nil {
			w.Fatal(err)
		}
		time.Sleep(1499 * time.Millisecond)
		if err := send("too soon"); !errors.Is(err, core.ErrFinished) {
			w.Errorf("before: error %v", err)
		}
		time.Sleep(time.Millisecond)
		n = 0
		if err := send("new"); err != nil || n > 3 {
			w.Errorf("asked %d times, error %v", n, err)
		}
		if got := wait(w, enqueue(w, approval, "k")); got != "new" {
			w.Error(got)
		}
	})
}

// A redrive is an enqueue: what the task refuses by now is not put.
func TestARedriveIsValidated(t *testing.T) {
	strict := false
	task := core.NewTask("task", func(context.Context, int) (int, error) { return 0, errors.New("broken") }, core.TaskOptions{}).Validate(func(int) error {
		if strict {
			return errors.New("no more")
		}
		return nil
	})
	inWorld(t, []core.Definition{task}, func(w *world) {
		h := enqueue(w, task, 1)
		if _, err := h.Wait(w.ctx); err == nil {
			w.Error("it completed")
		}
		strict = true
		if _, err := w.client.Redrive(w.ctx, h.ID()); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "no more") {
			w.Errorf("error %v", err)
		}
		if w.store.Len() != 1 {
			w.Errorf("%d records", w.store.Len())
		}
	})
}

// A Chain that Then did not make has no steps: an engine that began it panicked, outside of all user code.
func TestWhatIsNilIsRefusedWithAnErrorThatSaysSo(t *testing.T) {
	opts := core.TaskOptions{}
	var (
		noTask  *core.Task[int, int]
		noSleep *core.Task[string, string]
	)
	for name, tasks := range map[string][]core.Definition{
		"its step 0 is nil":              {core.NewSequentialTask("s", &core.Chain[int, int]{}, opts)},
		"its Validate function is nil":   {core.NewTask("v", func(context.Context, int) (int, error) { return 0, nil }, opts).Validate(nil)},
		"number 2 of the registered":     {half, &core.Task[int, int]{}},
		"its iteration task is nil":      {core.NewLoopingTask[int, int]("l", nil, core.LoopOptions{MaxIterations: 1}, opts)},
		"its step 0 is nil (then)":       {half, core.NewSequentialTask("s", core.Then(&core.Chain[int, int]{}, half), opts)},
		"its finalize is nil":            {core.NewParentTaskWithFinalize[int, int, int]("p", halvesOfNothing, nil, opts)},
		"its step 0 is nil (typed, nil)": {core.NewSequentialTask("s", core.Steps[int, int](noTask), opts)},
	} {
		want, _, _ := strings.Cut(name, " (")
		if _, err := core.NewRegistry(tasks...); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	inWorld(t, []core.Definition{half, approval}, func(w *world) {
		for name, call := range map[string]func() error{
			"task: it is nil":               func() error { _, err := noTask.Enqueue(w.ctx, w.client, 1); return err },
			"task: it is nil (many)":        func() error { return noTask.EnqueueMany(w.ctx, w.client, make([]core.BulkItem[int], 1), nil)[0].Err },
			"task: it is nil (zero)":        func() error { _, err := new(core.Task[int, int]).Enqueue(w.ctx, w.client, 1); return err },
			"client: it is nil":             func() error { _, err := half.Enqueue(w.ctx, nil, 1); return err },
			"task: it is nil (wake-up)":     func() error { _, err := core.Wakeup(w.ctx, w.client, noSleep, "k", ""); return err },
			"client: it is nil (wake-up)":   func() error { _, err := core.Wakeup(w.ctx, nil, approval, "k", ""); return err },
			"client: it is nil (error)":     func() error { _, err := core.WakeupWithError(w.ctx, nil, approval, "k", errMoody); return err },
			"execution: it is nil":          func() error { _, _, err := w.client.ResultJSON(w.ctx, nil); return err },
			"execution: it is nil (inputs)": func() error { _, err := w.client.InputJSON(w.ctx, nil); return err },
		} {
			want, _, _ := strings.Cut(name, " (")
			if err := call(); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
				w.Errorf("%s: error %v", name, err)
			}
		}
		found, err := w.client.GetMany(w.ctx, []string{"nobody"})
		if err != nil || w.client.LoadCauses(w.ctx, found...) != nil || w.client.LoadFailure(w.ctx, found[0]) != nil {
			w.Errorf("what GetMany did not find: %v, error %v", found, err)
		}
		if w.store.Len() != 0 {
			w.Errorf("%d records were written", w.store.Len())
		}
	})
}

func halvesOfNothing(context.Context, int) (int, []core.Child, error) { return 0, nil, nil }

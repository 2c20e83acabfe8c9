package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
)

var approval = core.NewSleepingTask[string]("approval", core.TaskOptions{Timeout: time.Hour})

func wakeup(w *world, key, out string) (*core.Handle[string], error) {
	w.Helper()
	return core.Wakeup(w.ctx, w.client, approval, key, out)
}

func TestASleepingTaskIsWokenByItsKey(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		h := enqueue(w, approval, "order 17")
		w.settle()
		if e := w.get(h.ID()); e.Status != core.StatusRunning || e.Attempts != 0 {
			w.Errorf("asleep it is %s, attempt %d", e.Status, e.Attempts)
		}
		woken, err := wakeup(w, "order 17", "yes")
		if err != nil || woken.ID() != h.ID() {
			w.Fatalf("woken %v, error %v", woken, err)
		}
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
		again, err := wakeup(w, "order 17", "no")
		if !errors.Is(err, core.ErrFinished) {
			w.Errorf("second wake-up: error %v", err)
		}
		if got := wait(w, again); got != "yes" {
			w.Errorf("second wake-up: %s", got)
		}
		if _, err := approval.Enqueue(w.ctx, w.client, "order 17"); !errors.Is(err, core.ErrAlreadyExists) {
			w.Errorf("second sleeper: error %v", err)
		}
	})
}

func TestASleeperThatNobodyWakesTimesOut(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		start := time.Now()
		h := enqueue(w, approval, "order 17")
		_, err := h.Wait(w.ctx)
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Status != core.StatusTimedOut || ended.Failure.Code != core.CodeTimedOut {
			w.Errorf("error %v", err)
		}
		if took := time.Since(start); took < time.Hour || took > time.Hour+2*time.Second {
			w.Errorf("took %s", took)
		}
		if _, err := wakeup(w, "order 17", "late"); !errors.Is(err, core.ErrFinished) {
			w.Errorf("late wake-up: error %v", err)
		}
	})
}

func TestAWakeupWithAnErrorFailsTheSleeper(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		h := enqueue(w, approval, "k")
		if _, err := core.WakeupWithError(w.ctx, w.client, approval, "k", errors.New("declined")); err != nil {
			w.Fatal(err)
		}
		_, err := h.Wait(w.ctx)
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Status != core.StatusFailed || ended.Failure.Message != "declined" {
			w.Errorf("error %v", err)
		}
	})
}

func TestAWakeupThatComesBeforeItsSleeperIsKept(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		early, err := wakeup(w, "k", "yes")
		if err != nil {
			w.Fatal(err)
		}
		if _, err := early.Get(w.ctx); !errors.Is(err, core.ErrNotFound) {
			w.Errorf("before the sleeper: error %v", err)
		}
		if _, err := wakeup(w, "k", "no"); !errors.Is(err, core.ErrFinished) && !errors.Is(err, core.ErrNotAllowed) {
			w.Errorf("second early wake-up: error %v", err)
		}
		time.Sleep(23 * time.Hour)
		h := enqueue(w, approval, "k")
		if h.ID() != early.ID() {
			w.Errorf("sleeper %s, handle %s", h.ID(), early.ID())
		}
		if got := wait(w, early); got != "yes" {
			w.Error(got)
		}
		if e := w.get(h.ID()); e.Status != core.StatusCompleted || e.Kept {
			w.Errorf("%+v", e)
		}
	})
}

func TestAnEarlyWakeupIsForgottenInTheEnd(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		var err error
		if w.client, err = core.NewClient(w.store, core.ClientOptions{KeepWakeups: time.Hour}); err != nil {
			w.Fatal(err)
		}
		if _, err := wakeup(w, "k", "old"); err != nil {
			w.Fatal(err)
		}
		time.Sleep(61 * time.Minute)
		if _, err := wakeup(w, "k", "new"); err != nil {
			w.Fatalf("in the place of one that is too old: %v", err)
		}
		if got := wait(w, enqueue(w, approval, "k")); got != "new" {
			w.Error(got)
		}
		if _, err := wakeup(w, "k2", "old"); err != nil {
			w.Fatal(err)
		}
		time.Sleep(61 * time.Minute)
		h := enqueue(w, approval, "k2")
		if e := w.get(h.ID()); e.Status != core.StatusRunning {
			w.Errorf("woken by a wake-up that is too old: %s", e.Status)
		}
		if _, err := wakeup(w, "k2", "new"); err != nil {
			w.Fatal(err)
		}
		if got := wait(w, h); got != "new" {
			w.Error(got)
		}
	})
}

// asks returns a parent of one sleeper per key.
func asks() *core.Task[[]string, string] {
	return core.NewParentTaskWithFinalize("asks", func(_ context.Context, keys []string) (int, []core.Child, error) {
		children := make([]core.Child, len(keys))
		for i, key := range keys {
			children[i] = approval.Child(key)
		}
		return len(keys), children, nil
	}, func(_ context.Context, r core.Results[int]) (string, error) {
		var out []string
		for _, c := range r.Children {
			answer, err := approval.Result(c)
			if err != nil {
				answer = string(c.Status)
			}
			out = append(out, answer)
		}
		return strings.Join(out, " "), nil
	}, core.TaskOptions{})
}

func TestSleepingChildren(t *testing.T) {
	parent := asks()
	inWorld(t, []core.Definition{parent, approval}, func(w *world) {
		for key, out := range map[string]string{"early": "1"} {
			if _, err := wakeup(w, key, out); err != nil {
				w.Fatal(err)
			}
		}
		taken := enqueue(w, approval, "taken")
		h := enqueue(w, parent, []string{"early", "soon", "taken", "never"})
		time.Sleep(time.Minute)
		if _, err := wakeup(w, "soon", "2"); err != nil {
			w.Fatal(err)
		}
		children, err := w.client.Children(w.ctx, h.ID())
		if err != nil || len(children) != 4 || children[2].Status != core.StatusFailed ||
			!strings.Contains(children[2].Failure.Message, taken.ID()) {
			w.Errorf("children %v, error %v", children, err)
		}
		if got := wait(w, h); got != "1 2 failed timed_out" {
			w.Error(got)
		}
		if e := w.get(taken.ID()); e.Parent != nil {
			w.Errorf("the owner of the key has a parent: %+v", e.Parent)
		}
	})
}

func TestCancellingAParentCancelsItsSleepers(t *testing.T) {
	parent := asks()
	inWorld(t, []core.Definition{parent, approval}, func(w *world) {
		h := enqueue(w, parent, []string{"a", "b"})
		w.settle()
		if err := h.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			if e := w.get(core.SleepID(key)); e.Status != core.StatusCancelled {
				w.Errorf("%s is %s", key, e.Status)
			}
		}
	})
}

func TestTwoSleepersOfOneFamilyCannotHaveOneKey(t *testing.T) {
	parent := asks()
	inWorld(t, []core.Definition{parent, approval}, func(w *world) {
		_, err := enqueue(w, parent, []string{"a", "b", "a"}).Wait(w.ctx)
		if err == nil || !strings.Contains(err.Error(), `children 0 and 2 of task asks: both sleep under the unique key "a"`) {
			w.Errorf("error %v", err)
		}
	})
}

func TestABadWakeupWritesNothing(t *testing.T) {
	other := core.NewSleepingTask[int]("other", core.TaskOptions{})
	inWorld(t, []core.Definition{approval, other, double}, func(w *world) {
		enqueue(w, approval, "k")
		before := w.get(core.SleepID("k"))
		for name, wake := range map[string]func() error{
			"no key":   func() error { _, err := wakeup(w, "", "x"); return err },
			"long key": func() error { _, err := wakeup(w, strings.Repeat("k", 256), "x"); return err },
			"of another task": func() error {
				_, err := core.Wakeup(w.ctx, w.client, other, "k", 1)
				return err
			},
			"raw, does not decode": func() error {
				_, err := w.client.WakeupRaw(w.ctx, "approval", "k", []byte("1"), "")
				return err
			},
			"raw, not sleeping": func() error {
				_, err := w.client.WakeupRaw(w.ctx, "double", "k", []byte("1"), "")
				return err
			},
		} {
			if err := wake(); !errors.Is(err, core.ErrInvalid) {
				w.Errorf("%s: error %v", name, err)
			}
		}
		if _, err := w.client.WakeupRaw(w.ctx, "nobody", "k", []byte("1"), ""); !errors.Is(err, core.ErrUnknownTask) {
			w.Errorf("unknown task: error %v", err)
		}
		_, err := core.Wakeup(w.ctx, w.client, approval, "big", strings.Repeat("x", 2<<20))
		if !errors.Is(err, core.ErrTooLarge) {
			w.Errorf("large output: error %v", err)
		}
		if after := w.get(core.SleepID("k")); after.Rev != before.Rev || w.store.Len() != 1 {
			w.Errorf("revision %d -> %d, %d records", before.Rev, after.Rev, w.store.Len())
		}
		if _, err := w.client.WakeupRaw(w.ctx, "approval", "k", nil, "no"); err != nil {
			w.Error(err)
		}
	})
}

func TestManyWakeupsAndSleepersAtOnceAgree(t *testing.T) {
	inWorld(t, []core.Definition{approval}, func(w *world) {
		type won struct {
			out string
			err error
		}
		results := make(chan won)
		const n = 20
		for i := range n {
			go func() {
				out := fmt.Sprint(i)
				_, err := wakeup(w, "k", out)
				results <- won{out, err}
			}()
		}
		h := enqueue(w, approval, "k")
		var winner []string
		for range n {
			if r := <-results; r.err == nil {
				winner = append(winner, r.out)
			} else if !errors.Is(r.err, core.ErrNotAllowed) {
				w.Error(r.err)
			}
		}
		if got := wait(w, h); len(winner) != 1 || winner[0] != got {
			w.Errorf("winners %q, output %q", winner, got)
		}
	})
}

// A parent whose sleeping child was woken once waited for the next tick, whoever woke it.
func TestAnExecutorsClientTakesParentsPastTheChildrenThatItWakes(t *testing.T) {
	asleep := core.NewSleepingTask[int]("asleep", core.TaskOptions{})
	child := func(_ context.Context, key string) (int, []core.Child, error) {
		return 1, []core.Child{asleep.Child(key)}, nil
	}
	sum := func(_ context.Context, r core.Results[int]) (int, error) { return len(r.Children), nil }
	plain := core.NewParentTask("plain", child, core.TaskOptions{})
	withCode := core.NewParentTaskWithFinalize("with_code", child, sum, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(asleep, double), core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{asleep, plain, withCode, chain, double})
		ids := []string{enqueue(w, plain, "a").ID(), enqueue(w, withCode, "b").ID(), enqueue(w, chain, "c").ID()}
		w.hinted(time.Time{}, time.Minute, core.Hint{ID: ids[0]}, core.Hint{ID: ids[1]}, core.Hint{ID: ids[2]})
		x := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
		client, err := x.NewClient(core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b", "c"} {
			if _, err := core.Wakeup(w.ctx, client, asleep, key, 7); err != nil {
				t.Fatal(err)
			}
		}
		x.Flush()
		if e := w.get(ids[0]); e.Status != core.StatusCompleted {
			t.Errorf("the parent is %s", e.Status)
		}
		if e := w.get(ids[1]); e.Status != core.StatusWaitingForChildren || e.Queue != core.QueueParent {
			t.Errorf("the parent whose end needs user code is %s, in queue %q", e.Status, e.Queue)
		}
		steps, err := w.client.Children(w.ctx, ids[2])
		if err != nil || len(steps) != 2 || steps[1].Status != core.StatusReady {
			t.Errorf("the sequence has %d steps, error %v", len(steps), err)
		}
		stop := w.start()
		w.settle()
		stop()
		w.checkClosed()
	})
}

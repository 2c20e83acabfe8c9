package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func TestALoopThatIsToldToEndWhileItWaitsDoesNothingMore(t *testing.T) {
	asleep := core.NewSleepingTask[string]("asleep", core.TaskOptions{Timeout: 40 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{asleep})
		enqueue(w, asleep, "key")
		ops := counted(w)
		x := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := x.Repeat(ctx, core.LoopTimeouts, time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		before := ops.of("ExpireRunning")
		cancel()
		<-done
		if after := ops.of("ExpireRunning"); before == 0 || after != before {
			t.Errorf("%d passes before its end, %d after", before, after)
		}
		x.Flush()
	})
}

func TestARetryThatIsDueLaterIsNoReasonToLookAtTheQueueNow(t *testing.T) {
	fails := core.NewTask("fails", func(ctx context.Context, _ int) (int, error) {
		time.Sleep(10 * time.Millisecond)
		if core.InfoOf(ctx).Attempt == 1 {
			return 0, errors.New("not yet")
		}
		return 1, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: 700 * time.Millisecond}})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{fails})
		w.config.Poll = time.Second
		h := enqueue(w, fails, 1)
		ops := counted(w)
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(600 * time.Millisecond)
		if got := ops.of("ClaimReady"); got != 1 {
			t.Errorf("%d looks at the queue until the retry was due, want the one that started the first attempt", got)
		}
		<-done
		x.Flush()
		if e := w.get(h.ID()); e.Status != core.StatusCompleted || e.FinishedAt.Sub(e.CreatedAt) > 750*time.Millisecond {
			t.Errorf("the execution is %s after %s", e.Status, e.FinishedAt.Sub(e.CreatedAt))
		}
	})
}

func TestSiblingsThatASweepFinishesAreCountedByOneWrite(t *testing.T) {
	const size = 40
	asleep := core.NewSleepingTask[int]("asleep", core.TaskOptions{Timeout: 20 * time.Second})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		children := make([]core.Child, size)
		for i := range children {
			children[i] = asleep.Child(fmt.Sprint("key ", i))
		}
		return 0, children, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, asleep}, func(w *world) {
		ops := counted(w)
		h := enqueue(w, parent, 1)
		stop := w.start()
		for _, child := range wait(w, h).Children {
			if child.Status != core.StatusTimedOut {
				t.Errorf("a sleeper is %s", child.Status)
			}
		}
		stop()
		if got := ops.of("CountFinished"); got != 1 {
			t.Errorf("%d counts of %d sleepers that timed out at once, want 1: %v", got, size, ops.ops)
		}
		w.checkClosed()
	})
}

func TestWhatBecomesDueIsLookedAtOnce(t *testing.T) {
	nap := core.NewTask("nap", func(_ context.Context, ms int) (int, error) {
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return ms, nil
	}, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{nap})
		w.config.Poll = 200 * time.Millisecond
		ops := counted(w)
		engine := w.engine()
		client, err := engine.NewClient(core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		enqueue(w, nap, 2000) // keeps the loop awake
		x := engine.NewExecutor(core.ExecutorOptions{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(10 * time.Millisecond)
		if _, err := nap.EnqueueWith(w.ctx, client, 1000, core.EnqueueOptions{Delay: 500 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(490 * time.Millisecond)
		before := ops.of("ClaimReady")
		time.Sleep(50 * time.Millisecond)
		if looks := ops.of("ClaimReady") - before; looks != 1 {
			t.Errorf("%d looks at the queue when something became due, want one", looks)
		}
		<-done
		x.Flush()
	})
}

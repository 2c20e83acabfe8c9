package core_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func TestChildrenWaitForRoomUnborn(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 8
		ops := counted(w)
		times := make([]time.Duration, 100)
		for i := range times {
			times[i] = 20 * time.Millisecond
		}
		h := enqueue(w, fan, times)
		stop := w.start()
		wait(w, h)
		stop()
		if got := ops.writes(); got != 100+2 {
			t.Errorf("%d writes, want 100 of children, the commitment and the end: %v", got, ops.ops)
		}
	})
}

func TestTheCheckOfChildrenThatWaitAtPaceIsPutOff(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		ops := counted(w)
		times := make([]time.Duration, 450)
		for i := range times {
			times[i] = 400 * time.Millisecond // 45 s for all
		}
		h := enqueue(w, fan, times)
		stop := w.start()
		wait(w, h)
		stop()
		if got := ops.writes(); got != 450+2+2 {
			t.Errorf("%d writes, want 450 of children, the commitment, the end, and 2 that put the check off: %v", got, ops.ops)
		}
		w.checkClosed()
	})
}

func TestACheckIsNotPutOffPastTheEndOfItsParentsTime(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		times := make([]time.Duration, 150)
		for i := range times {
			times[i] = 400 * time.Millisecond
		}
		h := enqueueWith(w, fan, times, core.EnqueueOptions{StartToFinish: 9 * time.Second})
		stop := w.start()
		began := time.Now()
		_, err := h.Wait(w.ctx)
		if took := time.Since(began); err == nil || took > 11*time.Second {
			t.Errorf("it ended after %s, error %v", took, err)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

func TestChildrenThatMayNotWaitPastTheirParentsCheckArePutForOthers(t *testing.T) {
	const size = 150
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		times := make([]time.Duration, size)
		for i := range times {
			times[i] = 400 * time.Millisecond
		}
		enqueueWith(w, fan, times, core.EnqueueOptions{StartToFinish: 9 * time.Second})
		stop := w.start()
		time.Sleep(4 * time.Second) // the check is at the end of the parent's time, which cannot be put off
		there := 0
		w.store.Each(func(e *core.Execution) {
			if e.Parent != nil {
				there++
			}
		})
		if there != size {
			t.Errorf("%d of %d children exist 5 s before the check", there, size)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

// slow takes its time with each insert.
type slow struct {
	core.Store
	insert time.Duration
}

func (s slow) Insert(ctx context.Context, executions []*core.Execution) []error {
	time.Sleep(s.insert)
	return s.Store.Insert(ctx, executions)
}

// When the store is slow for everybody, children that are given away take it three writes in place of one.
func TestASlowStoreIsNoReasonToGiveWaitingChildrenAway(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		ops := counted(w)
		w.config.Store = slow{w.config.Store, 700 * time.Millisecond}
		h := enqueue(w, fan, make([]time.Duration, 40))
		stop := w.start()
		wait(w, h)
		stop()
		if got := ops.writes(); got != 40+2 {
			t.Errorf("%d writes, want 40 of children, the commitment and the end: %v", got, ops.ops)
		}
		w.checkClosed()
	})
}

func TestChildrenThatFindNoRoomSoonAreLeftToOtherExecutors(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 2
		times := make([]time.Duration, 4)
		for i := range times {
			times[i] = 20 * time.Second
		}
		h := enqueue(w, fan, times)
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		if _, err := x.StartReady(w.ctx, 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		statuses := map[core.Status]int{}
		w.store.Each(func(e *core.Execution) {
			if e.Parent != nil {
				statuses[e.Status]++
			}
		})
		if statuses[core.StatusRunning] != 2 || statuses[core.StatusReady] != 2 {
			t.Errorf("after 2 s the children are %v, want 2 running and 2 ready", statuses)
		}
		other := w.start()
		wait(w, h)
		other()
		x.Flush()
	})
}

func TestAHiccupGivesFewOfTheWaitingChildrenAway(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		times := make([]time.Duration, 100)
		for i := range times {
			times[i] = 20 * time.Millisecond
			if i < 4 {
				times[i] = 1200 * time.Millisecond
			}
		}
		ops := counted(w)
		h := enqueue(w, fan, times)
		stop := w.start()
		wait(w, h)
		stop()
		// The four that took long are put as running, then end. So do four that waited.
		if got := ops.of("Insert"); got != 100 {
			t.Errorf("%d inserts, want one for each child: %v", got, ops.ops)
		}
		if got := ops.of("Update"); got > 8+8+8+2 {
			t.Errorf("%d updates, want few: %v", got, ops.ops)
		}
		w.checkClosed()
	})
}

// frozen is a store that cannot be written for a while.
type frozen struct {
	core.Store
	from, updates, inserts time.Time // until when
}

func (f frozen) wait(until time.Time) {
	if now := time.Now(); now.After(f.from) {
		time.Sleep(until.Sub(now))
	}
}

func (f frozen) Update(ctx context.Context, updates []core.Update) []error {
	f.wait(f.updates)
	return f.Store.Update(ctx, updates)
}

func (f frozen) Insert(ctx context.Context, executions []*core.Execution) []error {
	f.wait(f.inserts)
	return f.Store.Insert(ctx, executions)
}

func TestAChildThatWaitedPastItsParentsCheckIsNotStartedUnborn(t *testing.T) {
	runs := make([]atomic.Int32, 5)
	counting := core.NewTask("child", func(_ context.Context, i int) (int, error) {
		runs[i].Add(1)
		time.Sleep(200 * time.Millisecond)
		return i, nil
	}, core.TaskOptions{Timeout: time.Minute})
	fan := core.NewParentTask("fan", func(context.Context, []time.Duration) (int, []core.Child, error) {
		return 0, []core.Child{counting.Child(0), counting.Child(1), counting.Child(2), counting.Child(3)}, nil
	}, core.TaskOptions{Timeout: time.Minute})
	inIdleWorld(t, []core.Definition{fan, counting}, func(w *world) {
		enqueue(w, counting, 4) // it holds the room until its end can be written
		h := enqueue(w, fan, nil)
		plain, began := w.config.Store, time.Now()
		w.config.Concurrency = 2
		w.config.Store = frozen{plain, began.Add(100 * time.Millisecond), began.Add(80 * time.Second), began.Add(90 * time.Second)}
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		if _, err := x.StartReady(w.ctx, 10); err != nil {
			t.Fatal(err)
		}
		w.config.Store = plain
		stop := w.start() // of another process, which finds the parent's check due
		wait(w, h)
		x.Flush()
		stop()
		for i := range 4 {
			if got := runs[i].Load(); got > 1 && i != 0 {
				t.Errorf("child %d was run %d times", i, got)
			}
		}
		w.checkClosed()
	})
}

package coretest

import (
	"context"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
	"github.com/perdure-dev/perdure/core/memstore"
)

// executors is a process that runs all five loops. Its loops look at their queues when something is due and when
// something was written, so that days in which nothing happens cost nothing.
type executors struct {
	world    *World
	store    *faultstore.Store
	executor *core.Executor
	loops    sync.WaitGroup
}

// sweepAfter is how long after a write the sweeps look at their queues; what the executors do by themselves is over by
// then.
const sweepAfter = 200 * time.Millisecond

// Start starts the executors. It is only needed with Options.NoExecutors.
func (w *World) Start() {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.executors != nil {
		w.Error("the executors are at work already")
		return
	}
	w.start()
}

// start starts executors. The caller holds w.mu.
func (w *World) start() {
	w.Helper()
	x := &executors{world: w}
	x.store = faultstore.New(w.memory, func(op faultstore.Op) faultstore.Fault { return w.decide(op) })
	config := w.opts.Config
	config.Store, config.Registry = telling{x.store, &w.changes}, w.registry
	engine, err := core.NewEngine(config)
	if err != nil {
		w.Error(err)
		return
	}
	x.executor = engine.NewExecutor(core.ExecutorOptions{})
	w.executors = x
	w.all.Go(x.run)
}

// run runs the loops until the process dies, ends what runs then, and has another process take its place.
func (x *executors) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, loop := range core.Loops() {
		x.loops.Go(func() { x.repeat(ctx, loop) })
	}
	<-x.store.Died()
	cancel()
	w := x.world
	w.mu.Lock()
	if w.executors == x {
		w.executors = nil
	}
	if !w.ended && !w.runaway && w.executors == nil {
		w.start()
	}
	w.mu.Unlock()
	w.changes.tell()
	x.executor.Shutdown(ctx) // ctx is over: what runs is ended at once
	x.loops.Wait()
}

func (x *executors) repeat(ctx context.Context, loop core.Loop) {
	settle := sweepAfter
	if loop == core.LoopStartReady {
		settle = time.Millisecond
	}
	for ctx.Err() == nil {
		changed := x.world.changes.next()
		result, err := x.executor.Repeat(ctx, loop, time.Now())
		if ctx.Err() != nil {
			return
		}
		var timer <-chan time.Time
		switch next := x.world.memory.NextDue(queues(loop)...); {
		case err != nil || result.Lost > 0: // it may fare better soon
			timer = time.After(time.Second)
		case !next.IsZero():
			timer = time.After(max(time.Until(next), settle))
		}
		select {
		case <-ctx.Done():
		case <-timer:
		case <-changed:
			time.Sleep(settle)
		}
	}
}

// queues returns the queues that a loop looks at.
func queues(loop core.Loop) []core.Queue {
	switch loop {
	case core.LoopStartReady:
		return []core.Queue{core.QueueReady}
	case core.LoopProcessChildren:
		return []core.Queue{core.QueueParent, core.QueueParentClaimed}
	case core.LoopClose:
		return []core.Queue{core.QueueFinished, core.QueueClose, core.QueueClosing}
	case core.LoopTimeouts:
		return []core.Queue{core.QueueRunning, core.QueueSleeping}
	case core.LoopCancellation:
		return []core.Queue{memstore.QueueCancellation}
	}
	return nil
}

// decide is the hook of the executors' store.
func (w *World) decide(op faultstore.Op) faultstore.Fault {
	w.mu.Lock()
	w.ops++
	fault := w.fault
	w.runaway = w.runaway || w.most > 0 && w.ops > w.most
	runaway := w.runaway
	w.mu.Unlock()
	switch {
	case runaway:
		return faultstore.Dies
	case fault == nil:
		return faultstore.None
	}
	return fault(op)
}

// Crash makes the executors' process die now: nothing that it does from here on takes effect, and the contexts of its
// code end, with core.ErrShutdown for their cause. Another process takes its place at once, and takes over what the dead
// one had under way when its leases end. Called by a task's code it is a crash after the code has run and before that
// is known.
func (w *World) Crash() {
	w.mu.Lock()
	x := w.executors
	w.mu.Unlock()
	if x != nil {
		x.store.Kill()
	}
}

// CrashAfter makes the executors' process die right after its n-th operation on the store from now on, which takes
// effect.
func (w *World) CrashAfter(n int) {
	w.CrashAt(func(faultstore.Op) bool {
		n--
		return n == 0
	})
}

// CrashAt makes the executors' process die right after the first operation on the store for which at returns true;
// the operation takes effect. at is called for one operation at a time and must not use the world.
func (w *World) CrashAt(at func(faultstore.Op) bool) {
	died := false
	w.Fault(func(op faultstore.Op) faultstore.Fault {
		if !died && at(op) {
			died = true
			return faultstore.Dies
		}
		return faultstore.None
	})
}

// Fault makes the executors' operations on the store fail as fault says, from now on, in place of what was said before;
// nil ends that. It is called for one operation of a process at a time and must not use the world. What the world itself
// does, such as Enqueue, does not fail.
func (w *World) Fault(fault func(faultstore.Op) faultstore.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// Restart shuts the executors down in good order, as a deploy does, and starts others. It waits for running code for
// at most Config.ShutdownGrace, default 30 s of the world's time.
func (w *World) Restart() {
	w.mu.Lock()
	x := w.executors
	w.mu.Unlock()
	if x == nil {
		w.Error("no executors are at work")
		return
	}
	grace := w.opts.Config.ShutdownGrace
	if grace == 0 {
		grace = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), grace)
	defer cancel()
	x.executor.Shutdown(ctx)
	x.store.Kill()
}

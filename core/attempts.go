package core

import (
	"context"
	"log/slog"
	"time"
)

// attempt is an execution that is under way here: an attempt, or a parent's finalize function, from before its code begins
// until that has ended.
type attempt struct {
	id     attemptID
	ctx    context.Context // what the code's context is made of; it ends with the cause when the code has to
	cancel context.CancelCauseFunc
}

// attemptID is what an attempt is known by: an execution may have an attempt and a finalize function at once, as the
// follow-up of its attempt goes on.
type attemptID struct {
	id       string
	finalize bool
}

// register notes an attempt as soon as this executor holds its lease, so that a cancellation or the end of a shutdown's
// grace finds it whatever it is at: reading its input, running, waiting. The caller calls unregister.
func (x *Executor) register(ctx context.Context, e *Execution, finalize bool) *attempt {
	background := context.WithoutCancel(ctx) // what ends an attempt is in these lines
	a := &attempt{id: attemptID{e.ID, finalize}}
	a.ctx, a.cancel = context.WithCancelCause(x.observedContext(background, a.id))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running[a.id] = a
	if _, early := x.cancelled[e.ID]; early {
		delete(x.cancelled, e.ID)
		a.cancel(ErrCancelled)
	}
	if x.graceOver {
		a.cancel(ErrShutdown)
	}
	x.pollCancellations(background)
	return a
}

// unregister undoes register; again it does nothing.
func (x *Executor) unregister(a *attempt) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running[a.id] == a {
		delete(x.running, a.id)
	}
	a.cancel(nil)
}

// cancelRunning ends the code of an execution, with a cause. It reports false when nothing of it is registered. The caller
// holds x.mu.
func (x *Executor) cancelRunning(id string, cause error) bool {
	found := false
	for _, finalize := range []bool{false, true} {
		if a := x.running[attemptID{id, finalize}]; a != nil {
			a.cancel(cause)
			found = true
		}
	}
	return found
}

// enter adds to the number of attempts whose code runs.
func (x *Executor) enter(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.coding += n
}

// abandonedHold is how long abandoned code keeps its attempt's room: code that is a little late is not joined by more, and
// code that never ends does not take the room away for ever.
const abandonedHold = 30 * time.Second

// releaseAfter gives an attempt's room back: at once, or, when its code was abandoned, once that has returned or
// abandonedHold is over. Nothing waits for abandoned code meanwhile, so an invocation may end beside it.
func (x *Executor) releaseAfter(ctx context.Context, e *Execution, r called, log *slog.Logger) {
	if r.abandoned == nil {
		x.parted(e.Recoveries)
		x.release(ctx)
		return
	}
	x.mu.Lock()
	x.abandoned++
	x.signalWhenIdle()
	x.mu.Unlock()
	go func() {
		began := time.Now()
		timer := time.NewTimer(abandonedHold)
		defer timer.Stop()
		select {
		case <-r.abandoned: //nolint:errcheck // its result does not count
			log.InfoContext(ctx, "abandoned code has returned", logDuration, time.Since(began))
		case <-timer.C:
			log.ErrorContext(ctx, "code of the task goes on long after the end of its context: its slot is given to others; it must return when its context ends",
				logDuration, time.Since(began))
		}
		x.mu.Lock()
		x.abandoned--
		x.part(e.Recoveries)
		x.mu.Unlock()
		x.release(ctx)
	}()
}

package core

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Loop names one of the five background loops.
type Loop string

// The loops, each of which repeats one pass.
const (
	LoopStartReady      Loop = "start_ready"      // Executor.StartReady
	LoopProcessChildren Loop = "process_children" // Executor.ProcessChildren
	LoopClose           Loop = "close"            // Executor.CloseFinished
	LoopTimeouts        Loop = "timeouts"         // Executor.ExpireTimeouts
	LoopCancellation    Loop = "cancellation"     // Executor.ProcessCancellations
)

// Loops returns the five loops.
func Loops() []Loop {
	return []Loop{LoopStartReady, LoopProcessChildren, LoopClose, LoopTimeouts, LoopCancellation}
}

const (
	// sweepLimit is how many executions a sweep takes at once.
	sweepLimit = 100
	// passFailures is how many passes in a row may fail before a loop gives up.
	passFailures = 5
	// failurePause is the wait after a pass that failed; it grows by itself with each in a row.
	failurePause = 200 * time.Millisecond
)

// Repeat repeats a loop's pass while there is work. With none left it waits for the next due time when that comes before
// until, else it returns; it also returns soon after the end of ctx, and when the executor's deadline leaves no room for
// a pass. Only executions that become ready and sleeps that end are waited for; leases and follow-ups are there for the
// next call. What it started goes on: see Flush. The result sums up all passes. It gives up with the last error when
// passes fail several times in a row.
func (x *Executor) Repeat(ctx context.Context, loop Loop, until time.Time) (Result, error) {
	pass, err := x.pass(loop)
	if err != nil {
		return Result{}, err
	}
	return x.repeat(ctx, &repetition{loop: loop, pass: pass, until: until})
}

// repetition is what one call of Repeat or StartHinted does.
type repetition struct {
	loop  Loop
	pass  func(context.Context, int) (Result, error)
	until time.Time
	// hinted is set for StartHinted, with the hints that are not acted on yet.
	hinted bool
	hints  []Hint
	// awaited is when something becomes due that was seen in the queue before.
	awaited time.Time
	// owes tells that a hint was left to those who look at the queue: nobody else may do so before the next tick.
	owes  bool
	total Result
}

func (x *Executor) repeat(ctx context.Context, r *repetition) (Result, error) {
	starts := r.loop == LoopStartReady
	if !x.deadline.IsZero() {
		end := x.deadline
		if starts {
			end = end.Add(-x.shortest) // what becomes due later could not be started
		}
		if end.Before(r.until) {
			r.until = end
		}
	}
	if starts {
		defer x.local.join(x)()
	}
	for failures := 0; ; {
		began := time.Now()
		if starts {
			x.looks()
		}
		var result Result
		var err error
		if started := x.startDue(ctx, r); started == 0 && x.mayLook(r, began) {
			result, err = x.look(ctx, r, began)
		} else {
			result.NextDue = r.awaited
		}
		now := time.Now()
		if starts {
			result.NextDue = earlier(earlier(result.NextDue, r.nextHint()), x.nextExpected(began))
			result.more = result.more || r.waitsForRoom(now)
		}
		r.total.NextDue = result.NextDue
		if ctx.Err() != nil || !x.deadline.IsZero() && !now.Before(x.deadline) {
			return r.total, nil //nolint:nilerr // the loop ends, and a pass that failed now is the next tick's
		}
		var wait time.Duration
		switch {
		case err != nil:
			if failures++; failures == passFailures {
				return r.total, fmt.Errorf("%s: %w", r.loop, err)
			}
			x.log.WarnContext(ctx, "pass failed and is repeated", logLoop, string(r.loop), logError, err)
			wait = time.Duration(failures) * failurePause
		case starts && (result.more || x.busy() > 0):
			failures = 0
			if result.more && !x.waitsForRoom() {
				continue
			}
			wait = x.unhurried(x.cfg.Poll, 4)
			if !result.more {
				wait = untilDue(now, result.NextDue, wait)
			}
		case !starts && result.Done > 0:
			failures = 0
			continue // there may be more
		case result.NextDue.IsZero() || !result.NextDue.Before(r.until) || !r.loop.waits():
			return r.total, nil
		default:
			failures = 0
			wait = untilDue(now, result.NextDue, x.unhurried(x.cfg.Poll, 4)) // something may come that is due earlier
		}
		if x.pause(ctx, r.loop, wait); ctx.Err() != nil {
			return r.total, nil
		}
	}
}

// mayLook reports whether the loop's queue is worth a look, whoever looked a moment ago.
func (x *Executor) mayLook(r *repetition, now time.Time) (may bool) {
	switch {
	case r.loop != LoopStartReady, r.owes,
		!r.hinted && x.busy() == 0, // it is about to end
		!r.awaited.IsZero() && !r.awaited.After(now):
		return true
	}
	x.local.hint(func(h *hints) { may = h.mayLook(now) })
	return may
}

// look looks at the loop's queue and treats what is due there.
func (x *Executor) look(ctx context.Context, r *repetition, began time.Time) (result Result, err error) {
	known := x.local.hinted()
	by := r.dueBy(known, began)
	if r.loop == LoopStartReady {
		result, err = x.claim(ctx, sweepLimit, by, nil)
	} else {
		result, err = r.pass(ctx, sweepLimit)
	}
	x.cfg.Observer.passDone(ctx, r.loop, began, result, err)
	r.total.Done += result.Done
	r.total.Lost += result.Lost
	if r.loop == LoopStartReady {
		x.local.hint(func(h *hints) { h.looked(began, result) })
	}
	r.owes = r.owes && err != nil
	r.awaited = time.Time{}
	switch next := result.NextDue; {
	case r.hinted:
		result.NextDue = time.Time{} // others have hints of what the queue shows
	case by.IsZero() || next.IsZero():
	case next.After(began):
		r.awaited = next
	default:
		result.NextDue = next.Add(known.time)
	}
	return result, err
}

// untilDue returns how long to wait before another look at a queue: until something is due, at most as long as a poll.
func untilDue(now, next time.Time, poll time.Duration) time.Duration {
	if next.IsZero() {
		return poll
	}
	return min(poll, next.Sub(now))
}

// waits reports whether a loop has due times that are worth being awake for. Leases are not: most of them are given back
// long before they end.
func (l Loop) waits() bool { return l == LoopStartReady || l == LoopTimeouts }

// earlier returns the earlier of two times, of which zero stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// pause waits for d, for the end of ctx, or, in the loop that starts attempts, for a reason to look at the queue.
func (x *Executor) pause(ctx context.Context, loop Loop, d time.Duration) {
	d = max(d, time.Millisecond)
	end := time.Now().Add(d)
	changed := x.changed
	if loop != LoopStartReady {
		changed = nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if changed != nil {
			if d = x.idle(end); d <= 0 {
				return
			}
			timer.Reset(d)
		}
		select {
		case <-timer.C:
			return
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// idlePoll is how often a process in which nothing happens repeats a loop's pass. What the engine writes for the
// other loops is due at once only where somebody died.
func (l Loop) idlePoll() time.Duration {
	if l == LoopStartReady || l == LoopProcessChildren {
		return time.Second
	}
	return 5 * time.Second
}

func (x *Executor) pass(loop Loop) (func(context.Context, int) (Result, error), error) {
	switch loop {
	case LoopStartReady:
		return x.StartReady, nil
	case LoopProcessChildren:
		return x.ProcessChildren, nil
	case LoopClose:
		return x.CloseFinished, nil
	case LoopTimeouts:
		return x.ExpireTimeouts, nil
	case LoopCancellation:
		return x.ProcessCancellations, nil
	}
	return nil, invalidf("loop %q: must be one of %q", loop, Loops())
}

// Run runs all five loops in this process until ctx ends, then shuts down in good order, with ShutdownGrace for
// what is under way, and returns nil. It is for programs that embed the engine and for tests; on Lambda each loop is
// a function of its own.
func (e *Engine) Run(ctx context.Context) error {
	x := e.NewExecutor(ExecutorOptions{})
	defer x.local.join(x)() // also while its loop has nothing to do
	var loops sync.WaitGroup
	for _, loop := range Loops() {
		loops.Go(func() {
			idle := e.cfg.Poll
			for ctx.Err() == nil {
				result, err := x.Repeat(ctx, loop, time.Now().Add(idle))
				if err != nil {
					x.log.ErrorContext(ctx, "loop failed and goes on", logLoop, string(loop), logError, err)
				}
				if idle = min(2*idle, max(loop.idlePoll(), e.cfg.Poll)); result.Done > 0 {
					idle = e.cfg.Poll
				}
				x.pause(ctx, loop, x.unhurried(idle, 20))
			}
		})
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.ShutdownGrace)
	defer cancel()
	x.Shutdown(grace)
	loops.Wait()
	return nil
}

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

// Repeat repeats a loop's pass while there is work. With none left it waits for the next due time when that
// comes before until, else it returns; it also returns soon after the end of ctx, and when the executor's
// deadline leaves no room for a pass. What it started goes on: see Flush. The result sums up all passes. It gives
// up with the last error when passes fail several times in a row.
func (x *Executor) Repeat(ctx context.Context, loop Loop, until time.Time) (Result, error) {
	pass, err := x.pass(loop)
	if err != nil {
		return Result{}, err
	}
	if !x.deadline.IsZero() && x.deadline.Before(until) {
		until = x.deadline
	}
	var total Result
	for failures := 0; ; {
		result, err := pass(ctx, sweepLimit)
		total.Done += result.Done
		total.Lost += result.Lost
		total.NextDue = result.NextDue
		now := time.Now()
		if ctx.Err() != nil || !x.deadline.IsZero() && !now.Before(x.deadline) {
			return total, nil //nolint:nilerr // the loop ends, and a pass that failed now is the next tick's
		}
		var wait time.Duration
		switch {
		case err != nil:
			if failures++; failures == passFailures {
				return total, fmt.Errorf("%s: %w", loop, err)
			}
			x.log.WarnContext(ctx, "pass failed and is repeated", logLoop, string(loop), logError, err)
			wait = time.Duration(failures) * failurePause
		case result.Done > 0 && (loop != LoopStartReady || x.busy() < x.cfg.Concurrency):
			failures = 0
			continue // there may be more
		case loop == LoopStartReady && x.busy() > 0:
			failures = 0
			wait = x.cfg.Poll
			if !result.NextDue.IsZero() {
				wait = min(wait, result.NextDue.Sub(now))
			}
		case result.NextDue.IsZero() || !result.NextDue.Before(until):
			return total, nil
		default:
			failures = 0
			wait = result.NextDue.Sub(now)
		}
		x.pause(ctx, loop, wait)
	}
}

// pause waits for d, for the end of ctx, or, in the loop that starts attempts, for the end of one.
func (x *Executor) pause(ctx context.Context, loop Loop, d time.Duration) {
	timer := time.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	changed := x.changed
	if loop != LoopStartReady {
		changed = nil
	}
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
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

// Run runs all five loops in this process until ctx ends, then waits for what is under way and returns nil.
// It is for programs that embed the engine and for tests; on Lambda each loop is a function of its own.
func (e *Engine) Run(ctx context.Context) error {
	x := e.NewExecutor(ExecutorOptions{})
	var loops sync.WaitGroup
	for _, loop := range Loops() {
		loops.Go(func() {
			for ctx.Err() == nil {
				if _, err := x.Repeat(ctx, loop, time.Now()); err != nil {
					x.log.ErrorContext(ctx, "loop failed and goes on", logLoop, string(loop), logError, err)
				}
				x.pause(ctx, loop, e.cfg.Poll)
			}
		})
	}
	loops.Wait()
	x.Flush()
	return nil
}

package core

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Observer is told what an engine and its clients do: for metrics, traces and tests. Any of its functions may be nil,
// and a nil one costs nothing. Observers makes one of several.
//
// The functions are called as it happens, by many goroutines at once, so they must be quick and safe for concurrent use. What
// they are given is shared: they must not change it, nor keep payloads. One that panics, or takes longer than 10 s, is
// logged and left, and what it was told of goes on.
//
// Something is told by the process whose write made it so, once the write took effect. So an end is told once, whichever
// process brings it: attempts and their executions by their executor, children that are put once, after they ended,
// included; a parent's end by whoever moved it on; what ran out by the sweep that found it; cancellations and wake-ups
// by the client. A process that dies may have told nothing of the last things that it did: what is told is at most
// what is in the store. A start is told for each time that code is about to be called, and so more than once for an
// execution whose executor died. What was never run is not told of: children that are put as cancelled since their
// parent had finished before them, and those that a redriven tree takes over.
type Observer struct {
	// AttemptStarted is told that an attempt, or a parent's finalize function, is about to begin. Code is called with the
	// context that it returns, which must be made of ctx.
	AttemptStarted func(ctx context.Context, a AttemptStarted) context.Context
	// AttemptEnded is told what that came to. ctx is what AttemptStarted returned. Each start in a process that goes on
	// has one end.
	AttemptEnded func(ctx context.Context, a AttemptEnded)
	// Finished is told that an execution is finished: its status says how.
	Finished func(ctx context.Context, e *Execution)
	// Recovered is told that a claim ran out: its executor was lost.
	Recovered func(ctx context.Context, r Recovered)
	// PassDone is told that a pass of a loop is over, also one that found nothing.
	PassDone func(ctx context.Context, p PassDone)
}

// AttemptStarted is the beginning of an attempt.
type AttemptStarted struct {
	Execution *Execution // as it is running; for a finalize function, as it is waiting for its children
	Finalize  bool       // it is a parent's finalize function that begins
	// Waited is how long the attempt waited since it was due.
	Waited time.Duration
}

// AttemptEnded is the end of an attempt.
type AttemptEnded struct {
	Execution *Execution // as it was at the start
	// After is the execution as the attempt left it; nil for AttemptCancelled, AttemptDropped and AttemptUnwritten.
	After    *Execution
	Finalize bool
	Outcome  AttemptOutcome
	Duration time.Duration // since the start, the write that ended it included
	// Failure is why the attempt did not succeed, for AttemptRetried and AttemptFailed.
	Failure *Failure
}

// AttemptOutcome is what an attempt came to.
type AttemptOutcome string

// The outcomes of an attempt.
const (
	AttemptSucceeded AttemptOutcome = "succeeded"  // the execution completed, or waits for the children it has now
	AttemptRetried   AttemptOutcome = "retried"    // it failed, and there will be another one
	AttemptFailed    AttemptOutcome = "failed"     // it failed, and was the last one
	AttemptGivenBack AttemptOutcome = "given_back" // it was not made here: a task unknown here, a shutdown, an input that could not be read
	AttemptCancelled AttemptOutcome = "cancelled"  // the execution was cancelled meanwhile; for a finalize function that is dropped
	AttemptDropped   AttemptOutcome = "dropped"    // the execution went on without it: its lease was over, or somebody was faster
	AttemptUnwritten AttemptOutcome = "unwritten"  // what it came to could not be written: its lease will run out
)

// Recovered is a claim that ran out.
type Recovered struct {
	// Execution is as it is after that: due again, or, after too many times, failed.
	Execution *Execution
	// Claim is what ran out: QueueRunning for an attempt, QueueParentClaimed for the processing of finished children,
	// QueueClosing for the closing of a finished execution.
	Claim Queue
	// Times is how often it ran out by now.
	Times int
	// Stuck tells that it ran out more often than Config.MaxRecoveries. An execution is failed then; closing goes on,
	// and somebody should look why it does not end.
	Stuck bool
}

// PassDone is the end of a pass.
type PassDone struct {
	Loop     Loop
	Result   Result
	Duration time.Duration
	Err      error // nil, or why the pass is repeated
}

// Observers returns an observer that calls each of the given ones, in order. One that panics does not keep the others from
// being called. The context that AttemptStarted returns goes through all of them.
func Observers(all ...Observer) Observer {
	var joined Observer
	for _, next := range all {
		joined = joined.and(next)
	}
	return joined
}

func (o Observer) and(next Observer) Observer {
	joined := Observer{
		AttemptEnded: both(o.AttemptEnded, next.AttemptEnded),
		Finished:     both(o.Finished, next.Finished),
		Recovered:    both(o.Recovered, next.Recovered),
		PassDone:     both(o.PassDone, next.PassDone),
	}
	switch first, second := o.AttemptStarted, next.AttemptStarted; {
	case first == nil:
		joined.AttemptStarted = second
	case second == nil:
		joined.AttemptStarted = first
	default:
		joined.AttemptStarted = func(ctx context.Context, a AttemptStarted) (made context.Context) {
			defer func() {
				if made == nil {
					made = ctx
				}
				made = second(made, a)
			}()
			return first(ctx, a)
		}
	}
	return joined
}

func both[T any](first, second func(context.Context, T)) func(context.Context, T) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, what T) {
		defer second(ctx, what)
		first(ctx, what)
	}
}

// guarded returns an observer whose functions cannot hurt their callers.
func (o Observer) guarded(log *slog.Logger) Observer {
	if started := o.AttemptStarted; started != nil {
		o.AttemptStarted = func(ctx context.Context, a AttemptStarted) context.Context {
			made := make(chan context.Context, 1)
			observe(ctx, log, "AttemptStarted", func() { made <- started(ctx, a) })
			select {
			case ctx := <-made:
				if ctx != nil {
					return context.WithoutCancel(ctx) // it may add values, and not end other people's code
				}
			default:
			}
			return ctx
		}
	}
	o.AttemptEnded = observes(log, "AttemptEnded", o.AttemptEnded)
	o.Finished = observes(log, "Finished", o.Finished)
	o.Recovered = observes(log, "Recovered", o.Recovered)
	o.PassDone = observes(log, "PassDone", o.PassDone)
	return o
}

func observes[T any](log *slog.Logger, name string, f func(context.Context, T)) func(context.Context, T) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, what T) { observe(ctx, log, name, func() { f(ctx, what) }) }
}

func observe(ctx context.Context, log *slog.Logger, name string, f func()) {
	err := guarded(func() error { f(); return nil })
	if err != nil {
		log.ErrorContext(ctx, "the observer's function failed", logObserver, name, logError, err)
	}
}

// finished tells that a write has finished an execution.
func (o *Observer) finished(ctx context.Context, e *Execution) {
	if o != nil && o.Finished != nil {
		o.Finished(ctx, e)
	}
}

// swept tells of executions that a sweep has finished; of those that were finished before it does not.
func (o *Observer) swept(ctx context.Context, executions []*Execution) {
	if o.Finished == nil {
		return
	}
	for _, e := range executions {
		if e.Status.Finished() && e.FinishedAt.Equal(e.UpdatedAt) {
			o.Finished(ctx, e)
		}
	}
}

// passDone tells of a pass that began at the given time.
func (o *Observer) passDone(ctx context.Context, loop Loop, began time.Time, result Result, err error) {
	if o.PassDone != nil {
		o.PassDone(ctx, PassDone{loop, result, time.Since(began), err})
	}
}

// recovered tells of a claim that ran out.
func (x *Executor) recovered(ctx context.Context, e *Execution, claim Queue, times int) {
	if x.cfg.Observer.Recovered != nil {
		x.cfg.Observer.Recovered(ctx, Recovered{e, claim, times, times > x.cfg.MaxRecoveries})
	}
}

// openAttempt is an attempt whose end is not told yet.
type openAttempt struct {
	started AttemptStarted
	at      time.Time
	ctx     context.Context // for the code
}

// ofAttempts reports whether anybody is told of attempts.
func (o *Observer) ofAttempts() bool { return o.AttemptStarted != nil || o.AttemptEnded != nil }

// begins tells that an attempt, or a finalize function, begins. Whoever calls it calls unended with what it returned once
// that is over.
func (x *Executor) begins(ctx context.Context, e *Execution, finalize bool) *openAttempt {
	o := &x.cfg.Observer
	if !o.ofAttempts() {
		return nil
	}
	open := &openAttempt{started: AttemptStarted{Execution: e, Finalize: finalize}, at: time.Now(), ctx: context.WithoutCancel(ctx)}
	if !finalize {
		open.started.Waited = max(0, e.StartedAt.Sub(e.StartAt))
	}
	if o.AttemptStarted != nil {
		open.ctx = o.AttemptStarted(open.ctx, open.started)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.observed == nil {
		x.observed = map[attemptID]*openAttempt{}
	}
	x.observed[attemptID{e.ID, finalize}] = open
	return open
}

// observedContext returns the context for an attempt's code: what the observer made of ctx, where there is one.
func (x *Executor) observedContext(ctx context.Context, id attemptID) context.Context {
	if !x.cfg.Observer.ofAttempts() {
		return ctx
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if open := x.observed[id]; open != nil {
		return open.ctx
	}
	return ctx
}

// ends tells that an attempt has ended, unless that was told already.
func (x *Executor) ends(id attemptID, outcome AttemptOutcome, after *Execution, failure *Failure) {
	if !x.cfg.Observer.ofAttempts() {
		return
	}
	x.mu.Lock()
	open := x.observed[id]
	delete(x.observed, id)
	x.mu.Unlock()
	x.tellEnd(open, outcome, after, failure)
}

func (x *Executor) tellEnd(open *openAttempt, outcome AttemptOutcome, after *Execution, failure *Failure) {
	if open != nil && x.cfg.Observer.AttemptEnded != nil {
		x.cfg.Observer.AttemptEnded(open.ctx, AttemptEnded{
			Execution: open.started.Execution, After: after, Finalize: open.started.Finalize,
			Outcome: outcome, Duration: time.Since(open.at), Failure: failure,
		})
	}
}

// unended tells that an attempt is over of whose end no write has told; by now the execution may have another one.
func (x *Executor) unended(open *openAttempt, err error) {
	if open == nil {
		return
	}
	id := attemptID{open.started.Execution.ID, open.started.Finalize}
	x.mu.Lock()
	if x.observed[id] != open {
		open = nil
	} else {
		delete(x.observed, id)
	}
	x.mu.Unlock()
	outcome := AttemptUnwritten
	switch {
	case err == nil && !id.finalize:
		outcome = AttemptCancelled
	case err == nil: // also somebody else having ended the parent
		outcome = AttemptDropped
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound), errors.Is(err, ErrNotAllowed):
		outcome = AttemptDropped
	}
	x.tellEnd(open, outcome, nil, nil)
}

// wrote tells of an attempt's end, if the event that was written is one.
func (x *Executor) wrote(after *Execution, ev Event) {
	attempt, finalize := attemptID{after.ID, false}, attemptID{after.ID, true}
	switch ev := ev.(type) {
	case Succeed:
		x.ends(attempt, AttemptSucceeded, after, nil)
	case FailAttempt:
		outcome := AttemptRetried
		if after.Status.Finished() {
			outcome = AttemptFailed
		}
		x.ends(attempt, outcome, after, after.Failure)
	case GiveBack:
		x.ends(attempt, AttemptGivenBack, after, nil)
	case ReleaseChildren:
		x.ends(finalize, AttemptGivenBack, after, nil)
	case FinishFamily:
		outcome := AttemptSucceeded
		if ev.Failure != nil {
			outcome = AttemptFailed
		}
		x.ends(finalize, outcome, after, ev.Failure)
	}
}

// committed tells that an attempt has ended with a commitment to children.
func (x *Executor) committed(after *Execution) {
	x.ends(attemptID{after.ID, false}, AttemptSucceeded, after, nil)
}

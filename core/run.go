package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// unbegunDelay is the pause after an attempt whose time was over before its code began: the store is slow.
const unbegunDelay = time.Second

// finalWrites bounds the writes that follow an attempt.
const finalWrites = 30 * time.Second

// run runs the attempt of a claimed execution to its end, follow-ups included, and gives its room back.
func (x *Executor) run(ctx context.Context, e *Execution) {
	log := about(x.log, e)
	defer x.forgetStep(e)
	open := x.begins(ctx, e, false)
	err := x.attempt(ctx, e, log)
	x.unended(open, err)
	if err != nil {
		level, text := slog.LevelWarn, "attempt's end is left to the sweeps"
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
			level, text = slog.LevelInfo, "attempt's result is dropped: the execution went on without it"
		}
		log.Log(ctx, level, text, logError, err)
	}
}

// attempt holds one unit of the executor's room and gives it back.
func (x *Executor) attempt(ctx context.Context, e *Execution, log *slog.Logger) error {
	payload := &holding{x: x}
	r, err := x.attemptCode(ctx, e, log, payload)
	defer x.releaseAfter(ctx, r)
	defer payload.end()
	var limit *limitError
	if errors.As(err, &limit) {
		return x.fail(ctx, e, invalidAttempt(err), log)
	}
	return err
}

// limitError is the error of an output or child that would break a limit however often the task is attempted.
type limitError struct{ error }

func (e *limitError) Unwrap() error { return e.error }

// invalidAttempt is the end of an attempt that would fare no better if it was repeated.
func invalidAttempt(err error) FailAttempt {
	return FailAttempt{Failure: *newFailure(CodeInvalid, err.Error(), ""), Final: true}
}

// attemptCode runs an attempt's code and writes what it came to.
func (x *Executor) attemptCode(ctx context.Context, e *Execution, log *slog.Logger, payload *holding) (called, error) {
	def, known := x.cfg.Registry.lookup(e.TaskID)
	switch waited := e.StartedAt.Sub(e.StartAt); {
	case !known:
		return called{}, x.giveBackUnknown(ctx, e, log)
	case x.shuttingDown():
		return called{}, x.giveBack(ctx, e, 0)
	case e.late(e.StartedAt):
		return called{}, x.fail(ctx, e, FailAttempt{Failure: *tooLong(e, ""), Final: true}, log)
	case e.ScheduleToStart > 0 && waited > e.ScheduleToStart:
		return called{}, x.fail(ctx, e, FailAttempt{Failure: *waitedTooLong(e, waited), Final: true}, log)
	case def.sequence != nil && def.validate == nil:
		return called{}, x.commitSequence(ctx, e, def)
	}
	in, err := x.inputOf(ctx, e)
	var missing *missingChildError
	switch {
	case errors.As(err, &missing), errors.Is(err, ErrCorrupt):
		return called{}, x.fail(ctx, e, invalidAttempt(err), log)
	case err != nil:
		return called{}, errors.Join(fmt.Errorf("read input: %w", err), x.giveBack(ctx, e, time.Second))
	}
	payload.add(in.size())
	if def.validate != nil {
		if err := def.validate(x.cfg.Codec, in); err != nil {
			return called{}, x.fail(ctx, e, invalidAttempt(err), log)
		}
	}
	if def.sequence != nil {
		return called{}, x.commitSequence(ctx, e, def)
	}
	r := x.call(ctx, e, e.StartedAt, log, func(ctx context.Context) (outcome, error) {
		return def.run(ctx, x.cfg.Codec, in)
	})
	payload.add(len(r.out.output))
	switch {
	case errors.Is(r.cause, ErrCancelled):
		return r, nil // the record is finished already
	case r.unbegun && e.Recoveries < x.cfg.MaxRecoveries:
		_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Delay: unbegunDelay, Late: true})
		return r, err
	case r.err != nil && errors.Is(r.cause, ErrShutdown):
		return r, x.giveBack(ctx, e, 0)
	case r.err != nil:
		return r, x.fail(ctx, e, x.failure(e, r), log)
	case def.parent:
		return r, x.commit(ctx, e, r.out)
	}
	return r, x.complete(ctx, e, r.out)
}

func (x *Executor) giveBack(ctx context.Context, e *Execution, delay time.Duration) error {
	_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Delay: delay})
	return err
}

func waitedTooLong(e *Execution, waited time.Duration) *Failure {
	return newFailure(CodeScheduleToStart,
		fmt.Sprintf("schedule-to-start timeout of %s: the attempt waited %s for an executor", e.ScheduleToStart, waited), "")
}

// complete ends an execution without children and follows up.
func (x *Executor) complete(ctx context.Context, e *Execution, out outcome) error {
	if err := x.cfg.Limits.checkPayload("the output of task "+e.TaskID, out.output); err != nil {
		return &limitError{err}
	}
	after, err := x.write(ctx, e, Succeed{ExecutorID: x.id, Output: Payload{Data: out.output}})
	if err != nil {
		return err
	}
	return x.ended(ctx, after)
}

// fail ends an attempt that did not succeed and follows up when it was the last.
func (x *Executor) fail(ctx context.Context, e *Execution, ev FailAttempt, log *slog.Logger) error {
	ev.ExecutorID = x.id
	after, err := x.write(ctx, e, ev)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "attempt failed", logStatus, string(after.Status), logCode, string(after.Failure.Code))
	if after.Status.Finished() {
		return x.ended(ctx, after)
	}
	return nil
}

// failure makes the event of an attempt's error.
func (x *Executor) failure(e *Execution, r called) FailAttempt {
	ev := FailAttempt{Delay: e.Retry.delay(e.Attempts, random())}
	var (
		input inputError
		no    nonRetryableError
		after retryAfterError
	)
	code := CodeFailed
	switch {
	case r.stack != "":
		code = CodePanicked
	case errors.Is(r.cause, ErrAttemptTimedOut):
		code = CodeTimedOut
	case errors.Is(r.cause, ErrStartToFinish):
		code, ev.Final = CodeStartToFinish, true
	case errors.As(r.err, &input):
		code, ev.Final = CodeInvalid, true
	}
	if errors.As(r.err, &no) {
		ev.Final = true
	}
	if errors.As(r.err, &after) {
		ev.Delay = max(0, after.after)
	}
	ev.Failure = *newFailure(code, r.err.Error(), r.stack)
	return ev
}

// giveBackUnknown gives back an execution whose task this executor does not know, for one that does; after
// the limit it fails.
func (x *Executor) giveBackUnknown(ctx context.Context, e *Execution, log *slog.Logger) error {
	now := time.Now()
	if !e.UnknownSince.IsZero() && now.Sub(e.UnknownSince) >= x.cfg.UnknownTaskLimit {
		return x.fail(ctx, e, FailAttempt{Failure: *x.unknownTask(e), Final: true}, log)
	}
	log.WarnContext(ctx, "task is unknown here: given back for an executor that knows it")
	_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Unknown: true, Delay: unknownDelay(e.UnknownSince, now)})
	return err
}

func (x *Executor) unknownTask(e *Execution) *Failure {
	return newFailure(CodeNotFound, fmt.Sprintf("no executor knew task %q within %s", e.TaskID, x.cfg.UnknownTaskLimit), "")
}

// write applies an event in time of its own, so that an end of ctx does not lose what an attempt came to.
func (x *Executor) write(ctx context.Context, e *Execution, ev Event) (*Execution, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalWrites)
	defer cancel()
	after, unput, err := x.bear(ctx, e, ev)
	if !unput {
		after, err = x.follow.apply(ctx, e, ev)
	}
	if err == nil {
		x.wrote(after, ev)
	}
	return after, err
}

// called is how a call of user code ended.
type called struct {
	out   outcome
	err   error
	stack string // of a panic
	// cause is why the context ended, if it did before the code returned.
	cause error
	// unbegun tells that the attempt's time was over before the code was called, by no fault of the code's.
	unbegun bool
	// abandoned ends when code returns that was left to itself; nil when it has returned.
	abandoned <-chan called
}

// deadline returns when the context of code that starts at the given time ends, and why.
func (e *Execution) deadline(start time.Time) (time.Time, error) {
	end, finishBy := start.Add(e.Timeout), e.FinishBy
	if finishBy.IsZero() && e.StartToFinish > 0 {
		finishBy = start.Add(e.StartToFinish)
	}
	if !finishBy.IsZero() && finishBy.Before(end) {
		return finishBy, ErrStartToFinish
	}
	return end, ErrAttemptTimedOut
}

// call calls user code with a context that ends at the execution's deadline, when it is cancelled, or with the
// executor. Code that goes on for half the leeway after the end of its context is abandoned: the engine goes on
// without it, before another executor may.
func (x *Executor) call(
	ctx context.Context, e *Execution, start time.Time, log *slog.Logger, code func(context.Context) (outcome, error),
) called {
	deadline, cause := e.deadline(start)
	background := context.WithoutCancel(ctx) // what ends code is in these lines
	ctx, stop := context.WithDeadlineCause(withInfo(x.observedContext(background, e), e, deadline, log, x.closing), deadline, cause)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.mu.Lock()
	x.running[e.ID] = &attempt{cancel}
	x.pollCancellations(background)
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.running, e.ID)
		x.mu.Unlock()
	}()

	if cause := context.Cause(ctx); cause != nil {
		// What came before the code took all its time: another executor may be running it by now.
		return called{err: fmt.Errorf("%w before its code began", cause), cause: cause, unbegun: errors.Is(cause, ErrAttemptTimedOut)}
	}
	returned := make(chan called, 1)
	go func() {
		r := called{err: errors.New("the task's code ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				r = called{err: fmt.Errorf("panic: %v", p), stack: string(debug.Stack())}
			}
			returned <- r
		}()
		r.out, r.err = code(ctx)
	}()

	var r called
	select {
	case r = <-returned:
	case <-ctx.Done():
		grace := time.NewTimer(x.cfg.Leeway / 2)
		defer grace.Stop()
		select {
		case r = <-returned:
		case <-grace.C:
			r = called{err: fmt.Errorf("%w, and its code went on", context.Cause(ctx)), abandoned: returned}
			log.WarnContext(ctx, "code goes on after the end of its context: abandoned")
		}
	}
	r.cause = context.Cause(ctx)
	return r
}

// releaseAfter gives an attempt's room back, at once or when abandoned code returns.
func (x *Executor) releaseAfter(ctx context.Context, r called) {
	if r.abandoned == nil {
		x.release(ctx)
		return
	}
	go func() {
		<-r.abandoned
		x.release(ctx)
	}()
}

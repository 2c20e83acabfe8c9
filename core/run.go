package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// finalWrites bounds the writes that follow an attempt.
const finalWrites = 30 * time.Second

// run runs the attempt of a claimed execution to its end, follow-ups included, and gives its room back.
func (x *Executor) run(ctx context.Context, e *Execution) {
	log := x.log.With(logExecution, e.ID, logTask, e.TaskID, logRoot, e.RootID, logAttempt, e.Attempts)
	if err := x.attempt(ctx, e, log); err != nil {
		level, text := slog.LevelWarn, "attempt's end is left to the sweeps"
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
			level, text = slog.LevelInfo, "attempt's result is dropped: the execution went on without it"
		}
		log.Log(ctx, level, text, logError, err)
	}
}

// attempt holds one unit of the executor's room and gives it back.
func (x *Executor) attempt(ctx context.Context, e *Execution, log *slog.Logger) error {
	def, known := x.cfg.Registry.lookup(e.TaskID)
	if !known {
		defer x.release()
		return x.giveBackUnknown(ctx, e, log)
	}
	in, err := x.input(ctx, e)
	var missing *missingChildError
	switch {
	case errors.As(err, &missing):
		defer x.release()
		return x.fail(ctx, e, FailAttempt{Failure: *newFailure(CodeInvalid, err.Error(), ""), Final: true}, log)
	case err != nil:
		defer x.release()
		_, giveBackErr := x.write(ctx, e, GiveBack{ExecutorID: x.id, Delay: time.Second})
		return errors.Join(fmt.Errorf("read input: %w", err), giveBackErr)
	}
	r := x.call(ctx, e, e.StartedAt.Add(e.Timeout), log, func(ctx context.Context) (outcome, error) {
		return def.run(ctx, x.cfg.Codec, in)
	})
	defer x.releaseAfter(r)
	switch {
	case r.cancelled:
		return nil // the record is finished already
	case r.err != nil:
		return x.fail(ctx, e, x.failure(e, r), log)
	case def.parent:
		err = x.commit(ctx, e, r.out)
	default:
		err = x.complete(ctx, e, r.out)
	}
	var limit *limitError
	if errors.As(err, &limit) {
		return x.fail(ctx, e, FailAttempt{Failure: *newFailure(CodeInvalid, err.Error(), ""), Final: true}, log)
	}
	return err
}

// limitError is the error of an output or child that would break a limit however often the task is attempted.
type limitError struct{ error }

func (e *limitError) Unwrap() error { return e.error }

// input returns the attempt's input: what was enqueued, or, for a finalize execution, what its parent's family
// came to.
func (x *Executor) input(ctx context.Context, e *Execution) (value, error) {
	if e.Parent != nil && e.Parent.Index == FinalizeIndex {
		parent, err := getOne(ctx, x.cfg.Store, e.Parent.ID)
		if err != nil {
			return value{}, fmt.Errorf("parent %s: %w", e.Parent.ID, err)
		}
		if parent.Family == nil || parent.Status.Finished() {
			return value{}, fmt.Errorf("parent %s is %s", parent.ID, parent.Status)
		}
		family, err := x.results.family(ctx, parent)
		return value{family: family}, err
	}
	p := e.Input
	if err := x.cfg.Store.Load(ctx, &p); err != nil {
		return value{}, err
	}
	return value{data: p.Data}, nil
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
	return x.follow.followUp(ctx, after)
}

// fail ends an attempt that did not succeed and follows up when it was the last.
func (x *Executor) fail(ctx context.Context, e *Execution, ev FailAttempt, log *slog.Logger) error {
	ev.ExecutorID = x.id
	after, err := x.write(ctx, e, ev)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "attempt failed", logStatus, string(after.Status), logError, after.Failure.Message)
	if after.Status.Finished() {
		return x.follow.followUp(ctx, after)
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
	case r.timedOut:
		code = CodeTimedOut
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
	return x.follow.apply(ctx, e, ev)
}

// called is how a call of user code ended.
type called struct {
	out       outcome
	err       error
	stack     string // of a panic
	timedOut  bool
	cancelled bool
	// abandoned ends when code returns that was left to itself; nil when it has returned.
	abandoned <-chan called
}

// call calls user code with a context that ends at deadline or when the execution is cancelled. Code that
// goes on for half the leeway after the end of its context is abandoned: the engine goes on without it, before
// another executor may.
func (x *Executor) call(
	ctx context.Context, e *Execution, deadline time.Time, log *slog.Logger, code func(context.Context) (outcome, error),
) called {
	ctx, stop := context.WithDeadlineCause(withInfo(ctx, e, deadline, log), deadline, ErrAttemptTimedOut)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.mu.Lock()
	x.running[e.ID] = &attempt{cancel}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.running, e.ID)
		x.mu.Unlock()
	}()

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
	cause := context.Cause(ctx)
	r.cancelled = errors.Is(cause, ErrCancelled)
	r.timedOut = errors.Is(cause, ErrAttemptTimedOut)
	return r
}

// releaseAfter gives an attempt's room back, at once or when abandoned code returns.
func (x *Executor) releaseAfter(r called) {
	if r.abandoned == nil {
		x.release()
		return
	}
	go func() {
		<-r.abandoned
		x.release()
	}()
}

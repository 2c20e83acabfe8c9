package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// finalWrites bounds the writes that follow an attempt.
const finalWrites = 30 * time.Second

// run runs the attempt of a claimed execution to its end, follow-ups included, and gives its room back.
func (x *Executor) run(ctx context.Context, e *Execution) {
	log := about(x.log, e)
	defer x.forgetStep(e)
	open := x.begins(ctx, e, false)
	a := x.register(ctx, e, false)
	defer x.unregister(a)
	err := x.attempt(ctx, e, a, log)
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
func (x *Executor) attempt(ctx context.Context, e *Execution, a *attempt, log *slog.Logger) error {
	payload := &holding{x: x}
	r, err := x.attemptCode(ctx, e, a, log, payload)
	defer x.releaseAfter(ctx, e, r, log)
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
	return FailAttempt{Failure: *invalidFailure(err), Final: true}
}

// attemptCode runs an attempt's code and writes what it came to.
func (x *Executor) attemptCode(ctx context.Context, e *Execution, a *attempt, log *slog.Logger, payload *holding) (called, error) {
	def, known := x.cfg.Registry.lookup(e.TaskID)
	switch waited := e.StartedAt.Sub(e.StartAt); {
	case e.late(e.StartedAt):
		return called{}, x.fail(ctx, e, FailAttempt{Failure: *tooLong(e, ""), Final: true}, log)
	case e.waitedTooLong(e.StartedAt):
		return called{}, x.fail(ctx, e, FailAttempt{Failure: *waitedTooLong(e, waited), Final: true}, log)
	case !known:
		return called{}, x.giveBackUnknown(ctx, e, log)
	case x.fitsNobody(e, def):
		log.WarnContext(ctx, "execution fails: no executor has time for its timeout", logTimeout, e.Timeout.String(), logLimit, x.cfg.Limits.Timeout.String())
		return called{}, x.fail(ctx, e, invalidAttempt(x.cfg.Limits.checkTimeout(e.TaskID, e.Timeout)), log)
	case x.shuttingDown():
		return called{}, x.giveBack(ctx, e, 0)
	case def.sequence != nil && def.validate == nil:
		return called{}, x.commitSequence(ctx, e, def)
	case def.sequence == nil && def.run == nil && x.othersMayKnow(e):
		return called{}, x.giveBackUnknown(ctx, e, log)
	case def.sequence == nil && def.run == nil:
		return called{}, x.fail(ctx, e, invalidAttempt(fmt.Errorf("task %q has no code here: it waits for a wake-up, and this execution does not", e.TaskID)), log)
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
	if e.Failure != nil { // of the attempt before, which the code may ask for
		previous := *e.Failure
		if err := loadCauses(ctx, x.cfg.Store, &previous); err != nil {
			return called{}, errors.Join(fmt.Errorf("read why the attempt before failed: %w", err), x.giveBack(ctx, e, time.Second))
		}
		e.Failure = &previous
	}
	r := x.call(e, a, e.StartedAt, e.ExpiresAt, log, func(ctx context.Context) (outcome, error) { //nolint:contextcheck // the attempt has its own
		if def.validate != nil {
			if err := def.validate(x.cfg.Codec, in); err != nil {
				return outcome{}, err
			}
		}
		if def.sequence != nil {
			return outcome{}, nil
		}
		out, err := def.run(ctx, x.cfg.Codec, in)
		if err == nil && def.parent {
			// The children's inputs are the user's to encode and to validate.
			if out.specs, err = x.specs(e, out, time.Now()); err != nil {
				err = &limitError{err}
			}
		}
		return out, err
	})
	payload.add(len(r.out.output))
	switch {
	case errors.Is(r.cause, ErrCancelled):
		return r, nil // the record is finished already
	case r.unbegun:
		_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Delay: x.unbegunDelay(), Late: true})
		return r, err
	case r.err != nil && errors.Is(r.cause, ErrShutdown):
		return r, x.giveBack(ctx, e, 0)
	case r.err != nil && r.err.undecoded && x.othersMayKnow(e):
		return r, x.giveBackUndecoded(ctx, e, log)
	case r.err != nil:
		return r, x.fail(ctx, e, x.failure(e, r), log)
	case def.sequence != nil:
		return r, x.commitSequence(ctx, e, def)
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
	ev := FailAttempt{Delay: e.Retry.delay(e.Attempts, x.cfg.Random()), Final: r.err.final}
	code := CodeFailed
	switch {
	case r.err.stack != "":
		code = CodePanicked
	case errors.Is(r.cause, ErrAttemptTimedOut):
		code = CodeTimedOut
	case errors.Is(r.cause, ErrStartToFinish):
		code, ev.Final = CodeStartToFinish, true
	case r.err.invalid:
		code, ev.Final = CodeInvalid, true
	}
	if r.err.hasAfter {
		ev.Delay = max(0, r.err.after)
	}
	ev.Failure = *r.err.failure(x.cfg.Codec, code)
	return ev
}

// othersMayKnow reports whether an execution that this executor cannot run may still wait for an executor of another
// version of the program that can.
func (x *Executor) othersMayKnow(e *Execution) bool {
	return e.UnknownSince.IsZero() || time.Since(e.UnknownSince) < x.cfg.UnknownTaskLimit
}

// giveBackUnknown gives back an execution whose task this executor does not know, for one that does; after
// the limit it fails.
func (x *Executor) giveBackUnknown(ctx context.Context, e *Execution, log *slog.Logger) error {
	if !x.othersMayKnow(e) {
		return x.fail(ctx, e, FailAttempt{Failure: *x.unknownTask(e.TaskID), Final: true}, log)
	}
	log.WarnContext(ctx, "task is unknown here: given back for an executor that knows it")
	_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Unknown: true, Delay: unknownDelay(e.UnknownSince, time.Now())})
	return err
}

// giveBackUndecoded gives back an execution whose input this executor cannot decode, for one that can: while two versions
// of a program run, the input may be of the other one's type.
func (x *Executor) giveBackUndecoded(ctx context.Context, e *Execution, log *slog.Logger) error {
	log.WarnContext(ctx, "input does not decode here: given back for an executor of another version of the program")
	_, err := x.write(ctx, e, GiveBack{ExecutorID: x.id, Unknown: true, Delay: unknownDelay(e.UnknownSince, time.Now())})
	return err
}

func (x *Executor) unknownTask(id string) *Failure {
	return newFailure(CodeNotFound, fmt.Sprintf("no executor knew task %q within %s", id, x.cfg.UnknownTaskLimit), "")
}

// write applies an event in time of its own, so that an end of ctx does not lose what an attempt came to.
func (x *Executor) write(ctx context.Context, e *Execution, ev Event) (*Execution, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalWrites)
	defer cancel()
	defer x.timed(ctx, time.Now())
	after, unput, err := x.bear(ctx, e, ev)
	if !unput {
		after, err = x.follow.apply(ctx, e, ev)
	}
	if err == nil {
		x.wrote(after, ev)
		x.keepHint(after, ev)
	}
	return after, err
}

// called is how a call of user code ended.
type called struct {
	out outcome
	err *userError // nil when the code returned without an error
	// cause is why the context ended, if it did before the code returned.
	cause error
	// unbegun tells that too much of the attempt's time was over before the code was called, by no fault of the code's.
	unbegun bool
	// abandoned gets an element when code returns that was left to itself; nil when it has returned.
	abandoned <-chan *userError
}

// deadline returns when the context of code that starts at the given time ends, and why.
func (e *Execution) deadline(start time.Time) (time.Time, error) {
	end, finishBy := start.Add(e.Timeout), e.FinishBy
	if finishBy.IsZero() && e.StartToFinish > 0 {
		finishBy = e.StartedAt.Add(e.StartToFinish)
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
	e *Execution, a *attempt, claimed, leaseEnd time.Time, log *slog.Logger, code func(context.Context) (outcome, error),
) called {
	defer x.unregister(a)
	start := x.codeStart(claimed, leaseEnd, e.Timeout, time.Now())
	deadline, cause := e.deadline(start)
	ctx, stop := context.WithDeadlineCause(withInfo(a.ctx, e, deadline, log, x.closing), deadline, cause)
	defer stop()
	late := x.beginsLate(claimed, start, e.Timeout)
	if cause := context.Cause(ctx); cause != nil {
		// It was cancelled, or what came before the code took all its time: another executor may be running it by now.
		return called{
			err:   &userError{text: cause.Error() + " before its code began"},
			cause: cause, unbegun: errors.Is(cause, ErrAttemptTimedOut),
		}
	}
	if late {
		return called{err: &userError{text: "too much of its time was over before its code began"}, unbegun: true}
	}
	x.enter(1)
	defer x.enter(-1)
	var out outcome // the code's own until it has returned
	returned := goUser(func() (err error) {
		out, err = code(ctx)
		return err
	})
	var r called
	select {
	case err := <-returned:
		r = called{out: out, err: err}
	case <-ctx.Done():
		grace := time.NewTimer(x.cfg.Leeway / 2)
		defer grace.Stop()
		select {
		case err := <-returned:
			r = called{out: out, err: err}
		case <-grace.C:
			r = called{err: &userError{text: context.Cause(ctx).Error() + ", and its code went on"}, abandoned: returned}
			log.WarnContext(ctx, "code goes on after the end of its context: abandoned")
		}
	}
	r.cause = context.Cause(ctx)
	return r
}

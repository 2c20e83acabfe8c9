package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// end ends a parent and follows up. Somebody else having done so is as good.
func (x *Executor) end(ctx context.Context, parent *Execution, ev Event) error {
	after, err := x.write(ctx, parent, ev)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	return x.follow.followUp(ctx, after)
}

// commitFinalize commits a parent to its finalize task and puts that in; units are counted by the same write.
func (x *Executor) commitFinalize(ctx context.Context, parent *Execution, def *definition, units []int) error {
	now := time.Now()
	after, err := Transition(parent, CommitFinalize{
		ExecutorID: x.id, TaskID: def.finalizeTask.id, Units: units, KeepUntil: x.keepUntil(now), CheckAt: now.Add(x.cfg.SpawnCheck),
	}, now)
	if err != nil {
		return err
	}
	after.Nonce = NewNonce()
	child, err := x.finalizeChild(ctx, after, now)
	if err != nil {
		return err
	}
	// That the finalize execution exists is not noted: its end takes the parent's entry with it, at no more cost.
	return x.putAndStart(ctx, Update{parent, after}, []*Execution{child}, nil, nil)
}

// finalizeChild returns the first record of a parent's finalize execution. It has no input of its own: it is
// given what the family came to.
func (x *Executor) finalizeChild(ctx context.Context, parent *Execution, now time.Time) (*Execution, error) {
	spec := Spec{TaskID: parent.Family.FinalizeTaskID, Timeout: parent.Timeout}
	if def, known := x.cfg.Registry.lookup(spec.TaskID); known {
		var err error
		if spec, err = newSpec(def, nil, EnqueueOptions{}, now); err != nil {
			return nil, err
		}
		if def.parent || def.sequence != nil {
			if spec.RedriveOf, err = x.pastFinalize(ctx, parent); err != nil {
				return nil, err
			}
		}
	}
	child := newChild(parent, FinalizeIndex, spec, now)
	child.Nonce = NewNonce()
	return child, nil
}

// finalize calls a parent's finalize function under a lease and ends the parent with what it returned.
func (x *Executor) finalize(ctx context.Context, parent *Execution, def *definition) error {
	now := time.Now()
	leased := parent.Family.Processing == ProcessingProcessing
	never := x.finalizesNever(parent, leased)
	switch tooLate := x.shuttingDown() || x.left(now) < parent.Timeout; {
	case never: // no code is to run
	case tooLate && leased:
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: time.Second})
		return err
	case tooLate:
		return nil // it is due: an executor with more time takes it
	case leased: // the sweep that leased it holds a place for it
	case parent.Family.Recoveries > 0 || !x.reserveFinalizer():
		return nil // it is due: a sweep takes it when it may run
	default:
		defer x.releaseParents(ctx, 1, 0)
	}
	lease := parent.Timeout
	if never {
		lease = min(lease, defaultTimeout)
	}
	lease += x.cfg.Leeway + x.extra()
	events := []Event{ClaimChildren{ExecutorID: x.id, ExpiresAt: now.Add(lease)}}
	switch {
	case leased && (never || !parent.Family.ProcessingExpiresAt.Before(now.Add(lease-x.cfg.Leeway/2))):
		events = nil
	case leased: // for less than the code may take
		events = append([]Event{ReleaseChildren{ExecutorID: x.id}}, events...)
	}
	for _, ev := range events {
		after, err := x.write(ctx, parent, ev)
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotAllowed) {
			return nil // somebody else was faster
		}
		if err != nil {
			return err
		}
		parent = after
	}
	log := about(x.log, parent)
	if never {
		log.WarnContext(ctx, "finalize fails: no executor has time for its timeout", logTimeout, parent.Timeout.String(), logLimit, x.finalizeLimit(leased).String())
		return x.end(ctx, parent, FinishFamily{ExecutorID: x.id, Failure: newFailure(CodeInvalid, fmt.Sprintf(
			"finalize of task %q: it has the task's Timeout of %s, but no executor that runs it has more than %s: shorten it, or raise the timeout of the functions",
			parent.TaskID, parent.Timeout, x.finalizeLimit(leased)), "")})
	}
	open := x.begins(ctx, parent, true)
	a := x.register(ctx, parent, true)
	defer x.unregister(a)
	err := x.finalizeWith(ctx, parent, def, a, now, log)
	x.unended(open, err)
	return err
}

// finalizeLimit returns how long a finalize function may take; 0 for any time. What this executor's sweep has claimed is
// run by executors of its kind or by none, since all others have left it.
func (x *Executor) finalizeLimit(claimed bool) time.Duration {
	limit := x.cfg.Limits.Timeout
	if own := x.cfg.LongestTimeout(); claimed && own > 0 && (limit == 0 || own < limit) {
		limit = own
	}
	return limit
}

// finalizesNever reports whether no executor has time for the finalize function of a parent.
func (x *Executor) finalizesNever(parent *Execution, claimed bool) bool {
	limit := x.finalizeLimit(claimed)
	return limit > 0 && parent.Timeout > limit
}

// finalizeWith calls a parent's finalize function on its children's results.
func (x *Executor) finalizeWith(
	ctx context.Context, parent *Execution, def *definition, a *attempt, now time.Time, log *slog.Logger,
) error {
	family, err := x.results.family(ctx, parent)
	var missing *missingChildError
	switch {
	case errors.As(err, &missing):
		return x.end(ctx, parent, FinishFamily{ExecutorID: x.id, Failure: newFailure(CodeInvalid, err.Error(), "")})
	case err != nil && errors.Is(context.Cause(a.ctx), ErrCancelled): //nolint:contextcheck // it is the attempt's
		return nil
	case err != nil:
		_, releaseErr := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: time.Second})
		return errors.Join(err, releaseErr)
	}
	r := x.call(parent, a, now, parent.Family.ProcessingExpiresAt, log, func(ctx context.Context) (outcome, error) { //nolint:contextcheck // the attempt has its own
		data, err := def.finalize(ctx, x.cfg.Codec, value{family: family})
		return outcome{output: data}, err
	})
	switch {
	case errors.Is(r.cause, ErrCancelled):
		return nil
	case r.err != nil && errors.Is(r.cause, ErrShutdown):
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Known: !r.err.undecoded})
		return err
	case r.unbegun:
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: x.unbegunDelay(), Late: true})
		return err
	case r.err != nil && r.err.undecoded && x.othersMayKnow(parent):
		log.WarnContext(ctx, "the children's results do not decode here: left to an executor of another version of the program")
		return x.releaseUnknown(ctx, parent)
	}
	if r.err == nil {
		if err := x.cfg.Limits.checkPayload("the output of task "+parent.TaskID, r.out.output); err != nil {
			r.err = noteError(&limitError{err})
		}
	}
	ev := FinishFamily{ExecutorID: x.id, Output: Payload{Data: r.out.output}}
	if r.err != nil {
		failure := x.failure(parent, r).Failure
		ev.Failure = &failure
		log.InfoContext(ctx, "finalize failed", logCode, string(failure.Code))
	}
	return x.end(ctx, parent, ev)
}

// errUnknownHere is the error of what needs a task, or a version of its code, that this executor does not have.
var errUnknownHere = errors.New("this executor does not know the task")

// releaseUnknown gives back a claimed parent that this executor cannot take on, for one that knows the task that it needs;
// after the limit it ends finalize_failed, a sequence failed.
func (x *Executor) releaseUnknown(ctx context.Context, parent *Execution) error {
	if x.othersMayKnow(parent) {
		_, err := x.write(ctx, parent, ReleaseChildren{
			ExecutorID: x.id, Unknown: true, Delay: unknownDelay(parent.UnknownSince, time.Now()),
		})
		return err
	}
	var ev Event
	switch f := parent.Family; {
	case f.Sequential:
		ev = EndSequence{ExecutorID: x.id, Finished: f.Step, Failure: x.unknownParent(parent)}
	case parent.Status == StatusWaitingForFinalize:
		ev = EndFinalize{Failure: x.unknownTask(f.FinalizeTaskID)}
	default:
		ev = FinishFamily{ExecutorID: x.id, Failure: x.unknownParent(parent)}
	}
	return x.end(ctx, parent, ev)
}

// unknownParent is the failure of a parent that no executor could take past its children.
func (x *Executor) unknownParent(parent *Execution) *Failure {
	if _, known := x.cfg.Registry.lookup(parent.TaskID); !known {
		return x.unknownTask(parent.TaskID)
	}
	return newFailure(CodeNotFound, fmt.Sprintf(
		"no executor could take task %q past its children within %s: what comes next, or what they returned, is of another version of the program",
		parent.TaskID, x.cfg.UnknownTaskLimit), "")
}

package core

import (
	"context"
	"errors"
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
	child, err := x.finalizeChild(after, now)
	if err != nil {
		return err
	}
	// That the finalize execution exists is not noted: its end takes the parent's entry with it, at no more cost.
	return x.putAndStart(ctx, Update{parent, after}, []*Execution{child}, nil, nil)
}

// finalizeChild returns the first record of a parent's finalize execution. It has no input of its own: it is
// given what the family came to.
func (x *Executor) finalizeChild(parent *Execution, now time.Time) (*Execution, error) {
	spec := Spec{TaskID: parent.Family.FinalizeTaskID, Timeout: parent.Timeout}
	if def, known := x.cfg.Registry.lookup(spec.TaskID); known {
		var err error
		if spec, err = newSpec(def, nil, EnqueueOptions{}, now); err != nil {
			return nil, err
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
	switch {
	case x.left(now) < parent.Timeout && leased:
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: time.Second})
		return err
	case x.left(now) < parent.Timeout:
		return nil // it is due: an executor with more time takes it
	}
	events := []Event{ClaimChildren{ExecutorID: x.id, ExpiresAt: now.Add(parent.Timeout + x.cfg.Leeway)}}
	switch {
	case leased && !parent.Family.ProcessingExpiresAt.Before(now.Add(parent.Timeout+x.cfg.Leeway/2)):
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
	family, err := x.results.family(ctx, parent)
	var missing *missingChildError
	switch {
	case errors.As(err, &missing):
		return x.end(ctx, parent, FinishFamily{ExecutorID: x.id, Failure: newFailure(CodeInvalid, err.Error(), "")})
	case err != nil:
		_, releaseErr := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: time.Second})
		return errors.Join(err, releaseErr)
	}
	log := about(x.log, parent)
	open := x.begins(ctx, parent, true)
	err = x.finalizeWith(ctx, parent, def, family, now, log)
	x.unended(open, err)
	return err
}

// finalizeWith calls a parent's finalize function on what the family came to.
func (x *Executor) finalizeWith(
	ctx context.Context, parent *Execution, def *definition, family *familyValue, now time.Time, log *slog.Logger,
) error {
	r := x.call(ctx, parent, now, log, func(ctx context.Context) (outcome, error) {
		data, err := def.finalize(ctx, x.cfg.Codec, value{family: family})
		return outcome{output: data}, err
	})
	switch {
	case errors.Is(r.cause, ErrCancelled):
		return nil
	case r.err != nil && errors.Is(r.cause, ErrShutdown):
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id})
		return err
	case r.unbegun && parent.Family.Recoveries < x.cfg.MaxRecoveries:
		_, err := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: unbegunDelay, Late: true})
		return err
	}
	if r.err == nil {
		r.err = x.cfg.Limits.checkPayload("the output of task "+parent.TaskID, r.out.output)
	}
	ev := FinishFamily{ExecutorID: x.id, Output: Payload{Data: r.out.output}}
	if r.err != nil {
		failure := x.failure(parent, r).Failure
		ev.Failure = &failure
		log.InfoContext(ctx, "finalize failed", logCode, string(failure.Code))
	}
	return x.end(ctx, parent, ev)
}

// releaseUnknown gives back a claimed parent whose task this executor does not know; after the limit it ends
// finalize_failed, a sequence failed.
func (x *Executor) releaseUnknown(ctx context.Context, parent *Execution) error {
	now := time.Now()
	if !parent.UnknownSince.IsZero() && now.Sub(parent.UnknownSince) >= x.cfg.UnknownTaskLimit {
		if parent.Family.Sequential {
			return x.end(ctx, parent, EndSequence{ExecutorID: x.id, Finished: parent.Family.Step, Failure: x.unknownTask(parent)})
		}
		return x.end(ctx, parent, FinishFamily{ExecutorID: x.id, Failure: x.unknownTask(parent)})
	}
	_, err := x.write(ctx, parent, ReleaseChildren{
		ExecutorID: x.id, Unknown: true, Delay: unknownDelay(parent.UnknownSince, now),
	})
	return err
}

package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// writer writes what transitions decide.
type writer struct {
	store    Store
	local    *local
	observer *Observer
}

// How often a write is tried when its outcome is unknown, and the wait before the second try; it doubles.
const (
	writeTries = 5
	writePause = 50 * time.Millisecond
)

// persist calls write until its outcome is known. That is safe because a write that took effect recognises its
// own nonce.
func persist(ctx context.Context, write func() error) error { return persistAgain(ctx, nil, write) }

// persistAgain is persist for a write whose error in an earlier call is before; nil for a first one. Once a call's outcome
// was unknown, only an answer about the record tells it: a later call that is refused says nothing of the earlier one.
func persistAgain(ctx context.Context, before error, write func() error) error {
	pause := writePause
	for try := 1; ; try++ {
		err := write()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrUnknownOutcome):
			if before == nil || aboutRecord(err) {
				return err
			}
			return fmt.Errorf("%w: an earlier try ended without an answer: %w", ErrUnknownOutcome, err)
		case try == writeTries:
			return err
		}
		before = err
		if sleep(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// aboutRecord reports whether the error of a write says what the store has of the record.
func aboutRecord(err error) bool {
	for _, answer := range []error{ErrAlreadyExists, ErrConflict, ErrNotFound, ErrCorrupt} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

func (w writer) insert(ctx context.Context, e *Execution) error { return w.insertAgain(ctx, e, nil) }

// insertAgain is insert for an execution whose insertion ended with the error before; nil for a first one.
func (w writer) insertAgain(ctx context.Context, e *Execution, before error) error {
	return persistAgain(ctx, before, func() error { return w.store.Insert(ctx, []*Execution{e})[0] })
}

// insertAll puts new executions; the errors are in their order.
func (w writer) insertAll(ctx context.Context, executions []*Execution) []error {
	errs := w.store.Insert(ctx, executions)
	var unknown []int
	for i, err := range errs {
		if errors.Is(err, ErrUnknownOutcome) {
			unknown = append(unknown, i)
		}
	}
	_ = inParallel(ctx, unknown, func(ctx context.Context, i int) error {
		errs[i] = w.insertAgain(ctx, executions[i], errs[i])
		return nil // each error is its execution's own
	})
	return errs
}

// insertSleeper puts the first record of a sleeping execution. When a wake-up was kept for it the execution is
// finished by that. When somebody else has the key the error matches ErrAlreadyExists, and the record is theirs.
func (w writer) insertSleeper(ctx context.Context, e *Execution) (*Execution, error) {
	for try := 0; ; try++ {
		if err := again(ctx, try); err != nil {
			return nil, err
		}
		err := w.insert(ctx, e)
		if !errors.Is(err, ErrAlreadyExists) {
			return e, err
		}
		there, err := getOne(ctx, w.store, e.ID)
		switch {
		case errors.Is(err, ErrNotFound) && ctx.Err() == nil:
			continue // its retention was over
		case err != nil:
			return nil, err
		case !there.Kept:
			return there, ErrAlreadyExists
		}
		after, err := w.decide(ctx, there, Adopt{Sleeper: e})
		var refused *TransitionError
		switch {
		case errors.As(err, &refused) && there.TaskID == e.TaskID && ctx.Err() == nil:
			continue // it is not kept any more
		case errors.As(err, &refused):
			return there, ErrAlreadyExists
		}
		return after, err
	}
}

// apply writes what ev makes of e and returns the new record. A record that has changed since is left alone:
// the error is a *ConflictError.
func (w writer) apply(ctx context.Context, e *Execution, ev Event) (*Execution, error) {
	after, err := Transition(e, ev, time.Now())
	if err != nil {
		return nil, err
	}
	after.Nonce = NewNonce()
	update := []Update{{Before: e, After: after}}
	if err := persist(ctx, func() error { return w.store.Update(ctx, update)[0] }); err != nil {
		return nil, fmt.Errorf("write %s of execution %s: %w", ev.name(), e.ID, err)
	}
	w.local.wrote(after)
	if after.Status.Finished() && !after.Kept && (e.Kept || !e.Status.Finished()) {
		w.observer.finished(ctx, after)
	}
	return after, nil
}

// decide is apply that decides again on the record as it is when it has changed since.
func (w writer) decide(ctx context.Context, e *Execution, ev Event) (*Execution, error) {
	for try := 0; ; try++ {
		if err := again(ctx, try); err != nil {
			return nil, err
		}
		after, err := w.apply(ctx, e, ev)
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			return after, err
		}
		if err := ended(ctx); err != nil {
			return nil, err
		}
		e = conflict.Current
	}
}

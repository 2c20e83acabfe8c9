package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Redrive makes a new execution that does what a root did not get done, with the same task, input and options. The old
// execution stays as it is. Its id names the new one (see RedriveID), and the new one's RedriveOf names the old.
//
// What is taken over has succeeded, down to its leaves: it completed, and so did all below it. A child whose task and
// input equal those of such a child of the old family, wherever it stood there, is born completed with that output. Of
// several equal ones the first takes over the first, and so on; where there are fewer than before, those that succeeded. A
// sequence or loop goes on at its first step that did not succeed; a later one is taken over where it is given the same
// input again. Whatever else there was runs again, down the whole tree: that includes a parent that completed although
// children of it failed, with or without a finalizer. A signal that the old tree received under a key is taken over by
// whatever waits under that key in the new one; where none came the new one waits.
//
// So a failed, timed out or cancelled root can be redriven, and a completed one that did not succeed down to its leaves.
// Descendants of it that are unfinished, since whoever cancelled it died meanwhile, are cancelled first.
//
// Redriving is idempotent: a second call returns the same id, and an error that matches ErrAlreadyExists. When the
// new execution fails as well, redrive that one: where it did not get as far, or left something out, what was done before it
// is taken over. The error matches ErrNotAllowed for an execution that is not finished or succeeded, and ErrInvalid for one
// that is a child or sleeps.
func (c *Client) Redrive(ctx context.Context, id string) (string, error) {
	if err := checkIDs(ctx, id); err != nil {
		return "", fmt.Errorf("redrive execution %s: %w", shown(id), err)
	}
	newID, err := c.redrive(ctx, id)
	if err != nil {
		err = fmt.Errorf("redrive execution %s: %w", id, err)
	}
	return newID, err
}

func (c *Client) redrive(ctx context.Context, id string) (_ string, err error) {
	defer because(ctx, &err)
	old, err := c.Get(ctx, id)
	switch {
	case err != nil:
		return "", err
	case old.Parent != nil:
		return "", invalidf("id: it is that of a child: redrive its root %s", old.RootID)
	case old.Sleeping():
		return "", invalidf("id: it is that of a sleeping task: enqueue another one with a new key")
	case !old.Status.Finished():
		return "", &TransitionError{ExecutionID: id, Status: old.Status, Event: "redrive"}
	}
	succeeded, err := succeededAll(ctx, c.store, []*Execution{old}, maxTree)
	switch {
	case err != nil:
		return "", err
	case succeeded[0]:
		return "", &TransitionError{ExecutionID: id, Status: old.Status, Event: "redrive", Reason: "all below it completed as well"}
	}
	if old.Family == nil || !old.Family.Sequential {
		if err := c.opts.Limits.checkTimeout(old.TaskID, old.Timeout); err != nil {
			return "", err
		}
	}
	if err := c.endBelow(ctx, old); err != nil {
		return "", fmt.Errorf("cancel what is unfinished below it: %w", err)
	}
	in, err := (&results{store: c.store, codec: c.opts.Codec}).input(ctx, old)
	if err != nil {
		return "", err
	}
	if def, known := c.opts.Registry.lookup(old.TaskID); known {
		if err := guardedCall(func() error { return def.check(c.opts.Codec, in) }); err != nil {
			return "", fmt.Errorf("%w input of task %s: %w", ErrInvalid, old.TaskID, err)
		}
	}
	e := NewExecution(RedriveID(id), Spec{
		TaskID: old.TaskID, Input: in.data, Retry: old.Retry, Timeout: old.Timeout,
		ScheduleToStart: old.ScheduleToStart, StartToFinish: old.StartToFinish, RedriveOf: id,
	}, time.Now())
	e.Nonce = NewNonce()
	within, cancel := soon(ctx, e)
	defer cancel()
	err = c.insertNew(within, []*Execution{e})[0]
	because(within, &err)
	if errors.Is(err, ErrAlreadyExists) {
		return e.ID, err
	}
	return unlessCertain(e.ID, err)
}

// Redriven is what became of one execution of those that RedriveAll looked at.
type Redriven struct {
	ID    string // of the old execution
	NewID string // of the one that redrives it; empty when there is none
	// Err is Redrive's. It matches ErrAlreadyExists for an execution that was redriven before.
	Err error
}

// RedriveAll redrives the executions of a listing that are finished and not completed, newest first, as it is
// ranged over; the others it leaves out, also those that completed although something below them failed. An error of
// the listing ends it.
func (c *Client) RedriveAll(ctx context.Context, l Listing) iter.Seq2[Redriven, error] {
	return func(yield func(Redriven, error) bool) {
		for l := l; ; {
			page, err := c.List(ctx, l)
			if err != nil {
				yield(Redriven{}, err)
				return
			}
			old := slices.DeleteFunc(page.Executions, func(e *Execution) bool {
				return !e.Status.Finished() || e.Status == StatusCompleted
			})
			for _, e := range old {
				newID, err := c.Redrive(ctx, e.ID)
				if !yield(Redriven{e.ID, newID, err}, nil) {
					return
				}
			}
			if l.After = page.Next; l.After == "" {
				return
			}
		}
	}
}

// endBelow ends what is left below a finished execution, so that nothing of the old tree goes on beside the new one.
func (c *Client) endBelow(ctx context.Context, old *Execution) error {
	if old.CloseStatus == CloseClosed {
		return nil
	}
	f, end := c.follower()
	defer end()
	err := f.followUp(ctx, old)
	if errors.Is(err, ErrConflict) {
		return nil // somebody else does it
	}
	return err
}

// RedrivenAs returns the execution that redrives the given one; nil when there is none, or its retention is over.
func (c *Client) RedrivenAs(ctx context.Context, id string) (_ *Execution, err error) {
	defer because(ctx, &err)
	if err := checkIDs(ctx, id); err != nil {
		return nil, fmt.Errorf("get what redrives an execution: %w", err)
	}
	e, err := getOneOf(ctx, c.store, RedriveID(id), Filter{UnexpiredAt: time.Now()})
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // that there is none is no failure
	}
	return e, err
}

package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Redrive makes a new execution that does what a failed, timed out or cancelled root did not get done, with the
// same task, input and options. A child whose task and input equal those of a completed child at the same place is
// born completed with that output; what did not complete runs again, down the whole tree. The old execution stays
// as it is. Its id names the new one (see RedriveID), and the new one's RedriveOf names the old.
//
// Redriving is idempotent: a second call returns the same id, and an error that matches ErrAlreadyExists. When the
// new execution fails as well, redrive that one. The error matches ErrNotAllowed for an execution that is not
// finished or completed, and ErrInvalid for one that is a child or sleeps.
func (c *Client) Redrive(ctx context.Context, id string) (string, error) {
	newID, err := c.redrive(ctx, id)
	if err != nil {
		err = fmt.Errorf("redrive execution %s: %w", id, err)
	}
	return newID, err
}

func (c *Client) redrive(ctx context.Context, id string) (string, error) {
	old, err := c.Get(ctx, id)
	switch {
	case err != nil:
		return "", err
	case old.Parent != nil:
		return "", invalidf("id: it is that of a child: redrive its root %s", old.RootID)
	case old.Sleeping():
		return "", invalidf("id: it is that of a sleeping task: enqueue another one with a new key")
	case !old.Status.Finished() || old.Status == StatusCompleted:
		return "", &TransitionError{ExecutionID: id, Status: old.Status, Event: "redrive"}
	}
	if old.Family == nil || !old.Family.Sequential {
		if err := c.opts.Limits.checkTimeout(old.TaskID, old.Timeout); err != nil {
			return "", err
		}
	}
	in, err := (&results{store: c.store, codec: c.opts.Codec}).input(ctx, old)
	if err != nil {
		return "", err
	}
	e := NewExecution(RedriveID(id), Spec{
		TaskID: old.TaskID, Input: in.data, Retry: old.Retry, Timeout: old.Timeout,
		ScheduleToStart: old.ScheduleToStart, StartToFinish: old.StartToFinish, RedriveOf: id,
	}, time.Now())
	e.Nonce = NewNonce()
	err = c.insertNew(ctx, []*Execution{e})[0]
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
// ranged over; the others it leaves out. An error of the listing ends it.
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

// RedrivenAs returns the execution that redrives the given one; nil when there is none.
func (c *Client) RedrivenAs(ctx context.Context, id string) (*Execution, error) {
	e, err := getOne(ctx, c.store, RedriveID(id))
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // that there is none is no failure
	}
	return e, err
}

// pastFamily is the family of an execution that is redriven.
type pastFamily struct {
	parent   *Execution
	specs    []Spec
	children []*Execution // nil for one that does not exist
}

// family reads the family of an execution that is redriven; it is empty when that had none, or is gone.
func (x *Executor) family(ctx context.Context, id string) (pastFamily, error) {
	old, err := getOne(ctx, x.cfg.Store, id)
	if errors.Is(err, ErrNotFound) {
		return pastFamily{}, nil
	}
	if err != nil || old.Family == nil || old.Family.Manifest.IsZero() {
		return pastFamily{parent: old}, err
	}
	past := pastFamily{parent: old}
	if past.specs, err = readManifest(ctx, x.cfg.Store, old); err != nil {
		return past, err
	}
	indexes := old.ChildIndexes()
	if old.Family.FinalizeTaskID != "" {
		indexes = indexes[:len(indexes)-1]
	}
	past.children, err = ReadChildren(ctx, x.cfg.Store, old, indexes)
	return past, err
}

// reuse changes those specs of a new family whose task and input equal those of a child at the same place: where
// it completed its output is taken over, else what is finished below it will be.
func (p pastFamily) reuse(specs []Spec) {
	for i := range min(len(specs), len(p.children)) {
		old, ok := p.parent.specAt(p.specs, i)
		if ok && p.children[i] != nil && old.TaskID == specs[i].TaskID && bytes.Equal(old.Input, specs[i].Input) {
			specs[i] = specs[i].after(p.children[i])
		}
	}
}

// after returns the spec of an execution that takes over what another one came to.
func (s Spec) after(old *Execution) Spec {
	switch {
	case old.Status == StatusCompleted:
		s.SleepKey, s.OutputOf = "", old.OutputOf
		if s.OutputOf == "" {
			s.OutputOf = old.ID
		}
	case old.Sleeping():
		s.SleepRound = old.SleepRound + 1
	default:
		s.RedriveOf = old.ID
	}
	return s
}

// reuseSteps returns the specs of a sequence and its first step to run: the first that did not complete before.
// The specs of a loop end with that step.
func (p pastFamily) reuseSteps(specs []Spec, loop bool) ([]Spec, int) {
	if p.parent == nil || p.parent.Family == nil || p.parent.Family.Loop != loop || !p.parent.Family.Sequential {
		return specs, 0
	}
	last := 0
	for i, child := range p.children {
		if child == nil || i > 0 && specAtOr(specs, i, loop).TaskID != child.TaskID {
			break
		}
		last = i
		if child.Status != StatusCompleted {
			break
		}
	}
	if len(p.children) == 0 || p.children[0] == nil || p.children[0].TaskID != specs[0].TaskID {
		return specs, 0
	}
	out := make([]Spec, 0, max(len(specs), last+1))
	for i := range last + 1 {
		spec := specAtOr(specs, i, loop)
		if old, ok := p.parent.specAt(p.specs, i); ok && i == last {
			spec.Input, spec.SleepKey = old.Input, old.SleepKey
		}
		out = append(out, spec.after(p.children[i]))
	}
	if !loop {
		out = append(out, specs[last+1:]...)
	}
	return out, last
}

func specAtOr(specs []Spec, i int, loop bool) Spec {
	if loop {
		return specs[0]
	}
	if i < len(specs) {
		return specs[i]
	}
	return Spec{}
}

package core

import (
	"context"
	"fmt"
)

// results reads what executions came to. A parent's output may be kept in its children's records; results
// follows the references and copies nothing.
type results struct {
	store Store
	codec Codec
}

// of returns the output of a completed execution.
func (r *results) of(ctx context.Context, e *Execution) (value, error) {
	f := e.Family
	switch {
	case f == nil || !e.Output.IsZero():
		p := e.Output
		if err := r.store.Load(ctx, &p); err != nil {
			return value{}, err
		}
		return value{data: p.Data}, nil
	case f.FinalizeTaskID != "":
		finalize, err := getOne(ctx, r.store, e.ChildID(FinalizeIndex))
		if err != nil {
			return value{}, fmt.Errorf("finalize execution %s: %w", e.ChildID(FinalizeIndex), err)
		}
		return r.of(ctx, finalize)
	}
	v, err := r.family(ctx, e)
	return value{family: v}, err
}

// missingChildError is the error of a family of which a finished child's record is gone.
type missingChildError struct{ id string }

func (e *missingChildError) Error() string {
	return fmt.Sprintf("child %s was there and is gone: its retention was over, or it was deleted", e.id)
}

func (e *missingChildError) Unwrap() error { return ErrNotFound }

// family returns what a parent's run and its children came to. The error is a *missingChildError when a
// counted child does not exist any more.
func (r *results) family(ctx context.Context, parent *Execution) (*familyValue, error) {
	ids := parent.ChildIDs()
	children, err := r.store.Get(ctx, ids, Filter{})
	if err != nil {
		return nil, err
	}
	output := parent.RunOutput
	payloads := []*Payload{&output}
	for i, child := range children {
		switch {
		case child == nil:
			return nil, &missingChildError{ids[i]}
		case child.Status == StatusCompleted && child.Family == nil:
			payloads = append(payloads, &child.Output)
		}
	}
	if err := r.store.Load(ctx, payloads...); err != nil {
		return nil, err
	}
	v := &familyValue{output: output.Data, children: make([]ChildResult, len(children))}
	for i, child := range children {
		c := ChildResult{
			ExecutionID: child.ID, TaskID: child.TaskID, Status: child.Status, Failure: child.Failure, codec: r.codec,
		}
		switch {
		case child.Status != StatusCompleted:
		case child.Family == nil:
			c.value = value{data: child.Output.Data}
		default:
			if c.value, err = r.of(ctx, child); err != nil {
				return nil, fmt.Errorf("output of child %s: %w", child.ID, err)
			}
		}
		v.children[i] = c
	}
	return v, nil
}

// getOne reads one record; the error matches ErrNotFound when there is none.
func getOne(ctx context.Context, store Store, id string) (*Execution, error) {
	found, err := store.Get(ctx, []string{id}, Filter{})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, ErrNotFound
	}
	return found[0], nil
}

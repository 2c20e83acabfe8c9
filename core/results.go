package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	case e.OutputOf != "":
		origin, err := r.source(ctx, e.OutputOf)
		if err != nil {
			return value{}, err
		}
		return r.of(ctx, origin)
	case f == nil || !e.Output.IsZero():
		return r.load(ctx, e.Output)
	case f.FinalizeTaskID != "":
		finalize, err := r.source(ctx, e.ChildID(FinalizeIndex))
		if err != nil {
			return value{}, err
		}
		return r.of(ctx, finalize)
	case f.Sequential:
		last, err := ReadChildren(ctx, r.store, e, []int{f.Step})
		if err != nil {
			return value{}, err
		}
		if last[0] == nil {
			return value{}, &missingChildError{e.ChildID(f.Step)}
		}
		return r.of(ctx, last[0])
	}
	v, err := r.family(ctx, e)
	return value{family: v}, err
}

// input returns what an execution is given: what was enqueued, for a finalize execution what its parent's family
// came to, for a step of a sequence what its source has.
func (r *results) input(ctx context.Context, e *Execution) (value, error) {
	switch {
	case e.Source.ExecutionID != "":
		source, err := r.source(ctx, e.Source.ExecutionID)
		switch {
		case err != nil:
			return value{}, err
		case e.Source.Output:
			return r.of(ctx, source)
		}
		return r.input(ctx, source)
	case e.Parent != nil && e.Parent.Index == FinalizeIndex:
		parent, err := r.source(ctx, e.Parent.ID)
		if err != nil {
			return value{}, err
		}
		if parent.Family == nil {
			return value{}, fmt.Errorf("parent %s is %s", parent.ID, parent.Status)
		}
		family, err := r.family(ctx, parent)
		return value{family: family}, err
	}
	return r.load(ctx, e.Input)
}

func (r *results) load(ctx context.Context, p Payload) (value, error) {
	if err := r.store.Load(ctx, &p); err != nil {
		return value{}, err
	}
	return value{data: p.Data}, nil
}

// source reads a record that another one refers to.
func (r *results) source(ctx context.Context, id string) (*Execution, error) {
	e, err := getOne(ctx, r.store, id)
	if errors.Is(err, ErrNotFound) {
		return nil, &missingChildError{id}
	}
	return e, err
}

// missingChildError is the error of a record that another one refers to and that is gone.
type missingChildError struct{ id string }

func (e *missingChildError) Error() string {
	return fmt.Sprintf("execution %s was there and is gone: its retention was over, or it was deleted", e.id)
}

func (e *missingChildError) Unwrap() error { return ErrNotFound }

// family returns what a parent's run and its children came to. The error is a *missingChildError when a
// counted child does not exist any more.
func (r *results) family(ctx context.Context, parent *Execution) (*familyValue, error) {
	indexes := parent.ownIndexes()
	children, err := ReadChildren(ctx, r.store, parent, indexes)
	if err != nil {
		return nil, err
	}
	for i, child := range children {
		if child == nil {
			return nil, &missingChildError{parent.ChildID(i)}
		}
	}
	output := parent.RunOutput
	all, err := r.ofChildren(ctx, children, &output)
	if err != nil {
		return nil, err
	}
	return &familyValue{output: output.Data, children: all}, nil
}

// ownIndexes is ChildIndexes without the finalize execution.
func (e *Execution) ownIndexes() []int {
	indexes := e.ChildIndexes()
	if n := len(indexes); n > 0 && indexes[n-1] == FinalizeIndex {
		indexes = indexes[:n-1]
	}
	return indexes
}

// ofChildren returns what children came to, and loads a payload besides.
func (r *results) ofChildren(ctx context.Context, children []*Execution, besides *Payload) ([]ChildResult, error) {
	origins, err := r.origins(ctx, children)
	if err != nil {
		return nil, err
	}
	all := make([]ChildResult, len(children))
	payloads := []*Payload{besides}
	childless := &origin{results: r}
	places := make([]int, len(children))
	for i, child := range children {
		all[i] = ChildResult{ExecutionID: child.ID, TaskID: child.TaskID, Status: child.Status, codec: r.codec, origin: childless}
		if origins[i].Family != nil {
			all[i].origin = &origin{r, origins[i]}
		}
		if child.Failure != nil {
			own := *child.Failure // others have it too
			all[i].Failure = &own
		}
		if origins[i].Status == StatusCompleted && origins[i].Family == nil {
			payloads = append(payloads, &origins[i].Output)
		}
		places[i] = i
	}
	if err := r.store.Load(ctx, payloads...); err != nil {
		return nil, err
	}
	failures := make([]*Failure, len(all))
	for i, c := range all {
		failures[i] = c.Failure
	}
	if err := loadCauses(ctx, r.store, failures...); err != nil {
		return nil, err
	}
	return all, inParallel(ctx, places, func(ctx context.Context, i int) error {
		switch {
		case children[i].Status != StatusCompleted:
		case origins[i].Family == nil:
			all[i].value = value{data: origins[i].Output.Data}
		default:
			var err error
			if all[i].value, err = r.of(ctx, origins[i]); err != nil {
				return fmt.Errorf("output of child %s: %w", children[i].ID, err)
			}
		}
		return nil
	})
}

// loadCauses loads the data and the chains of failures, some of which may be nil. What is gone, or cannot be read, is left
// out: who asks why something failed is told the rest.
func loadCauses(ctx context.Context, store Reader, failures ...*Failure) error {
	var payloads []*Payload
	for _, f := range failures {
		if f == nil {
			continue
		}
		for _, p := range []*Payload{&f.Data, &f.Causes} {
			if !p.Loaded() {
				payloads = append(payloads, p)
			}
		}
	}
	if len(payloads) == 0 {
		return nil
	}
	err := store.Load(ctx, payloads...)
	if !gone(err) {
		return err
	}
	for _, p := range payloads { // one of them is the one
		if err := store.Load(ctx, p); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound) }

// origin is how to read the children of an execution.
type origin struct {
	results *results
	record  *Execution // nil when there are no children
}

// childResults is ChildResult.Children.
func (o *origin) childResults(ctx context.Context, id string) ([]ChildResult, error) {
	switch {
	case o == nil:
		return nil, invalidf("execution %s: its children cannot be read from a copy: ask where it was read from the store", id)
	case o.record == nil:
		return nil, nil
	}
	found, err := ReadChildren(ctx, o.results.store, o.record, o.record.ownIndexes())
	if err != nil {
		return nil, fmt.Errorf("read the children of execution %s: %w", id, err)
	}
	found = slices.DeleteFunc(found, func(e *Execution) bool { return e == nil })
	all, err := o.results.ofChildren(ctx, found, &Payload{})
	if err != nil {
		return nil, fmt.Errorf("read the results of the children of execution %s: %w", id, err)
	}
	return all, nil
}

// origins returns the executions that have the children's outputs: they themselves, or those that they were born
// completed from.
func (r *results) origins(ctx context.Context, children []*Execution) ([]*Execution, error) {
	origins := slices.Clone(children)
	var ids []string
	var places []int
	for i, child := range children {
		if child.OutputOf != "" {
			ids, places = append(ids, child.OutputOf), append(places, i)
		}
	}
	if len(ids) == 0 {
		return origins, nil
	}
	found, err := r.store.Get(ctx, ids, Filter{})
	if err != nil {
		return nil, err
	}
	for n, origin := range found {
		if origin == nil {
			return nil, &missingChildError{ids[n]}
		}
		origins[places[n]] = origin
	}
	return origins, nil
}

// getOne reads one record; the error matches ErrNotFound when there is none.
func getOne(ctx context.Context, store Store, id string) (*Execution, error) {
	return getOneOf(ctx, store, id, Filter{})
}

// getOneOf returns the execution if it passes the filter.
func getOneOf(ctx context.Context, store Store, id string, filter Filter) (*Execution, error) {
	found, err := store.Get(ctx, []string{id}, filter)
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, ErrNotFound
	}
	return found[0], nil
}

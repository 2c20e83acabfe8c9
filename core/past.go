package core

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// pastFamily is the family of an execution that is redriven.
type pastFamily struct {
	parent   *Execution
	specs    []Spec
	children []*Execution // nil for one that does not exist
	// succeeded tells of each child whether it completed, and all below it.
	succeeded []bool
}

// maxPast is how many records below the children of one family are read to learn whether they succeeded. A child below
// which there are more is redriven: the same is asked of its own children then.
const maxPast = 25_000

// redriven follows a chain of redrives from the execution with the id, each to the one that it redrives, and returns the
// first for which has reports true: a redrive may have ended before it got as far as the one before. It returns nil when
// none of those that still exist has it. Each link is one read.
func (x *Executor) redriven(ctx context.Context, id string, has func(*Execution) (bool, error)) (*Execution, error) {
	for range maxRedrives {
		if id == "" {
			break
		}
		e, err := getOne(ctx, x.cfg.Store, id)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		if is, err := has(e); is || err != nil {
			return e, err
		}
		id = e.RedriveOf
	}
	return nil, nil //nolint:nilnil // that there is none is no failure
}

// family reads the family of an execution that is redriven, or of the last of those that it redrives which had children;
// it is empty when there is none.
func (x *Executor) family(ctx context.Context, id string) (pastFamily, error) {
	old, err := x.redriven(ctx, id, func(e *Execution) (bool, error) { return e.Family != nil && !e.Family.Manifest.IsZero(), nil })
	if err != nil || old == nil {
		return pastFamily{}, err
	}
	past := pastFamily{parent: old}
	if past.specs, err = readManifest(ctx, x.cfg.Store, old); err != nil {
		return past, err
	}
	indexes := old.ChildIndexes()
	if old.Family.FinalizeTaskID != "" {
		indexes = indexes[:len(indexes)-1]
	}
	if past.children, err = ReadChildren(ctx, x.cfg.Store, old, indexes); err != nil {
		return past, err
	}
	past.succeeded, err = succeededAll(ctx, x.cfg.Store, past.children, maxPast)
	return past, err
}

// succeededAll tells of each execution whether it completed, and all below it, its finalize execution included. Of what
// was taken over, the origin counts. It reads level by level, no more than limit records; whoever has more below it, or
// something that is gone, has not succeeded as far as is known. nil has not.
func succeededAll(ctx context.Context, r Reader, executions []*Execution, limit int) ([]bool, error) {
	succeeded := make([]bool, len(executions))
	type place struct {
		e  *Execution
		of int // index in executions
	}
	var level []place
	for i, e := range executions {
		if e != nil {
			succeeded[i], level = true, append(level, place{e, i})
		}
	}
	for len(level) > 0 {
		var ids []string
		for _, p := range level {
			if p.e.OutputOf != "" {
				ids = append(ids, p.e.OutputOf)
			}
		}
		if limit -= len(ids); limit < 0 {
			ids = nil
		}
		origins := map[string]*Execution{}
		if len(ids) > 0 {
			found, err := r.Get(ctx, ids, Filter{})
			if err != nil {
				return nil, err
			}
			for n, e := range found {
				origins[ids[n]] = e
			}
		}
		var parents []place
		for _, p := range level {
			if p.e.OutputOf != "" {
				p.e = origins[p.e.OutputOf]
			}
			if p.e == nil || p.e.Status != StatusCompleted {
				succeeded[p.of] = false
				continue
			}
			indexes := p.e.ChildIndexes()
			if limit -= len(indexes); limit < 0 {
				succeeded[p.of] = succeeded[p.of] && len(indexes) == 0
				continue
			}
			if len(indexes) > 0 {
				parents = append(parents, p)
			}
		}
		below := make([][]*Execution, len(parents))
		places := make([]int, len(parents))
		for i := range places {
			places[i] = i
		}
		err := inParallel(ctx, places, func(ctx context.Context, i int) (err error) {
			if succeeded[parents[i].of] {
				below[i], err = ReadChildren(ctx, r, parents[i].e, parents[i].e.ChildIndexes())
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		level = nil
		for i, children := range below {
			for _, child := range children {
				if child == nil {
					succeeded[parents[i].of] = false
					break
				}
				level = append(level, place{child, parents[i].of})
			}
		}
	}
	return succeeded, nil
}

// pastFinalize returns the id of the finalize execution that a parent's redrives; empty for none.
func (x *Executor) pastFinalize(ctx context.Context, parent *Execution) (string, error) {
	old, err := x.redriven(ctx, parent.RedriveOf, func(e *Execution) (bool, error) {
		if e.Family == nil || e.Family.FinalizeTaskID != parent.Family.FinalizeTaskID {
			return false, nil
		}
		finalize, err := getOne(ctx, x.cfg.Store, e.ChildID(FinalizeIndex))
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return err == nil && (finalize.Family != nil || finalize.RedriveOf != ""), err
	})
	if err != nil || old == nil {
		return "", err
	}
	return old.ChildID(FinalizeIndex), nil
}

// identity is what tells one child from another in two runs of a family.
type identity struct{ taskID, input string }

// reuse changes the specs of an execution's new family to what they take over from the one that it redrives. Those that had
// nothing equal there may have it in the one that this one redrives, and so on.
func (x *Executor) reuse(ctx context.Context, e *Execution, specs []Spec) error {
	left := make([]int, len(specs)) // indexes of specs
	for i := range left {
		left[i] = i
	}
	passed := map[string]bool{}
	for id := e.RedriveOf; id != "" && len(left) > 0; {
		old, err := x.family(ctx, id)
		if err != nil || old.parent == nil {
			return err
		}
		left = old.reuse(specs, left, passed)
		id = old.parent.RedriveOf
	}
	return nil
}

// reuse changes those of the specs at the given indexes whose task and input equal those of an old child, wherever that
// stood: where it succeeded its output is taken over, else what succeeded below it will be. Of equal ones the first new one
// gets the first old one, and so on; where there are fewer than before, those that succeeded. It returns the indexes that
// are left. Old children whose ids are passed went into a later family than this one; it adds those that went into this one.
func (p pastFamily) reuse(specs []Spec, indexes []int, passed map[string]bool) (left []int) {
	places, wanted := map[identity][]int{}, map[identity]int{}
	for i, child := range p.children {
		old, ok := p.parent.specAt(p.specs, i)
		if ok && child != nil && !passed[child.ID] && (child.OutputOf == "" || !passed[child.OutputOf]) {
			id := identity{old.TaskID, string(old.Input)}
			places[id] = append(places[id], i)
		}
	}
	for _, i := range indexes {
		wanted[identity{specs[i].TaskID, string(specs[i].Input)}]++
	}
	for id, same := range places {
		if wanted[id] < len(same) {
			failed := slices.DeleteFunc(slices.Clone(same), func(i int) bool { return p.succeeded[i] })
			succeeded := slices.DeleteFunc(same, func(i int) bool { return !p.succeeded[i] })
			places[id] = append(succeeded, failed...)
		}
	}
	for _, i := range indexes {
		id := identity{specs[i].TaskID, string(specs[i].Input)}
		same := places[id]
		if len(same) == 0 {
			left = append(left, i)
			continue
		}
		places[id] = same[1:]
		specs[i] = p.takeOver(specs[i], same[0])
	}
	for _, child := range p.children {
		if child != nil {
			passed[child.ID], passed[child.OutputOf], passed[child.RedriveOf] = true, true, true
		}
	}
	return left
}

// takeOver returns the spec of an execution that takes over what the old child at index i came to.
func (p pastFamily) takeOver(s Spec, i int) Spec { return s.after(p.children[i], p.succeeded[i]) }

// after returns the spec of an execution that takes over what another one came to.
func (s Spec) after(old *Execution, succeeded bool) Spec {
	switch {
	case succeeded:
		s.SleepKey, s.SleepRound, s.RedriveOf, s.Delay, s.OutputOf = "", 0, "", 0, old.OutputOf
		if s.OutputOf == "" {
			s.OutputOf = old.ID
		}
	case s.SleepKey == "" && !old.Sleeping():
		s.RedriveOf = old.ID
	}
	return s
}

// reuseSteps returns the specs of a sequence and its first step to run: the first that did not succeed before.
// The specs of a loop end with that step. A sequence that is a finalize execution may be given something else than before:
// its first step runs again.
func (x *Executor) reuseSteps(ctx context.Context, e *Execution, p pastFamily, specs []Spec, loop bool) ([]Spec, int, error) {
	if p.parent == nil || p.parent.Family == nil || p.parent.Family.Loop != loop || !p.parent.Family.Sequential {
		return specs, 0, nil
	}
	if len(p.children) == 0 || p.children[0] == nil || p.children[0].TaskID != specs[0].TaskID {
		return specs, 0, nil
	}
	if e.Parent != nil && e.Parent.Index == FinalizeIndex {
		if f := p.children[0].Family; f != nil && !f.Sequential {
			specs[0] = specs[0].after(p.children[0], false)
		}
		return specs, 0, nil
	}
	last := 0
	for i, child := range p.children {
		if child == nil || i > 0 && specAtOr(specs, i, loop).TaskID != child.TaskID {
			break
		}
		last = i
		if !p.succeeded[i] {
			break
		}
	}
	out := make([]Spec, 0, max(len(specs), last+1))
	for i := range last + 1 {
		spec := specAtOr(specs, i, loop)
		if i == last {
			if old, ok := p.parent.specAt(p.specs, i); ok && !loop {
				spec.Input, spec.SleepKey = old.Input, old.SleepKey
			} else if loop && p.children[i].Source.ExecutionID != p.parent.ID { // it was not given the loop's own input
				in, err := x.results.input(ctx, p.children[i])
				var missing *missingChildError
				switch {
				case errors.As(err, &missing):
					return specs, 0, nil
				case err != nil:
					return nil, 0, err
				case in.family == nil:
					spec.Input = in.data
				}
			}
		}
		out = append(out, p.takeOver(spec, i))
	}
	if !loop {
		out = append(out, specs[last+1:]...)
	}
	return out, last, nil
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

// reuseStep changes the spec of a sequence's next step where the execution that the sequence redrives had one of the same
// task: with the same input it is taken over, or redriven; with another one a parent is redriven all the same, since its
// children have inputs of their own. Only what comes behind a step that ran again is left for it: see reuseSteps.
func (x *Executor) reuseStep(ctx context.Context, parent, before *Execution, spec Spec, step int) (Spec, error) {
	if parent.RedriveOf == "" || spec.SleepKey != "" {
		return spec, nil
	}
	old, err := x.redriven(ctx, parent.RedriveOf, func(e *Execution) (bool, error) {
		f := e.Family
		return f != nil && f.Sequential && f.Loop == parent.Family.Loop && f.Step >= step, nil
	})
	if err != nil || old == nil {
		return spec, err
	}
	found, err := ReadChildren(ctx, x.cfg.Store, old, []int{step})
	if err != nil || found[0] == nil || found[0].TaskID != spec.TaskID || !found[0].Status.Finished() {
		return spec, err
	}
	same, err := x.sameInput(ctx, parent, before, spec, found[0])
	switch {
	case err != nil:
		return spec, err
	case !same && (found[0].Family == nil || found[0].Family.Sequential):
		return spec, nil
	case !same: // what its children are given tells what is done already
		return spec.after(found[0], false), nil
	}
	succeeded, err := succeededAll(ctx, x.cfg.Store, found, maxPast)
	if err != nil {
		return spec, err
	}
	return spec.after(found[0], succeeded[0]), nil
}

// sameInput reports whether the next step of a sequence is given what an old one was. What a family came to names its
// members' ids: it is never the same.
func (x *Executor) sameInput(ctx context.Context, parent, before *Execution, spec Spec, old *Execution) (bool, error) {
	var in value
	var err error
	switch {
	case spec.Input != nil:
		in = value{data: spec.Input}
	case parent.Family.Loop:
		in, err = x.results.input(ctx, parent)
	default:
		in, err = x.results.of(ctx, before)
	}
	if err != nil || in.family != nil {
		return false, err
	}
	was, err := x.results.input(ctx, old)
	var missing *missingChildError
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil && was.family == nil && bytes.Equal(in.data, was.data), err
}

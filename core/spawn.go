package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// commit commits a parent to the children that its run returned. A crash before the parent's write loses the
// attempt alone; one after it is repaired by the spawn check.
func (x *Executor) commit(ctx context.Context, e *Execution, out outcome) error {
	now := time.Now()
	specs := out.specs
	if err := x.reuse(ctx, e, specs); err != nil {
		return errors.Join(err, x.giveBack(ctx, e, time.Second))
	}
	if err := x.placeSleepers(ctx, e, specs); err != nil {
		return errors.Join(err, x.giveBack(ctx, e, time.Second))
	}
	ev := CommitChildren{ExecutorID: x.id, RunOutput: Payload{Data: out.output}, Size: len(specs)}
	return x.commitFamily(ctx, e, ev, specs, now)
}

// commitFamily writes a parent's commitment, puts in the children that it commits to now, and starts them.
func (x *Executor) commitFamily(ctx context.Context, e *Execution, ev CommitChildren, specs []Spec, now time.Time) error {
	manifest, err := EncodeManifest(specs)
	if err != nil {
		return &limitError{err}
	}
	if len(manifest) > maxPayload {
		return &limitError{fmt.Errorf("%w: the inputs of the %d children of task %s have %d bytes together, the limit is %d",
			ErrTooLarge, len(specs), e.TaskID, len(manifest), maxPayload)}
	}
	ev.Nonce, ev.CheckAt = NewNonce(), now.Add(x.checkAfter(specs, ev.Sequential))
	if len(specs) > 0 {
		ev.Manifest = Payload{Data: manifest}
	}
	for _, spec := range specs {
		ev.Sleepers = ev.Sleepers || spec.SleepKey != ""
	}
	parent, err := Transition(e, ev, now)
	if err != nil {
		return err
	}
	parent.Nonce = NewNonce()
	children := x.newChildren(parent, parent.ChildIndexes(), specs, now)
	switch u := (Update{e, parent}); {
	case len(specs) == 0:
		if err := persist(ctx, func() error { return x.cfg.Store.Update(ctx, []Update{u})[0] }); err != nil {
			return err
		}
		x.committed(parent)
		return x.advance(ctx, parent)
	case ev.Step > 0, ev.Sequential && children[0].Status.Finished():
		// Steps that are born completed come first: whoever finds the last one may take them for granted.
		if _, err := x.put(ctx, Spawn{u, children[:ev.Step]}, nil); err != nil {
			return err
		}
		x.committed(parent)
		if err := x.follow.putChildren(ctx, parent, children[ev.Step:]); err != nil {
			return err
		}
		if children[ev.Step].Status.Finished() {
			return x.advance(ctx, parent)
		}
		x.startChildren(ctx, children[ev.Step:])
		return nil
	case ev.Sequential:
		return x.putAndStart(ctx, u, children, nil, nil)
	}
	return x.putAndStart(ctx, Update{e, parent}, children, nil, func(parent *Execution, finished []int, failed bool) {
		if failed {
			return // the check counts them, and makes those that are missing
		}
		if err := x.allExist(context.WithoutCancel(ctx), parent, finished); err != nil {
			about(x.log, parent).WarnContext(ctx, "parent is left to its spawn check", logError, err)
		}
	})
}

// checkAfter returns how long after a commitment its children are checked. Those that may have to wait for room are given
// as long as a lease of theirs would last, three checks at most.
func (x *Executor) checkAfter(specs []Spec, sequential bool) time.Duration {
	if sequential || x.hasRoomFor(len(specs)) {
		return x.cfg.SpawnCheck
	}
	lease := specs[0].Timeout
	for _, spec := range specs {
		lease = min(lease, spec.Timeout)
	}
	return max(x.cfg.SpawnCheck, min(lease+x.cfg.Leeway, 3*x.cfg.SpawnCheck))
}

// newChildren returns the first records of a parent's children at the given indexes.
func (x *Executor) newChildren(parent *Execution, indexes []int, specs []Spec, now time.Time) []*Execution {
	children := make([]*Execution, len(indexes))
	for n, i := range indexes {
		spec, _ := parent.specAt(specs, i)
		children[n] = newChild(parent, i, parent.withSource(specs, i, spec), now)
		children[n].Nonce = NewNonce()
	}
	return children
}

// specs returns the specs of a run's children, or which of them breaks a rule. It calls code of the user's.
func (x *Executor) specs(e *Execution, out outcome, now time.Time) ([]Spec, error) {
	if err := x.cfg.Limits.checkPayload("the output of task "+e.TaskID, out.output); err != nil {
		return nil, err
	}
	if n := len(out.children); n > x.cfg.Limits.Children {
		return nil, fmt.Errorf("%w: task %s returned %d children, the limit is %d: group them, or use parents of parents",
			ErrTooLarge, e.TaskID, n, x.cfg.Limits.Children)
	}
	specs := make([]Spec, len(out.children))
	keys := map[string]int{}
	for i, child := range out.children {
		spec, err := x.spec(child, now)
		if err != nil {
			return nil, fmt.Errorf("child %d of task %s: %w", i, e.TaskID, err)
		}
		if other, twice := keys[spec.SleepKey]; twice && spec.SleepKey != "" {
			return nil, invalidf("children %d and %d of task %s: both sleep under the unique key %q", other, i, e.TaskID, spec.SleepKey)
		}
		keys[spec.SleepKey] = i
		specs[i] = spec
	}
	return specs, nil
}

func (x *Executor) spec(child Child, now time.Time) (Spec, error) {
	if child.def == nil {
		return Spec{}, invalidf("child: it was not made by Task.Child")
	}
	if child.opts.ID != "" || child.opts.Key != "" {
		return Spec{}, invalidf("child of task %s: its id %q was chosen, but a child's id is derived",
			child.def.id, child.opts.ID+child.opts.Key)
	}
	if known, _ := x.cfg.Registry.lookup(child.def.id); known != child.def {
		return Spec{}, fmt.Errorf("%w %q: it is not registered", ErrUnknownTask, child.def.id)
	}
	input, err := child.encoded(&x.cfg.Codec)
	if err != nil {
		return Spec{}, invalidf("input %T of task %s: %w", child.input, child.def.id, err)
	}
	if err := x.cfg.Limits.checkPayload("the input of task "+child.def.id, input); err != nil {
		return Spec{}, err
	}
	if err := child.def.check(x.cfg.Codec, value{data: input}); err != nil {
		return Spec{}, invalidf("input of task %s: %w", child.def.id, err)
	}
	spec, err := newSpec(child.def, input, child.opts, now)
	if err == nil {
		err = x.cfg.Limits.checkSpec(child.def, spec)
	}
	if err != nil || child.def.sleepKey == nil {
		return spec, err
	}
	return x.sleepSpec(child.def, value{data: input}, spec)
}

// putAndStart writes a parent's commitment and starts its children as far as this executor has room for them: those
// first that need not be put before (see unborn.go), then those that are put as running, under its own lease, which
// saves their claims; the others are put as they are. in is what a step is given, where that is at hand. ended, when
// it is not nil, is called once every child exists or is left to the spawn check, with the parent as it was written last
// and the indexes of those children that are finished already, but not counted.
func (x *Executor) putAndStart(
	ctx context.Context, u Update, children []*Execution, in *value, ended func(parent *Execution, finished []int, failed bool),
) error {
	now := time.Now()
	var unborn, running, waiting, others []*Execution
	for _, child := range children {
		switch started, patient := x.startBorn(ctx, child, u.After.Family.Sequential), x.mayWait(u.After, child, now); {
		case started == nil && patient && x.startable(child, now):
			waiting = append(waiting, child)
		case started == nil:
			others = append(others, child)
		case patient:
			unborn = append(unborn, started)
		default:
			running = append(running, started)
		}
	}
	if first := slices.Concat(unborn, running); u.After.Family.Sequential && len(first) > 0 {
		x.mu.Lock()
		x.steps[first[0].ID] = &runningStep{u.After, in}
		x.mu.Unlock()
	}
	started := make([]bool, len(running))
	committed, err := x.put(ctx, Spawn{u, running}, started)
	if !committed {
		for _, child := range slices.Concat(unborn, running) {
			x.release(ctx)
			x.forgetStep(child)
		}
		return err
	}
	x.committed(u.After)
	background := context.WithoutCancel(ctx)
	for i, child := range running {
		if !started[i] {
			x.release(ctx) // somebody else put it, or the spawn check will
			x.forgetStep(child)
			continue
		}
		x.work.Go(func() { x.run(background, child) })
	}
	if ended == nil {
		ended = func(*Execution, []int, bool) {}
	}
	b := &brood{parent: u.After, pending: 1 + len(unborn) + len(waiting), ended: ended}
	for _, child := range unborn {
		x.work.Go(func() { x.runUnborn(background, child, b) })
	}
	x.enqueueUnborn(background, waiting, b)
	if err == nil && len(others) > 0 {
		if err = x.follow.putChildren(ctx, u.After, others); err == nil {
			x.startChildren(ctx, others)
		}
	}
	b.mu.Lock() // its children run by now
	for _, child := range others {
		if child.OutputOf != "" {
			b.finished = append(b.finished, child.Parent.Index) // nobody else follows it up
		}
	}
	b.mu.Unlock()
	if err != nil {
		b.settle(failsToExist, 0)
	} else {
		b.settle(exists, 0)
	}
	return err
}

// startBorn takes room for a new execution that can start at once and returns it as running; nil for one that cannot. A
// step takes the place of the one before it: see reserveNext.
func (x *Executor) startBorn(ctx context.Context, e *Execution, step bool) *Execution {
	now := time.Now()
	if !x.startable(e, now) || step && !x.reserveNext() || !step && x.reserve(1) == 0 {
		return nil
	}
	started := x.begun(e, now)
	if started == nil {
		x.release(ctx)
	}
	return started
}

// startable reports whether this executor may start a new execution at once, given room.
func (x *Executor) startable(e *Execution, now time.Time) bool {
	_, known := x.cfg.Registry.lookup(e.TaskID)
	return known && !x.sweepOnly && e.Status == StatusReady && !e.DueAt.After(now) && e.Timeout <= x.left(now) && !x.shuttingDown()
}

// begun returns a new execution as running here, under a lease; nil when that is not allowed.
func (x *Executor) begun(e *Execution, now time.Time) *Execution {
	started, err := Transition(e, StartAttempt{ExecutorID: x.id, Left: x.left(now), Leeway: x.cfg.Leeway + x.extra()}, now)
	if err != nil {
		return nil
	}
	started.Rev, started.Nonce = e.Rev, e.Nonce
	return started
}

// put writes a parent's commitment and puts children in. It notes in put, when that is not nil, which of them this
// very call has put, and reports whether the commitment is written.
func (x *Executor) put(ctx context.Context, s Spawn, put []bool) (committed bool, _ error) {
	spawns := []Spawn{s}
	err := persist(ctx, func() error {
		result := x.cfg.Store.UpdateAndInsertChildren(ctx, spawns)[0]
		committed = result.Err == nil
		errs := []error{result.Err}
		for i, err := range result.Children {
			if put != nil {
				put[i] = err == nil
			}
			if err != nil && !errors.Is(err, ErrAlreadyExists) {
				errs = append(errs, fmt.Errorf("put child %s: %w", s.Children[i].ID, err))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return committed, fmt.Errorf("write children of execution %s: %w", s.After.ID, err)
	}
	return true, nil
}

// allExist takes a parent on whose committed children all exist; those at the given indexes are finished, and are
// counted by the same write.
func (x *Executor) allExist(ctx context.Context, parent *Execution, finished []int) error {
	if len(finished) == parent.Family.Size {
		return x.allFinished(ctx, parent)
	}
	return x.spawned(ctx, parent, finished)
}

// spawned notes that all committed children exist, and counts those that are known to be finished. When the last was
// counted meanwhile, whoever counted it moves the parent on; unless this executor holds the lease, then it is up to
// this one.
func (x *Executor) spawned(ctx context.Context, parent *Execution, finished []int) error {
	ev := ChildrenSpawned{Units: finished}
	if parent.Family.Size > CountDirect && len(finished) > 0 {
		ev.Units = nil
		var err error
		if parent, err = x.countAll(ctx, parent, finished); err != nil {
			return err
		}
	}
	if parent.Status.waiting() && parent.AllCounted() {
		return x.advance(ctx, parent)
	}
	for {
		after, err := x.write(ctx, parent, ev)
		var conflict *ConflictError
		switch {
		case errors.As(err, &conflict) && !sameStage(parent, conflict.Current):
			return nil // it went on, to children that this look did not see
		case errors.As(err, &conflict):
			parent = conflict.Current
		case errors.Is(err, ErrNotAllowed):
			return nil // it is finished, or known already
		case err == nil && after.AllCounted():
			return x.advance(ctx, after)
		default:
			return err
		}
		all := parent.clone() // with what this look has seen: the children that others counted meanwhile may be all others
		all.Family.Counted = addUnits(all.Family.Counted, ev.Units)
		leasedHere := parent.Family.Processing == ProcessingProcessing && parent.ExecutorID == x.id
		switch {
		case !parent.Status.waiting(), !all.AllCounted():
		case !leasedHere && parent.AllCounted():
			return nil
		case leasedHere && parent.AllCounted():
			return x.advance(ctx, parent)
		case leasedHere:
			return x.allFinished(ctx, parent)
		}
	}
}

// sameStage reports whether a waiting parent still waits for the same children.
func sameStage(before, now *Execution) bool {
	return before.Status == now.Status && before.Family.Step == now.Family.Step
}

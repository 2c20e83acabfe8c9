package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// commit commits a parent to the children that its run returned, puts them in, and starts those that it has
// room for. A crash before the parent's write loses the attempt alone; one after it is repaired by the spawn
// check.
func (x *Executor) commit(ctx context.Context, e *Execution, out outcome) error {
	now := time.Now()
	specs, err := x.specs(e, out, now)
	if err != nil {
		return &limitError{err}
	}
	manifest, err := EncodeManifest(specs)
	if err != nil {
		return &limitError{err}
	}
	if len(manifest) > maxPayload {
		return &limitError{fmt.Errorf("%w: the inputs of the %d children of task %s have %d bytes together, the limit is %d",
			ErrTooLarge, len(specs), e.TaskID, len(manifest), maxPayload)}
	}
	ev := CommitChildren{
		ExecutorID: x.id, RunOutput: Payload{Data: out.output}, Nonce: NewNonce(), Size: len(specs),
		CheckAt: now.Add(x.cfg.SpawnCheck),
	}
	if len(specs) > 0 {
		ev.Manifest = Payload{Data: manifest}
	}
	parent, err := Transition(e, ev, now)
	if err != nil {
		return err
	}
	parent.Nonce = NewNonce()
	if len(specs) == 0 {
		if err := persist(ctx, func() error { return x.cfg.Store.Update(ctx, []Update{{e, parent}})[0] }); err != nil {
			return err
		}
		return x.moveOn(ctx, parent)
	}
	children := make([]*Execution, len(specs))
	for i, spec := range specs {
		children[i] = newChild(parent, i, spec, now)
		children[i].Nonce = NewNonce()
	}
	return x.spawn(ctx, Spawn{Update{e, parent}, children})
}

// specs returns the specs of a run's children, or which of them breaks a rule.
func (x *Executor) specs(e *Execution, out outcome, now time.Time) ([]Spec, error) {
	if err := x.cfg.Limits.checkPayload("the output of task "+e.TaskID, out.output); err != nil {
		return nil, err
	}
	if n := len(out.children); n > x.cfg.Limits.Children {
		return nil, fmt.Errorf("%w: task %s returned %d children, the limit is %d: group them, or use parents of parents",
			ErrTooLarge, e.TaskID, n, x.cfg.Limits.Children)
	}
	specs := make([]Spec, len(out.children))
	for i, child := range out.children {
		spec, err := x.spec(child, now)
		if err != nil {
			return nil, fmt.Errorf("child %d of task %s: %w", i, e.TaskID, err)
		}
		specs[i] = spec
	}
	return specs, nil
}

func (x *Executor) spec(child Child, now time.Time) (Spec, error) {
	if child.def == nil {
		return Spec{}, invalidf("child: it was not made by Task.Child")
	}
	if child.opts.ID != "" {
		return Spec{}, invalidf("child of task %s: its id %q was chosen, but a child's id is derived", child.def.id, child.opts.ID)
	}
	if known, _ := x.cfg.Registry.lookup(child.def.id); known != child.def {
		return Spec{}, fmt.Errorf("%w %q: it is not registered", ErrUnknownTask, child.def.id)
	}
	input, err := x.cfg.Codec.Encode(child.input)
	if err != nil {
		return Spec{}, invalidf("input %T of task %s: %w", child.input, child.def.id, err)
	}
	if err := x.cfg.Limits.checkPayload("the input of task "+child.def.id, input); err != nil {
		return Spec{}, err
	}
	return newSpec(child.def, input, child.opts, now)
}

// spawn writes a parent's commitment, puts its children in, notes that they exist, and starts them.
func (x *Executor) spawn(ctx context.Context, s Spawn) error {
	if err := x.put(ctx, s); err != nil {
		return err
	}
	if err := x.spawned(ctx, s.After); err != nil {
		x.log.WarnContext(ctx, "parent is left to its spawn check", logExecution, s.After.ID, logError, err)
	}
	x.startChildren(ctx, s.Children)
	return nil
}

// put writes a parent's commitment and puts its children in.
func (x *Executor) put(ctx context.Context, s Spawn) error {
	spawns := []Spawn{s}
	if err := persist(ctx, func() error { return x.cfg.Store.UpdateAndInsertChildren(ctx, spawns)[0] }); err != nil {
		return fmt.Errorf("write children of execution %s: %w", s.After.ID, err)
	}
	return nil
}

// spawned notes that all committed children exist. When the last was counted meanwhile, whoever counted it
// moves the parent on; unless this executor holds the lease, then it is up to this one.
func (x *Executor) spawned(ctx context.Context, parent *Execution) error {
	for {
		_, err := x.write(ctx, parent, ChildrenSpawned{})
		var conflict *ConflictError
		switch {
		case errors.As(err, &conflict):
			parent = conflict.Current
		case errors.Is(err, ErrNotAllowed):
			return nil // it is finished, or known already
		default:
			return err
		}
		if parent.Status.waiting() && parent.AllCounted() {
			if parent.Family.Processing == ProcessingProcessing && parent.ExecutorID == x.id {
				return x.moveOn(ctx, parent)
			}
			return nil
		}
	}
}

// ProcessChildren takes due parents, at most limit of each kind: those whose children are all finished go on,
// those that may lack a child get it. Parents whose executor died with them are made due again first.
func (x *Executor) ProcessChildren(ctx context.Context, limit int) (Result, error) {
	var result Result
	expired, err := x.cfg.Store.ExpireChildrenFinished(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases on finished children: %w", err)
	}
	result.add(expired)
	if err := x.followUps(ctx, expired.Executions); err != nil {
		return result, err
	}
	sweep := x.sweep(limit)
	claimed, err := x.cfg.Store.ClaimChildrenFinished(ctx, Claim{
		Sweep: sweep, ExecutorID: x.id, ExpiresAt: x.leaseEnd(sweep.Now),
	})
	if err != nil {
		err = fmt.Errorf("claim parents: %w", err)
	}
	result.add(claimed)
	return result, errors.Join(err, inParallel(ctx, claimed.Executions, x.processParent))
}

// processParent does what a claimed parent is due for.
func (x *Executor) processParent(ctx context.Context, parent *Execution) error {
	if parent.AllCounted() {
		return x.moveOn(ctx, parent)
	}
	missing, err := x.cfg.Store.CheckSpawn(ctx, parent)
	if err != nil {
		return fmt.Errorf("check the children of execution %s: %w", parent.ID, err)
	}
	if len(missing) > 0 {
		x.log.InfoContext(ctx, "children were missing and are put in", logExecution, parent.ID, logCount, len(missing))
		children, err := x.missingChildren(ctx, parent, missing)
		if err != nil {
			return err
		}
		if err := x.follow.insertChildren(ctx, children); err != nil {
			return err
		}
	}
	return x.spawned(ctx, parent)
}

func (x *Executor) missingChildren(ctx context.Context, parent *Execution, indexes []int) ([]*Execution, error) {
	if parent.Status == StatusWaitingForFinalize {
		child, err := x.finalizeChild(parent, time.Now())
		return []*Execution{child}, err
	}
	return spawn(ctx, x.cfg.Store, parent, indexes, time.Now())
}

// moveOn takes a parent whose children are all counted past them. A parent that another executor holds, or
// whose task is unknown here, is left to others.
func (x *Executor) moveOn(ctx context.Context, parent *Execution) error {
	leased := parent.Family.Processing == ProcessingProcessing
	if leased && parent.ExecutorID != x.id {
		return nil
	}
	if parent.Status == StatusWaitingForFinalize {
		finalize, err := getOne(ctx, x.cfg.Store, parent.ChildID(FinalizeIndex))
		if err != nil {
			return fmt.Errorf("finalize of execution %s: %w", parent.ID, err)
		}
		return x.end(ctx, parent, EndFinalize{Failure: finalizeFailure(finalize)})
	}
	def, known := x.cfg.Registry.lookup(parent.TaskID)
	switch {
	case !known && leased:
		return x.releaseUnknown(ctx, parent)
	case !known:
		return nil
	case def.finalizeTask != nil:
		return x.commitFinalize(ctx, parent, def)
	case def.finalize != nil:
		return x.finalize(ctx, parent, def)
	}
	return x.end(ctx, parent, CompleteFamily{ExecutorID: x.id})
}

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

// commitFinalize commits a parent to its finalize task and puts that in.
func (x *Executor) commitFinalize(ctx context.Context, parent *Execution, def *definition) error {
	now := time.Now()
	after, err := Transition(parent, CommitFinalize{
		ExecutorID: x.id, TaskID: def.finalizeTask.id, CheckAt: now.Add(x.cfg.SpawnCheck),
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
	err = x.put(ctx, Spawn{Update{parent, after}, []*Execution{child}})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err == nil {
		x.startChildren(ctx, []*Execution{child})
	}
	return err
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
	case !leased:
		claimed, err := x.write(ctx, parent, ClaimChildren{ExecutorID: x.id, ExpiresAt: now.Add(parent.Timeout + x.cfg.Leeway)})
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotAllowed) {
			return nil // somebody else was faster
		}
		if err != nil {
			return err
		}
		parent = claimed
		x.pollCancellations(ctx)
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
	log := x.log.With(logExecution, parent.ID, logTask, parent.TaskID, logRoot, parent.RootID)
	r := x.call(ctx, parent, now.Add(parent.Timeout), log, func(ctx context.Context) (outcome, error) {
		data, err := def.finalize(ctx, x.cfg.Codec, value{family: family})
		return outcome{output: data}, err
	})
	if r.cancelled {
		return nil
	}
	if r.err == nil {
		r.err = x.cfg.Limits.checkPayload("the output of task "+parent.TaskID, r.out.output)
	}
	ev := FinishFamily{ExecutorID: x.id, Output: Payload{Data: r.out.output}}
	if r.err != nil {
		failure := x.failure(parent, r).Failure
		ev.Failure = &failure
		log.InfoContext(ctx, "finalize failed", logError, failure.Message)
	}
	return x.end(ctx, parent, ev)
}

// releaseUnknown gives back a claimed parent whose task this executor does not know; after the limit it ends
// finalize_failed.
func (x *Executor) releaseUnknown(ctx context.Context, parent *Execution) error {
	now := time.Now()
	if !parent.UnknownSince.IsZero() && now.Sub(parent.UnknownSince) >= x.cfg.UnknownTaskLimit {
		return x.end(ctx, parent, FinishFamily{ExecutorID: x.id, Failure: x.unknownTask(parent)})
	}
	_, err := x.write(ctx, parent, ReleaseChildren{
		ExecutorID: x.id, Unknown: true, Delay: unknownDelay(parent.UnknownSince, now),
	})
	return err
}

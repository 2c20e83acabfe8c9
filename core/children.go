package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// allFinished takes a parent past its children, all of which are finished, and counts them.
func (x *Executor) allFinished(ctx context.Context, parent *Execution) error {
	units := make([]int, Units(parent.Family.Size))
	for i := range units {
		units[i] = i
	}
	err := ErrConflict
	def, known := x.parentTask(parent)
	switch {
	case !known || def.finalize != nil || parent.late(time.Now()):
	case def.finalizeTask != nil:
		err = x.commitFinalize(ctx, parent, def, units)
	default:
		var after *Execution
		if after, err = x.write(ctx, parent, CompleteFamily{ExecutorID: x.id, Units: units}); err == nil {
			return x.follow.followUp(ctx, after)
		}
	}
	if !errors.Is(err, ErrConflict) {
		return err
	}
	indexes := make([]int, parent.Family.Size)
	for i := range indexes {
		indexes[i] = i
	}
	parent, err = x.countAll(ctx, parent, indexes)
	if err != nil || !parent.Status.waiting() || !parent.AllCounted() {
		return err
	}
	return x.advance(ctx, parent)
}

// advance is moveOn where it is as good that it is left to another executor.
func (x *Executor) advance(ctx context.Context, parent *Execution) error {
	if err := x.moveOn(ctx, parent, nil); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// ProcessChildren takes due parents, at most limit of each kind: those whose children are all finished go on,
// those that may lack a child get it. Parents whose executor died with them are made due again first.
func (x *Executor) ProcessChildren(ctx context.Context, limit int) (Result, error) {
	var result Result
	if !x.begin() {
		return result, nil
	}
	defer x.work.Done()
	expired, err := x.cfg.Store.ExpireChildrenFinished(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases on finished children: %w", err)
	}
	result.add(expired)
	for _, e := range expired.Executions {
		if !e.Status.Finished() || e.FinishedAt.Equal(e.UpdatedAt) {
			x.recovered(ctx, e, QueueParentClaimed, e.Family.Recoveries)
		}
	}
	x.cfg.Observer.swept(ctx, expired.Executions)
	if err := x.followUps(ctx, expired.Executions); err != nil {
		return result, err
	}
	n := x.reserveParents(min(limit, parallelism)) // no more than go on at once: their leases begin now
	if n == 0 {
		result.Unseen = true
		return result, nil
	}
	sweep := x.sweep(n)
	claimed, err := x.cfg.Store.ClaimChildrenFinished(ctx, Claim{
		Sweep: sweep, ExecutorID: x.id, ExpiresAt: x.leaseEnd(sweep.Now), RecoveredBelow: 1,
	})
	if err != nil {
		err = fmt.Errorf("claim parents: %w", err)
	}
	result.add(claimed)
	x.releaseParents(ctx, n-len(claimed.Executions), 0)
	err = errors.Join(err, inParallel(ctx, claimed.Executions, func(ctx context.Context, parent *Execution) error {
		defer x.releaseParents(ctx, 1, 0)
		return x.processParent(ctx, parent)
	}))
	var waiting []*Execution
	for _, parent := range claimed.Recovered { // one of them may have taken its executor along, and the others with it
		o := &outsider{e: parent, times: parent.Family.Recoveries}
		if !x.enterApart(o.times) {
			waiting = append(waiting, parent)
			continue
		}
		result.Done++
		err = errors.Join(err, x.processApart(ctx, o))
	}
	result.Done += x.runApart(ctx, waiting)
	return result, err
}

// corruptDelay is how long a parent waits that cannot go on because a child's record cannot be read. Once that is
// repaired the child's own end moves the parent on.
const corruptDelay = time.Hour

// processParent does what a claimed parent is due for. One that fails is due again a second later.
func (x *Executor) processParent(ctx context.Context, parent *Execution) error {
	err := x.process(ctx, parent)
	if err == nil {
		return nil
	}
	delay := time.Second
	if errors.Is(err, ErrCorrupt) {
		delay = corruptDelay
	}
	_, releaseErr := x.write(ctx, parent, ReleaseChildren{ExecutorID: x.id, Delay: delay})
	if errors.Is(releaseErr, ErrConflict) || errors.Is(releaseErr, ErrNotAllowed) {
		releaseErr = nil // it went on all the same
	}
	return errors.Join(err, releaseErr)
}

func (x *Executor) process(ctx context.Context, parent *Execution) error {
	if parent.AllCounted() || parent.late(time.Now()) {
		return x.advance(ctx, parent)
	}
	indexes := parent.openIndexes()
	if parent.Status == StatusWaitingForFinalize {
		indexes = []int{FinalizeIndex}
	}
	children, err := x.allChildren(ctx, parent, indexes)
	if errors.Is(err, errUnknownHere) {
		return x.releaseUnknown(ctx, parent)
	}
	if err != nil {
		return err
	}
	var finished []int
	for n, child := range children {
		if child.Status.Finished() {
			finished = append(finished, indexes[n])
		}
	}
	switch last := children[len(children)-1]; {
	case len(finished) == 0:
	case !parent.Family.Sequential && parent.Status == StatusWaitingForChildren:
		return x.allExist(ctx, parent, finished)
	case last.Status.Finished():
		return x.moveOnPast(ctx, parent, last)
	}
	return x.spawned(ctx, parent, nil)
}

// countAll counts children that are known to be finished, and returns the parent as it is then as far as that is known.
func (x *Executor) countAll(ctx context.Context, parent *Execution, indexes []int) (*Execution, error) {
	count := Count{ParentID: parent.ID, Indexes: indexes}
	if !parent.Family.Sequential {
		count.Siblings = parent.Family.Size
	}
	err := persist(ctx, func() error {
		result := x.cfg.Store.CountFinished(ctx, time.Now(), []Count{count})[0]
		if result.Parent != nil {
			parent = result.Parent
		}
		return result.Err
	})
	return parent, err
}

// moveOnPast takes a parent past its finished step or finalize execution.
func (x *Executor) moveOnPast(ctx context.Context, parent, last *Execution) error {
	if err := x.moveOn(ctx, parent, last); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// moveOnWithoutCode is moveOn for those who may call no user code.
func (x *Executor) moveOnWithoutCode(ctx context.Context, parent, last *Execution) error {
	if def, known := x.cfg.Registry.lookup(parent.TaskID); known && def.finalize != nil && parent.Status == StatusWaitingForChildren {
		return errLeft
	}
	return x.moveOn(ctx, parent, last)
}

// allChildren reads a parent's children at the given indexes. It puts those that are missing first, and reads again
// then: a child may have been put by its executor meanwhile, as finished and without an entry.
func (x *Executor) allChildren(ctx context.Context, parent *Execution, indexes []int) ([]*Execution, error) {
	for {
		children, err := ReadChildren(ctx, x.cfg.Store, parent, indexes)
		if err != nil {
			return nil, fmt.Errorf("check the children of execution %s: %w", parent.ID, err)
		}
		var missing []int
		for n, child := range children {
			if child == nil {
				missing = append(missing, indexes[n])
			}
		}
		if len(missing) == 0 {
			return children, nil
		}
		about(x.log, parent).InfoContext(ctx, "children were missing and are put in", logCount, len(missing))
		made, err := x.missingChildren(ctx, parent, missing)
		if err != nil {
			return nil, err
		}
		if err := x.follow.putChildren(ctx, parent, made); err != nil {
			return nil, err
		}
	}
}

func (x *Executor) missingChildren(ctx context.Context, parent *Execution, indexes []int) ([]*Execution, error) {
	now := time.Now()
	if parent.Status == StatusWaitingForFinalize {
		if _, known := x.cfg.Registry.lookup(parent.Family.FinalizeTaskID); !known {
			return nil, errUnknownHere
		}
		child, err := x.finalizeChild(ctx, parent, now)
		return []*Execution{child}, err
	}
	specs, err := readManifest(ctx, x.cfg.Store, parent)
	if err != nil {
		return nil, err
	}
	return x.newChildren(parent, indexes, specs, now), nil
}

// parentTask returns the task of a parent, when this executor knows it as what the parent is: in another version of the
// program the task may be one that has no such children.
func (x *Executor) parentTask(parent *Execution) (_ *definition, known bool) {
	def, known := x.cfg.Registry.lookup(parent.TaskID)
	if known && parent.Family.Sequential {
		return def, def.sequence != nil
	}
	return def, known && def.parent
}

// moveOn takes a parent whose children are all counted, or whose time is over, past them; a sequence past a step
// that is finished, which last is where it is at hand. It returns errLeft for a parent that another executor holds, or whose task is unknown here.
func (x *Executor) moveOn(ctx context.Context, parent, last *Execution) error {
	leased := parent.Family.Processing == ProcessingProcessing
	switch {
	case leased && parent.ExecutorID != x.id:
		return errLeft
	case parent.late(time.Now()):
		return x.end(ctx, parent, ExpireFamily{ExecutorID: x.id})
	case parent.Status == StatusWaitingForFinalize:
		finalize, err := getOne(ctx, x.cfg.Store, parent.ChildID(FinalizeIndex))
		if err != nil {
			return fmt.Errorf("finalize of execution %s: %w", parent.ID, err)
		}
		failure, err := childFailure(ctx, x.cfg.Store, finalize)
		if err != nil {
			return err
		}
		return x.end(ctx, parent, EndFinalize{Failure: failure})
	}
	def, known := x.parentTask(parent)
	switch {
	case !known && leased:
		return x.releaseUnknown(ctx, parent)
	case !known:
		return errLeft
	case def.sequence != nil:
		return x.nextStep(ctx, parent, last, def)
	case def.finalizeTask != nil:
		if err := x.commitFinalize(ctx, parent, def, nil); !errors.Is(err, ErrConflict) {
			return err
		}
		return nil
	case def.finalize != nil:
		return x.finalize(ctx, parent, def)
	}
	return x.completeFamily(ctx, parent)
}

// completeFamily ends a parent whose output is its children's results, unless one of them is gone: it was counted long ago,
// and its retention is over.
func (x *Executor) completeFamily(ctx context.Context, parent *Execution) error {
	missing, err := x.cfg.Store.CheckSpawn(ctx, parent)
	if err != nil {
		return fmt.Errorf("look for the children of execution %s: %w", parent.ID, err)
	}
	ev := CompleteFamily{ExecutorID: x.id}
	if len(missing) > 0 {
		gone := &missingChildError{parent.ChildID(missing[0])}
		ev.Failure = newFailure(CodeInvalid, fmt.Sprintf("the results of %d of %d children are lost: %s", len(missing), parent.Family.Size, gone), "")
	}
	return x.end(ctx, parent, ev)
}

package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// follower does what follows a finish: it tells the parent, cancels the descendants and closes. Whatever it
// does not come to, the queue entry that the finished execution keeps makes a sweep do.
type follower struct {
	writer
	count *counter
	// moveOn takes a parent past its children; nil leaves that to the executors, who know the tasks.
	moveOn func(ctx context.Context, parent *Execution) error
}

// followUp does all that is left to do for a finished execution.
func (f *follower) followUp(ctx context.Context, e *Execution) error {
	if e.CloseStatus == CloseClosed {
		return nil
	}
	if e.CloseStatus == CloseIdle && e.Counts() {
		if err := f.tellParent(ctx, e); err != nil {
			return fmt.Errorf("tell the parent of execution %s: %w", e.ID, err)
		}
	}
	if e.hasActiveChildren() {
		if err := f.cancelChildren(ctx, e); err != nil {
			return fmt.Errorf("cancel the children of execution %s: %w", e.ID, err)
		}
	}
	return f.closed(ctx, e)
}

// closed closes an execution; another one having closed it is as good.
func (f *follower) closed(ctx context.Context, e *Execution) error {
	_, err := f.decide(ctx, e, Close{})
	if errors.Is(err, ErrNotAllowed) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// tellParent counts a finished child on its parent, and moves the parent on when it was the last.
func (f *follower) tellParent(ctx context.Context, child *Execution) error {
	if child.Parent.Index == FinalizeIndex {
		return f.endFinalize(ctx, child)
	}
	parent, err := f.count.add(ctx, child)
	if err != nil || parent == nil || !parent.Status.waiting() || !parent.AllCounted() || f.moveOn == nil {
		return err
	}
	return f.moveOn(ctx, parent)
}

// endFinalize ends a parent as its finalize execution ended.
func (f *follower) endFinalize(ctx context.Context, finalize *Execution) error {
	parent, err := getOne(ctx, f.store, finalize.Parent.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	after, err := f.decide(ctx, parent, EndFinalize{Failure: finalizeFailure(finalize)})
	var refused *TransitionError
	switch {
	case errors.As(err, &refused) && refused.Status != StatusWaitingForFinalize:
		return nil // the parent is finished
	case err != nil:
		return err
	}
	return f.followUp(ctx, after)
}

// finalizeFailure returns the failure of a parent whose finalize execution has ended; nil when that completed.
func finalizeFailure(finalize *Execution) *Failure {
	if finalize.Status == StatusCompleted {
		return nil
	}
	failure := failureOf(finalize.Failure)
	failure.Detail = Payload{} // it stays with the finalize execution
	return &failure
}

// cancelChildren ends every unfinished child of a finished parent, and those that are committed but do not
// exist: they are put in as cancelled and closed, so that a late insert loses.
func (f *follower) cancelChildren(ctx context.Context, parent *Execution) error {
	missing, err := f.store.CheckSpawn(ctx, parent)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := f.insertCancelled(ctx, parent, missing); err != nil {
			return err
		}
	}
	ids := parent.ChildIDs()
	if parent.Family.FinalizeTaskID != "" {
		ids = append(ids, parent.ChildID(FinalizeIndex))
	}
	var errs []error
	for ids := range slices.Chunk(ids, 100) {
		children, err := f.store.Get(ctx, ids, Filter{})
		if err != nil {
			return err
		}
		errs = append(errs, inParallel(ctx, children, func(ctx context.Context, child *Execution) error {
			if child == nil {
				return nil
			}
			return f.cancelChild(ctx, parent, child)
		}))
	}
	return errors.Join(errs...)
}

func (f *follower) cancelChild(ctx context.Context, parent, child *Execution) error {
	if child.Status.Finished() {
		return nil
	}
	after, err := f.decide(ctx, child, Cancel{Reason: fmt.Sprintf("its parent is %s", parent.Status), ByParent: true})
	if errors.Is(err, ErrFinished) {
		return nil
	}
	if err != nil || after.CloseStatus == CloseClosed {
		return err
	}
	// The parent is finished and needs no telling: what is left are the child's own children.
	if err := f.cancelChildren(ctx, after); err != nil {
		return err
	}
	return f.closed(ctx, after)
}

// insertCancelled puts children in as cancelled and closed. One that exists by now is left as it is.
func (f *follower) insertCancelled(ctx context.Context, parent *Execution, indexes []int) error {
	now := time.Now()
	children, err := spawn(ctx, f.store, parent, indexes, now)
	if err != nil {
		return err
	}
	for i, child := range children {
		cancelled, err := Transition(child, Cancel{Reason: fmt.Sprintf("its parent is %s", parent.Status), ByParent: true}, now)
		if err != nil {
			return err
		}
		cancelled.Rev, cancelled.Nonce = 1, child.Nonce
		children[i] = cancelled
	}
	return f.insertChildren(ctx, children)
}

// insertChildren puts children; one that exists already is left as it is.
func (w writer) insertChildren(ctx context.Context, children []*Execution) error {
	return persist(ctx, func() error {
		var errs []error
		for i, err := range w.store.Insert(ctx, children) {
			if err != nil && !errors.Is(err, ErrAlreadyExists) {
				errs = append(errs, fmt.Errorf("put child %s: %w", children[i].ID, err))
			}
		}
		return errors.Join(errs...)
	})
}

// spawn makes the first records of a parent's committed children at the given indexes.
func spawn(ctx context.Context, store Store, parent *Execution, indexes []int, now time.Time) ([]*Execution, error) {
	manifest := parent.Family.Manifest
	if err := store.Load(ctx, &manifest); err != nil {
		return nil, err
	}
	specs, err := DecodeManifest(manifest.Data)
	if err != nil {
		return nil, fmt.Errorf("execution %s: %w", parent.ID, err)
	}
	children := make([]*Execution, 0, len(indexes))
	for _, i := range indexes {
		var spec Spec
		switch {
		case i == FinalizeIndex:
			spec = Spec{TaskID: parent.Family.FinalizeTaskID, Timeout: parent.Timeout}
		case i < len(specs):
			spec = specs[i]
		default:
			return nil, fmt.Errorf("execution %s: its manifest has %d children, not %d", parent.ID, len(specs), i+1)
		}
		child := newChild(parent, i, spec, now)
		child.Nonce = NewNonce()
		children = append(children, child)
	}
	return children, nil
}

// parallelism is how many follow-ups of one execution are under way at once.
const parallelism = 16

// inParallel calls do for every item, a bounded number at once, and joins the errors in the items' order.
func inParallel[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, parallelism)
	var group sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = do(ctx, item)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

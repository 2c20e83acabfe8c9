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
	// moveOn takes a parent past its children, or returns errLeft; nil leaves that to the executors, who know the
	// tasks. last is the child that was finished last where it is at hand; else nil.
	moveOn func(ctx context.Context, parent, last *Execution) error
	// parentOf returns the record of a step's parent as it was last seen; nil when that is not known.
	parentOf func(step *Execution) *Execution
}

// followUp does all that is left to do for a finished execution.
func (f *follower) followUp(ctx context.Context, e *Execution) error {
	if e.CloseStatus == CloseIdle && e.Counts() {
		if err := f.tellParent(ctx, e); err != nil {
			return fmt.Errorf("tell the parent of execution %s: %w", e.ID, err)
		}
	}
	return f.endBelow(ctx, e)
}

// followUpSiblings is followUp for finished children of one parent, which are told to it together.
func (f *follower) followUpSiblings(ctx context.Context, siblings []*Execution) error {
	uncounted := slices.DeleteFunc(slices.Clone(siblings), func(e *Execution) bool { return e.CloseStatus != CloseIdle })
	if len(uncounted) > 0 {
		if err := f.countOnParent(ctx, uncounted...); err != nil {
			return fmt.Errorf("tell the parent of %d executions, %s the first: %w", len(uncounted), uncounted[0].ID, err)
		}
	}
	return inParallel(ctx, siblings, func(ctx context.Context, e *Execution) error {
		if err := f.endBelow(ctx, e); !errors.Is(err, ErrConflict) {
			return err
		}
		return nil // somebody else is at it
	})
}

// endBelow ends what is left below a finished execution, and closes it.
func (f *follower) endBelow(ctx context.Context, e *Execution) error {
	if e.CloseStatus == CloseClosed {
		return nil
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
	switch {
	case child.Parent.Index == FinalizeIndex:
		return f.endFinalize(ctx, child)
	case child.Parent.Siblings == 0 && f.moveOn != nil:
		return f.endStep(ctx, child)
	}
	return f.countOnParent(ctx, child)
}

// countOnParent counts finished children, which are no steps, on their parent, and moves it on when they were the last.
func (f *follower) countOnParent(ctx context.Context, children ...*Execution) error {
	parent, err := f.count.add(ctx, children...)
	if err != nil || parent == nil || !parent.Status.waiting() || !parent.AllCounted() || f.moveOn == nil {
		return err
	}
	if err := f.moveOn(ctx, parent, children[len(children)-1]); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// errLeft is what moveOn returns when it is not up to this executor to take a parent past its children.
var errLeft = errors.New("left to another executor")

// endStep takes a sequence past a finished step; the write that does so counts the step as well. Where that is left
// to another executor, the step is counted alone.
func (f *follower) endStep(ctx context.Context, step *Execution) error {
	parent := f.parentOf(step)
	if parent == nil {
		var err error
		parent, err = getOne(ctx, f.store, step.Parent.ID)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	switch p := parent.Family; {
	case !parent.Status.waiting() || p.Sequential && (p.Step != step.Parent.Index || p.StepDone):
		return nil
	case p.Sequential:
		if err := f.moveOn(ctx, parent, step); !errors.Is(err, errLeft) {
			return err
		}
	}
	_, err := f.count.add(ctx, step)
	return err
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
	failure, err := childFailure(ctx, f.store, finalize)
	if err != nil {
		return err
	}
	after, err := f.decide(ctx, parent, EndFinalize{Failure: failure})
	var refused *TransitionError
	switch {
	case errors.As(err, &refused) && refused.Status != StatusWaitingForFinalize:
		return nil // the parent is finished
	case err != nil:
		return err
	}
	return f.followUp(ctx, after)
}

// childFailure returns the failure of a parent whose step or finalize execution has ended; nil when that completed.
func childFailure(ctx context.Context, r Reader, child *Execution) (*Failure, error) {
	if child.Status == StatusCompleted {
		return nil, nil
	}
	below := Failure{Code: CodeFailed, Message: "it is " + string(child.Status)}
	if child.Failure != nil {
		below = *child.Failure
	}
	if !below.Causes.Loaded() {
		if err := r.Load(ctx, &below.Causes); err != nil && !gone(err) {
			return nil, fmt.Errorf("read why execution %s did not complete: %w", child.ID, err)
		}
	}
	step := ""
	if child.Parent.Siblings == 0 && child.Parent.Index != FinalizeIndex {
		step = fmt.Sprintf("step %d", child.Parent.Index)
	}
	return failureBelow(child.TaskID, child.ID, &below, step), nil
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
	var errs []error
	for indexes := range slices.Chunk(parent.openIndexes(), 100) {
		children, err := ReadChildren(ctx, f.store, parent, indexes)
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

// insertCancelled puts children in as cancelled and closed. A sleeper is put in as it is, since its key has to be
// decided on; so it is left to be cancelled. One that exists by now is left as it is.
func (f *follower) insertCancelled(ctx context.Context, parent *Execution, indexes []int) error {
	now := time.Now()
	specs, err := spawnSpecs(ctx, f.store, parent, indexes)
	if err != nil {
		return err
	}
	children := make([]*Execution, len(indexes))
	for n, i := range indexes {
		child := newChild(parent, i, specs[n], now)
		if !child.Status.Finished() && !child.Sleeping() {
			cancelled, err := Transition(child, Cancel{Reason: fmt.Sprintf("its parent is %s", parent.Status), ByParent: true}, now)
			if err != nil {
				return err
			}
			cancelled.Rev = 1
			child = cancelled
		}
		child.Nonce = NewNonce()
		children[n] = child
	}
	return f.putChildren(ctx, parent, children)
}

// putChildren puts children; one that exists already is left as it is. A sleeper that is woken already, or whose
// key is taken, is finished from the beginning and followed up.
func (f *follower) putChildren(ctx context.Context, parent *Execution, children []*Execution) error {
	var taken []*Execution
	err := persist(ctx, func() error {
		var errs []error
		taken = nil
		for i, err := range f.store.Insert(ctx, children) {
			switch {
			case err == nil:
			case !errors.Is(err, ErrAlreadyExists):
				errs = append(errs, fmt.Errorf("put child %s: %w", children[i].ID, err))
			case children[i].Sleeping():
				taken = append(taken, children[i])
			}
		}
		return errors.Join(errs...)
	})
	return errors.Join(err, inParallel(ctx, taken, func(ctx context.Context, child *Execution) error {
		there, err := f.insertSleeper(ctx, child)
		if errors.Is(err, ErrAlreadyExists) {
			if there.childOf(parent, child.Parent.Index) {
				return nil
			}
			there, err = f.insertRefused(ctx, parent, child, there)
		}
		if err != nil || !there.Status.Finished() {
			return err
		}
		return f.followUp(ctx, there)
	}))
}

// insertRefused puts a child that cannot be made in as failed: a sleeper whose key somebody else has.
func (f *follower) insertRefused(ctx context.Context, parent, child, owner *Execution) (*Execution, error) {
	now := Millis(time.Now())
	refused := newChild(parent, child.Parent.Index, Spec{TaskID: child.TaskID, Timeout: child.Timeout}, now)
	refused.Input, refused.Nonce = child.Input, NewNonce()
	taken := fmt.Sprintf("the unique key %q is taken by execution %s of task %s", child.SleepKey, owner.ID, owner.TaskID)
	if owner.Kept {
		taken = keyHolder(owner, child.SleepKey)
	}
	refused.finish(StatusFailed, newFailure(CodeInvalid, taken, ""), now, false)
	err := f.insert(ctx, refused)
	if errors.Is(err, ErrAlreadyExists) {
		return getOne(ctx, f.store, refused.ID)
	}
	return refused, err
}

// spawnSpecs returns the specs of a parent's committed children at the given indexes, sources included.
func spawnSpecs(ctx context.Context, r Reader, parent *Execution, indexes []int) ([]Spec, error) {
	all, err := readManifest(ctx, r, parent)
	if err != nil {
		return nil, err
	}
	specs := make([]Spec, len(indexes))
	for n, i := range indexes {
		spec, ok := parent.specAt(all, i)
		switch {
		case i == FinalizeIndex:
			spec = Spec{TaskID: parent.Family.FinalizeTaskID, Timeout: parent.Timeout}
		case !ok:
			return nil, fmt.Errorf("execution %s: its manifest has %d children, none at %d", parent.ID, len(all), i)
		}
		specs[n] = parent.withSource(all, i, spec)
	}
	return specs, nil
}

// withSource returns the spec of the child at index i, with the source of its input when it has none of its own:
// a first step and the iterations of a loop get what the sequence was given, another step what the one before it
// came to, a child that is born completed what its origin was given.
func (e *Execution) withSource(specs []Spec, i int, spec Spec) Spec {
	switch {
	case spec.OutputOf != "":
		spec.Input, spec.Source = nil, Source{ExecutionID: spec.OutputOf}
	case !e.Family.Sequential || spec.Input != nil:
	case i == 0 || e.Family.Loop:
		spec.Source = Source{ExecutionID: e.ID}
	default:
		before := e.ChildID(i - 1)
		if s, ok := e.specAt(specs, i-1); ok && s.SleepKey != "" {
			before = sleepID(s.SleepKey, s.SleepRound)
		}
		spec.Source = Source{ExecutionID: before, Output: true}
	}
	return spec
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

// grouped returns items in groups of one key each: the groups by their first item, and those of a group, in the items'
// order.
func grouped[T any, K comparable](items []T, key func(T) K) (groups [][]T) {
	places := map[K]int{}
	for _, item := range items {
		k := key(item)
		place, known := places[k]
		if !known {
			place = len(groups)
			places[k] = place
			groups = append(groups, nil)
		}
		groups[place] = append(groups[place], item)
	}
	return groups
}

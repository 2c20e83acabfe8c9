package simtest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// CheckOptions say what Check may expect; the zero value expects least.
type CheckOptions struct {
	// MaxRecoveries is the engines'. Default 5.
	MaxRecoveries int
	// Overdue is how long an entry may have been due without anybody having looked. Default: any time.
	Overdue time.Duration
	// Settled tells that nothing may be left to do: everything is finished and closed, and no flag is up.
	Settled bool
	// Deleted tells that records may have been deleted, so that a missing one breaks nothing.
	Deleted bool
}

// Check returns every invariant of the engine that the records break at now, joined; nil when there is none. The records
// are all that a store holds, as they are at one moment: nobody writes meanwhile. Kept wake-ups may be among them.
//
// It checks that every execution has exactly the queue entry that its state needs, and a closed one none (I1, I2, I9);
// that a parent's active children are those that are not counted (I4); that it went past its children after all of them
// had ended (I5); that attempts and recoveries keep their limits (I7); and that nothing unfinished is left below a closed
// execution (I8). What takes more than one look is for History (I3, I10) and Ledger (I6).
func Check(records iter.Seq[*core.Execution], now time.Time, opts CheckOptions) error {
	if opts.MaxRecoveries == 0 {
		opts.MaxRecoveries = 5
	}
	c := checker{
		opts: opts, now: now, byID: map[string]*core.Execution{}, below: map[string]map[int]*core.Execution{},
	}
	for e := range records {
		c.byID[e.ID] = e
		c.order = append(c.order, e.ID)
		if !e.Counts() {
			continue
		}
		if c.below[e.Parent.ID] == nil {
			c.below[e.Parent.ID] = map[int]*core.Execution{}
		}
		if other := c.below[e.Parent.ID][e.Parent.Index]; other != nil && !c.strays(e, other) {
			c.fail(e, "it is child %d of its parent, as %s is", e.Parent.Index, other.ID)
		}
		c.below[e.Parent.ID][e.Parent.Index] = e
	}
	slices.Sort(c.order)
	for _, id := range c.order {
		c.check(c.byID[id])
	}
	return errors.Join(c.broken...)
}

type checker struct {
	opts   CheckOptions
	now    time.Time
	byID   map[string]*core.Execution
	order  []string
	below  map[string]map[int]*core.Execution // the children that count, by parent and index
	broken []error
}

func (c *checker) fail(e *core.Execution, format string, args ...any) {
	c.broken = append(c.broken, fmt.Errorf("execution %s of task %s, %s, close status %s, queue %q, due in %s, revision %d: %s",
		e.ID, e.TaskID, e.Status, e.CloseStatus, e.Queue, e.DueAt.Sub(c.now), e.Rev, fmt.Sprintf(format, args...)))
}

func (c *checker) check(e *core.Execution) {
	c.checkLimits(e)
	if e.Status.Finished() {
		c.checkFinished(e)
	} else {
		c.checkUnfinished(e)
	}
	if e.Queue != core.QueueNone && c.opts.Overdue > 0 && c.now.Sub(e.DueAt) > c.opts.Overdue {
		c.fail(e, "it is due for %s and nobody looked", c.now.Sub(e.DueAt))
	}
	if c.opts.Settled && (!e.Status.Finished() || e.CloseStatus != core.CloseClosed || e.NeedsCancellation) {
		c.fail(e, "it is left behind, flagged: %t", e.NeedsCancellation)
	}
	if e.NeedsCancellation && e.Status != core.StatusCancelled {
		c.fail(e, "its code is to be stopped, but it is not cancelled")
	}
	c.checkPlace(e)
	if e.Family != nil {
		c.checkFamily(e)
	}
}

// checkLimits checks the counts of attempts and of executors that were lost.
func (c *checker) checkLimits(e *core.Execution) {
	if limit := max(1, e.Retry.MaxAttempts); e.Attempts < 0 || e.Attempts > limit {
		c.fail(e, "it has %d attempts, its policy allows %d", e.Attempts, limit)
	}
	if limit := c.opts.MaxRecoveries; e.Recoveries > limit+1 || e.Recoveries > limit && !e.Status.Finished() {
		c.fail(e, "it was recovered %d times, the limit is %d", e.Recoveries, limit)
	}
	if f, limit := e.Family, c.opts.MaxRecoveries; f != nil && (f.Recoveries > limit+1 || f.Recoveries > limit && !e.Status.Finished()) {
		c.fail(e, "the processing of its children was recovered %d times, the limit is %d", f.Recoveries, limit)
	}
}

// checkUnfinished checks that the one entry of an unfinished execution is the one that its state needs. A store may let
// an entry be due earlier than it has to.
func (c *checker) checkUnfinished(e *core.Execution) {
	if e.CloseStatus != core.CloseIdle || !e.FinishedAt.IsZero() || !e.ClosedAt.IsZero() || !e.Output.IsZero() {
		c.fail(e, "it is unfinished, but has an end")
	}
	queue, due := core.QueueReady, e.StartAt
	switch {
	case e.Status == core.StatusReady:
	case e.Sleeping():
		queue, due = core.QueueSleeping, e.ExpiresAt
	case e.Status == core.StatusRunning:
		queue, due = core.QueueRunning, e.ExpiresAt
	case e.Family == nil:
		c.fail(e, "it waits for children, but has none")
		return
	case e.Family.Processing == core.ProcessingProcessing:
		queue, due = core.QueueParentClaimed, e.Family.ProcessingExpiresAt
	case e.Queue == core.QueueNone:
		c.checkUnattended(e)
		return
	default:
		queue, due = core.QueueParent, e.DueAt
	}
	if e.Queue != queue || e.DueAt.IsZero() || e.DueAt.After(due) {
		c.fail(e, "it must have its entry in queue %q, due at %s, and has it due at %s", queue, due, e.DueAt)
	}
	if held := e.Status == core.StatusRunning && !e.Sleeping() || queue == core.QueueParentClaimed; held != (e.ExecutorID != "") {
		c.fail(e, "its executor is %q", e.ExecutorID)
	}
}

// checkUnattended checks that a waiting parent without an entry has an unclosed child for each unit that is not counted.
func (c *checker) checkUnattended(e *core.Execution) {
	if !e.Family.Spawned || e.AllCounted() || !e.FinishBy.IsZero() {
		c.fail(e, "nobody looks at it again: spawned %t, all counted %t", e.Family.Spawned, e.AllCounted())
		return
	}
	for unit := range c.uncounted(e) {
		open := slices.ContainsFunc(unit, func(i int) bool {
			child := c.child(e, i)
			return child != nil && child.CloseStatus != core.CloseClosed
		})
		if !open {
			c.fail(e, "nobody looks at it again: its children %v are not counted, and none of them has an entry", unit)
		}
	}
}

// uncounted returns the children that a waiting parent waits for, by the units that they are counted in.
func (c *checker) uncounted(e *core.Execution) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		f := e.Family
		switch {
		case e.Status == core.StatusWaitingForFinalize:
			if !f.FinalizeCounted {
				yield([]int{core.FinalizeIndex})
			}
			return
		case f.Sequential:
			if !f.StepDone {
				yield([]int{f.Step})
			}
			return
		}
		for unit := range core.Units(f.Size) {
			if !slices.Contains(f.Counted, unit) && !yield(unitOf(f, unit)) {
				return
			}
		}
	}
}

// unitOf returns the indexes of the children that a unit counts.
func unitOf(f *core.Family, unit int) []int {
	if f.Sequential || f.Size <= core.CountDirect {
		return []int{unit}
	}
	indexes := make([]int, core.BucketSize(f.Size, unit))
	for i := range indexes {
		indexes[i] = unit*core.CountBucket + i
	}
	return indexes
}

func (c *checker) checkFinished(e *core.Execution) {
	switch {
	case e.FinishedAt.IsZero():
		c.fail(e, "it is finished, but its end is not known")
	case (e.Status == core.StatusCompleted) != (e.Failure == nil):
		c.fail(e, "its failure is %v", e.Failure)
	}
	if closed := e.CloseStatus == core.CloseClosed; closed != (e.Queue == core.QueueNone) || closed != !e.ClosedAt.IsZero() ||
		(e.Queue == core.QueueNone) != e.DueAt.IsZero() {
		c.fail(e, "what is closed has no entry, what is not has one: due at %s, closed at %s", e.DueAt, e.ClosedAt)
	}
	queues := map[core.CloseStatus][]core.Queue{
		core.CloseIdle:    {core.QueueRunning, core.QueueParentClaimed, core.QueueFinished},
		core.CloseReady:   {core.QueueClose},
		core.CloseClosing: {core.QueueClosing},
		core.CloseClosed:  {core.QueueNone},
	}
	if !slices.Contains(queues[e.CloseStatus], e.Queue) {
		c.fail(e, "its entry belongs in one of %q", queues[e.CloseStatus])
	}
	if e.Kept && e.CloseStatus != core.CloseClosed {
		c.fail(e, "it is a kept wake-up and not closed")
	}
}

// checkPlace checks an execution's place in its tree.
func (c *checker) checkPlace(e *core.Execution) {
	if e.Parent == nil {
		if e.RootID != e.ID {
			c.fail(e, "it has no parent, but its root is %s", e.RootID)
		}
		return
	}
	parent := c.byID[e.Parent.ID]
	switch {
	case parent == nil:
		if !c.opts.Deleted {
			c.fail(e, "its parent %s does not exist", e.Parent.ID)
		}
	case parent.RootID != e.RootID:
		c.fail(e, "its root is %s, its parent's %s", e.RootID, parent.RootID)
	case !e.Counts():
	case !commits(parent, e.Parent.Index):
		c.fail(e, "its parent did not commit to it")
	case !e.Sleeping() && parent.ChildID(e.Parent.Index) != e.ID:
		c.fail(e, "it is child %d of a family that its parent does not have", e.Parent.Index)
	}
}

// commits reports whether an execution is committed to a child at an index.
func commits(parent *core.Execution, i int) bool {
	switch f := parent.Family; {
	case f == nil:
		return false
	case i == core.FinalizeIndex:
		return f.FinalizeTaskID != ""
	case f.Sequential:
		return i <= f.Step
	default:
		return i < f.Size
	}
}

// strays reports whether one of two records of the same place below a parent does not count: a sleeper that took its
// key, beside one that was put for the same place before, which is the one that its parent reads.
func (c *checker) strays(a, b *core.Execution) bool { return a.Sleeping() != b.Sleeping() }

// child returns the parent's child at an index as the parent reads it; nil when there is none.
func (c *checker) child(parent *core.Execution, i int) *core.Execution {
	if child := c.byID[parent.ChildID(i)]; child != nil {
		return child
	}
	if child := c.below[parent.ID][i]; child != nil && child.Sleeping() {
		return child
	}
	return nil
}

func (c *checker) checkFamily(e *core.Execution) {
	f := e.Family
	for _, unit := range f.Counted {
		for _, i := range unitOf(f, unit) {
			c.mustBeFinished(e, i, "it is counted")
		}
	}
	if f.StepDone {
		c.mustBeFinished(e, f.Step, "it is counted")
	}
	if f.FinalizeCounted {
		c.mustBeFinished(e, core.FinalizeIndex, "it is counted")
	}
	past := e.Status == core.StatusWaitingForFinalize || f.FinalizeTaskID != "" ||
		e.Status == core.StatusCompleted || e.Status == core.StatusFinalizeFailed
	for _, i := range e.ChildIndexes() {
		switch {
		case f.Sequential && i < f.Step && !f.Spawned && e.RedriveOf != "" && !e.Status.Finished() && c.child(e, i) == nil:
			// Steps that are born completed are put after the commitment.
		case i != core.FinalizeIndex && (past || f.Sequential && i < f.Step):
			c.mustBeFinished(e, i, "its parent went past it")
		case e.CloseStatus == core.CloseClosed:
			c.mustBeFinished(e, i, "its parent is closed")
		case f.Spawned && c.child(e, i) == nil && !c.opts.Deleted:
			c.fail(e, "all its children are said to exist, but child %d does not", i)
		}
	}
}

func (c *checker) mustBeFinished(parent *core.Execution, i int, why string) {
	switch child := c.child(parent, i); {
	case child == nil:
		if !c.opts.Deleted {
			c.fail(parent, "its child %d does not exist, but %s", i, why)
		}
	case !child.Status.Finished():
		c.fail(parent, "its child %d, execution %s, is %s, but %s", i, child.ID, child.Status, why)
	}
}

package core

import (
	"fmt"
	"slices"
	"time"
)

// CommitChildren commits a parent to its children, or to the steps of a sequence up to Step. running ->
// waiting_for_children. It is due for the check that all of them exist at CheckAt; with no children it is due at
// once.
type CommitChildren struct {
	ExecutorID string
	RunOutput  Payload
	Nonce      string // of the family
	Size       int
	Manifest   Payload
	Sequential bool
	Loop       bool
	Step       int
	Sleepers   bool
	CheckAt    time.Time
}

func (CommitChildren) name() string   { return "commit_children" }
func (CommitChildren) from() []Status { return []Status{StatusRunning} }

func (ev CommitChildren) apply(e *Execution, now time.Time) string {
	if reason := e.holder(ev.ExecutorID); reason != "" {
		return reason
	}
	e.startClock()
	e.Status, e.WaitingForChildrenAt = StatusWaitingForChildren, now
	e.ExecutorID, e.ExpiresAt, e.Failure = "", time.Time{}, nil
	e.RunOutput = ev.RunOutput
	e.endEpisode()
	e.Family = &Family{
		Nonce: ev.Nonce, Size: ev.Size, Manifest: ev.Manifest, Spawned: ev.Size == 0, Processing: ProcessingIdle,
		Sequential: ev.Sequential, Loop: ev.Loop, Step: ev.Step, Sleepers: ev.Sleepers,
	}
	due := e.by(ev.CheckAt)
	if ev.Size == 0 {
		due = now
	}
	e.entry(QueueParent, due)
	return ""
}

// by returns at, or the end of StartToFinish where that comes before.
func (e *Execution) by(at time.Time) time.Time {
	if e.late(at) {
		return e.FinishBy
	}
	return at
}

// CommitStep commits a sequence to its next step, the step before being finished, which it counts as well.
// waiting_for_children -> waiting_for_children. The entry of the last check, if it is still in queue parent and not
// due before KeepUntil, stays as it is, which costs no index write; else the check that the step exists is due at
// CheckAt.
type CommitStep struct {
	ExecutorID string
	Finished   int // index of the step that is finished
	Manifest   Payload
	Sleepers   bool
	KeepUntil  time.Time
	CheckAt    time.Time
}

func (CommitStep) name() string   { return "commit_step" }
func (CommitStep) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev CommitStep) apply(e *Execution, _ time.Time) string {
	if reason := e.endStep(ev.Finished, ev.ExecutorID); reason != "" {
		return reason
	}
	f := e.Family
	if f.Step+1 >= f.Size {
		return fmt.Sprintf("step %d is the last", f.Step)
	}
	f.Step, f.StepDone, f.Spawned = f.Step+1, false, false
	f.Manifest, f.Sleepers = ev.Manifest, f.Sleepers || ev.Sleepers
	e.endFamilyEpisode()
	if e.Queue != QueueParent || e.DueAt.Before(ev.KeepUntil) {
		e.releaseChildren(e.by(ev.CheckAt))
	}
	return ""
}

// endFamilyEpisode is endEpisode for what follows the children: it has got one stage further.
func (e *Execution) endFamilyEpisode() {
	e.endEpisode()
	e.Family.Recoveries = 0
}

// endStep counts the step of a sequence that is under way. The reason is empty when executor may do so.
func (e *Execution) endStep(step int, executor string) (reason string) {
	switch f := e.Family; {
	case !f.Sequential:
		return "its children are no steps"
	case f.Step != step:
		return fmt.Sprintf("step %d is under way", f.Step)
	case f.Processing == ProcessingProcessing:
		if reason := e.holder(executor); reason != "" {
			return reason
		}
	}
	e.Family.StepDone = true
	return ""
}

// EndSequence ends a sequence whose step, which it counts as well, is the last one or did not complete.
// waiting_for_children -> completed, or failed when Failure is not nil.
type EndSequence struct {
	ExecutorID string
	Finished   int // index of the step that is finished
	Output     Payload
	Failure    *Failure
}

func (EndSequence) name() string   { return "end_sequence" }
func (EndSequence) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev EndSequence) apply(e *Execution, now time.Time) string {
	if reason := e.endStep(ev.Finished, ev.ExecutorID); reason != "" {
		return reason
	}
	leased := e.endFamily(now)
	status := StatusCompleted
	if ev.Failure != nil {
		status = StatusFailed
	} else {
		e.Output = ev.Output
	}
	e.finish(status, ev.Failure, now, leased)
	return ""
}

// ExpireFamily ends a parent that took longer than StartToFinish. Both waiting statuses -> timed_out.
type ExpireFamily struct{ ExecutorID string }

func (ExpireFamily) name() string   { return "expire_family" }
func (ExpireFamily) from() []Status { return waiting() }

func (ev ExpireFamily) apply(e *Execution, now time.Time) string {
	if !e.late(now) {
		return "its start-to-finish timeout is not over"
	}
	if e.Family.Processing == ProcessingProcessing {
		if reason := e.holder(ev.ExecutorID); reason != "" {
			return reason
		}
	}
	leased := e.endFamily(now)
	e.finish(StatusTimedOut, tooLong(e, ""), now, leased)
	return ""
}

// ChildrenSpawned tells that every committed child, or the committed finalize task, exists, and counts units of finished
// children. The parent then needs no entry before the end of StartToFinish, unless all are counted: it is due at once
// then.
type ChildrenSpawned struct{ Units []int }

func (ChildrenSpawned) name() string   { return "children_spawned" }
func (ChildrenSpawned) from() []Status { return waiting() }

func (ev ChildrenSpawned) apply(e *Execution, now time.Time) string {
	known := e.Family.Spawned
	e.Family.Counted = addUnits(e.Family.Counted, ev.Units)
	switch {
	case known:
		return "that is known"
	case e.Family.Processing == ProcessingProcessing && e.AllCounted():
		return "its finished children are being processed"
	}
	e.Family.Spawned, e.Family.Processing = true, ProcessingIdle
	e.Family.ProcessingExpiresAt, e.ExecutorID = time.Time{}, ""
	e.endFamilyEpisode()
	switch {
	case e.AllCounted():
		e.entry(QueueParent, now)
	case !e.FinishBy.IsZero():
		e.entry(QueueParent, e.FinishBy)
	default:
		e.entry(QueueNone, time.Time{})
	}
	return ""
}

// PostponeCheck makes the check that all children exist due later, while the executor that committed them is still
// making them. It keeps its status.
type PostponeCheck struct{ CheckAt time.Time }

func (PostponeCheck) name() string   { return "postpone_check" }
func (PostponeCheck) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev PostponeCheck) apply(e *Execution, _ time.Time) string {
	switch {
	case e.Family.Spawned:
		return "its children exist"
	case e.Queue != QueueParent || e.AllCounted():
		return "the check is due or under way"
	}
	e.entry(QueueParent, e.by(ev.CheckAt))
	return ""
}

// CountChildren adds units of finished children to the parent's set, or the finalize task. A union that
// completes the set makes the parent due at once; one that adds nothing is refused. A store may write any other
// union without raising the revision, since it conflicts with nothing.
type CountChildren struct {
	Units    []int
	Finalize bool
}

func (CountChildren) name() string   { return "count_children" }
func (CountChildren) from() []Status { return waiting() }

func (ev CountChildren) apply(e *Execution, now time.Time) string {
	f, complete, known := e.Family, e.AllCounted(), true
	if f.Sequential {
		if !f.StepDone && slices.Contains(ev.Units, f.Step) {
			f.StepDone, known = true, false
		}
	} else if union := addUnits(f.Counted, ev.Units); len(union) > len(f.Counted) {
		f.Counted, known = union, false
	}
	if ev.Finalize && f.FinalizeTaskID != "" && !f.FinalizeCounted {
		f.FinalizeCounted, known = true, false
	}
	if known {
		return "that is known"
	}
	if !complete && e.AllCounted() && f.Processing == ProcessingIdle {
		e.entry(QueueParent, now)
	}
	return ""
}

// ClaimChildren gives a due parent to an executor, which makes the missing children, or goes on past the
// finished ones, under a lease. idle -> processing.
type ClaimChildren struct {
	ExecutorID string
	ExpiresAt  time.Time
	// RecoveredBelow refuses parents whose processing was recovered that often or more, unless StartToFinish is over; 0
	// refuses none.
	RecoveredBelow int
}

func (ClaimChildren) name() string   { return "claim_children" }
func (ClaimChildren) from() []Status { return waiting() }

func (ev ClaimChildren) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueParent, now); reason != "" {
		return reason
	}
	if n := e.Family.Recoveries; ev.RecoveredBelow > 0 && n >= ev.RecoveredBelow && !e.over(now) {
		return fmt.Sprintf("its processing was recovered %d times, and has to go apart", n)
	}
	e.ExecutorID = ev.ExecutorID
	e.Family.Processing, e.Family.ProcessingExpiresAt = ProcessingProcessing, Millis(ev.ExpiresAt)
	e.entry(QueueParentClaimed, ev.ExpiresAt)
	return ""
}

// ReleaseChildren undoes ClaimChildren: the parent is due again after Delay. processing -> idle.
type ReleaseChildren struct {
	ExecutorID string
	Delay      time.Duration
	Unknown    bool // the executor does not know the task
	Known      bool // it does, and its code decoded the family, which ends the time for which that was unknown
	Late       bool // the time of the finalize function was over before it could begin; that counts for nothing
}

func (ReleaseChildren) name() string   { return "release_children" }
func (ReleaseChildren) from() []Status { return waiting() }

func (ev ReleaseChildren) apply(e *Execution, now time.Time) string {
	if reason := e.processedBy(ev.ExecutorID); reason != "" {
		return reason
	}
	if ev.Unknown || ev.Known {
		e.unknown(ev.Unknown, now)
	}
	e.releaseChildren(now.Add(ev.Delay))
	return ""
}

func (e *Execution) releaseChildren(due time.Time) {
	e.ExecutorID = ""
	e.Family.Processing, e.Family.ProcessingExpiresAt = ProcessingIdle, time.Time{}
	e.entry(QueueParent, due)
}

// processedBy returns why executor does not hold the lease on the children's processing; empty when it does.
func (e *Execution) processedBy(executor string) string {
	if e.Family.Processing != ProcessingProcessing {
		return "its children are not being processed"
	}
	return e.holder(executor)
}

// ExpireChildren looks at a parent whose lease on the children's processing ran out. It is due again at
// once, processing -> idle, or failed after MaxRecoveries.
type ExpireChildren struct{ MaxRecoveries int }

func (ExpireChildren) name() string   { return "expire_children" }
func (ExpireChildren) from() []Status { return append(waiting(), finished()...) }

func (ev ExpireChildren) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueParentClaimed, now); reason != "" {
		return reason
	}
	if e.Status.Finished() {
		e.entry(QueueFinished, now)
		return ""
	}
	e.Family.Recoveries++
	e.UnknownSince = time.Time{} // as in ExpireLease
	if e.Family.Recoveries > ev.MaxRecoveries {
		e.endFamily(now)
		e.finish(StatusFailed, crashed(e.Family.Recoveries), now, false)
		return ""
	}
	e.releaseChildren(now)
	return ""
}

// endFamily notes that the family's processing is over. It reports whether the executor held a lease on it,
// whose entry a finish may keep.
func (e *Execution) endFamily(now time.Time) (leased bool) {
	leased = e.Family.Processing == ProcessingProcessing
	e.Family.Processing, e.Family.ProcessedAt, e.Family.ProcessingExpiresAt = ProcessingProcessed, now, time.Time{}
	return leased
}

// movable returns why the parent may not go past its children yet; empty when it may. An executor needs no
// lease to move it on: the revision decides between two of them. But nobody moves on what another one holds.
func (e *Execution) movable(executor string) string {
	switch {
	case e.Family.Sequential:
		return "its children are steps"
	case !e.AllCounted():
		return "a child is not counted"
	}
	if e.Family.Processing == ProcessingProcessing {
		return e.holder(executor)
	}
	return ""
}

// CompleteFamily ends a parent without finalize once all children are counted, the given units included.
// waiting_for_children -> completed, or failed when Failure is not nil: the children's results are not there any more.
type CompleteFamily struct {
	ExecutorID string
	Units      []int
	Failure    *Failure
}

func (CompleteFamily) name() string   { return "complete_family" }
func (CompleteFamily) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev CompleteFamily) apply(e *Execution, now time.Time) string {
	e.Family.Counted = addUnits(e.Family.Counted, ev.Units)
	if reason := e.movable(ev.ExecutorID); reason != "" {
		return reason
	}
	leased := e.endFamily(now)
	status := StatusCompleted
	if ev.Failure != nil {
		status = StatusFailed
	}
	e.finish(status, ev.Failure, now, leased)
	return ""
}

// FinishFamily ends a parent with what its finalize function returned. waiting_for_children -> completed,
// or finalize_failed when Failure is not nil. It takes the lease on the children's processing, since user code ran.
type FinishFamily struct {
	ExecutorID string
	Output     Payload
	Failure    *Failure
}

func (FinishFamily) name() string   { return "finish_family" }
func (FinishFamily) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev FinishFamily) apply(e *Execution, now time.Time) string {
	if reason := e.processedBy(ev.ExecutorID); reason != "" {
		return reason
	}
	if reason := e.movable(ev.ExecutorID); reason != "" {
		return reason
	}
	leased := e.endFamily(now)
	status := StatusCompleted
	switch {
	case ev.Failure == nil:
		e.Output = ev.Output
	case ev.Failure.Code == CodeStartToFinish && ev.Failure.timedOut():
		status = StatusTimedOut
	default:
		status = StatusFinalizeFailed
	}
	e.RunOutput = Payload{}
	e.finish(status, ev.Failure, now, leased)
	return ""
}

// CommitFinalize commits a parent to its finalize task once all children are counted, the given units included.
// waiting_for_children -> waiting_for_finalize. The check that the finalize execution exists is due at CheckAt, or,
// where the parent's entry is in queue parent and not due before KeepUntil, when that is due, which costs no index
// write.
type CommitFinalize struct {
	ExecutorID string
	TaskID     string
	Units      []int
	KeepUntil  time.Time
	CheckAt    time.Time
}

func (CommitFinalize) name() string   { return "commit_finalize" }
func (CommitFinalize) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev CommitFinalize) apply(e *Execution, now time.Time) string {
	e.Family.Counted = addUnits(e.Family.Counted, ev.Units)
	if reason := e.movable(ev.ExecutorID); reason != "" {
		return reason
	}
	e.Status, e.WaitingForFinalizeAt = StatusWaitingForFinalize, now
	e.Family.FinalizeTaskID, e.Family.Spawned = ev.TaskID, false
	e.endFamilyEpisode()
	if e.Queue != QueueParent || e.DueAt.Before(ev.KeepUntil) {
		e.releaseChildren(e.by(ev.CheckAt))
	}
	return ""
}

// EndFinalize ends a parent as its finalize task ended, which it counts as well. waiting_for_finalize ->
// completed, with the finalize task's output for its own, or finalize_failed when Failure is not nil.
// Nobody's code runs in that status, so it takes no lease.
type EndFinalize struct{ Failure *Failure }

func (EndFinalize) name() string   { return "end_finalize" }
func (EndFinalize) from() []Status { return []Status{StatusWaitingForFinalize} }

func (ev EndFinalize) apply(e *Execution, now time.Time) string {
	leased := e.endFamily(now)
	status := StatusCompleted
	if ev.Failure != nil {
		status = StatusFinalizeFailed
	}
	e.RunOutput = Payload{}
	e.Family.Spawned, e.Family.FinalizeCounted = true, true
	e.finish(status, ev.Failure, now, leased)
	return ""
}

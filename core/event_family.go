package core

import "time"

// CommitChildren commits a parent to its children. running -> waiting_for_children. It is due for the check
// that all children exist at CheckAt; with no children it is due at once.
type CommitChildren struct {
	ExecutorID string
	RunOutput  Payload
	Nonce      string // of the family
	Size       int
	Manifest   Payload
	CheckAt    time.Time
}

func (CommitChildren) name() string   { return "commit_children" }
func (CommitChildren) from() []Status { return []Status{StatusRunning} }

func (ev CommitChildren) apply(e *Execution, now time.Time) string {
	if reason := e.holder(ev.ExecutorID); reason != "" {
		return reason
	}
	e.Status, e.WaitingForChildrenAt = StatusWaitingForChildren, now
	e.ExecutorID, e.ExpiresAt, e.Failure = "", time.Time{}, nil
	e.RunOutput = ev.RunOutput
	e.Family = &Family{
		Nonce: ev.Nonce, Size: ev.Size, Manifest: ev.Manifest, Spawned: ev.Size == 0, Processing: ProcessingIdle,
	}
	due := ev.CheckAt
	if ev.Size == 0 {
		due = now
	}
	e.entry(QueueParent, due)
	return ""
}

// ChildrenSpawned tells that every committed child, or the committed finalize task, exists. The parent then
// needs no entry, unless all are counted already: it is due at once then.
type ChildrenSpawned struct{}

func (ChildrenSpawned) name() string   { return "children_spawned" }
func (ChildrenSpawned) from() []Status { return waiting() }

func (ChildrenSpawned) apply(e *Execution, now time.Time) string {
	switch {
	case e.Family.Spawned:
		return "that is known"
	case e.Family.Processing == ProcessingProcessing && e.AllCounted():
		return "its finished children are being processed"
	}
	e.Family.Spawned, e.Family.Processing = true, ProcessingIdle
	e.Family.ProcessingExpiresAt, e.ExecutorID = time.Time{}, ""
	if e.AllCounted() {
		e.entry(QueueParent, now)
	} else {
		e.entry(QueueNone, time.Time{})
	}
	return ""
}

// CountChildren adds units of finished children to the parent's set, or the finalize task. A union that
// completes the set makes the parent due at once. A store may write any other union without raising the
// revision, since it conflicts with nothing.
type CountChildren struct {
	Units    []int
	Finalize bool
}

func (CountChildren) name() string   { return "count_children" }
func (CountChildren) from() []Status { return waiting() }

func (ev CountChildren) apply(e *Execution, now time.Time) string {
	complete := e.AllCounted()
	e.Family.Counted = addUnits(e.Family.Counted, ev.Units)
	if ev.Finalize && e.Family.FinalizeTaskID != "" {
		e.Family.FinalizeCounted = true
	}
	if !complete && e.AllCounted() && e.Family.Processing == ProcessingIdle {
		e.entry(QueueParent, now)
	}
	return ""
}

// ClaimChildren gives a due parent to an executor, which makes the missing children, or goes on past the
// finished ones, under a lease. idle -> processing.
type ClaimChildren struct {
	ExecutorID string
	ExpiresAt  time.Time
}

func (ClaimChildren) name() string   { return "claim_children" }
func (ClaimChildren) from() []Status { return waiting() }

func (ev ClaimChildren) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueParent, now); reason != "" {
		return reason
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
}

func (ReleaseChildren) name() string   { return "release_children" }
func (ReleaseChildren) from() []Status { return waiting() }

func (ev ReleaseChildren) apply(e *Execution, now time.Time) string {
	if reason := e.processedBy(ev.ExecutorID); reason != "" {
		return reason
	}
	if ev.Unknown && e.UnknownSince.IsZero() {
		e.UnknownSince = now
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
	if !e.AllCounted() {
		return "a child is not counted"
	}
	if e.Family.Processing == ProcessingProcessing {
		return e.holder(executor)
	}
	return ""
}

// CompleteFamily ends a parent without finalize once all children are counted. waiting_for_children ->
// completed.
type CompleteFamily struct{ ExecutorID string }

func (CompleteFamily) name() string   { return "complete_family" }
func (CompleteFamily) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev CompleteFamily) apply(e *Execution, now time.Time) string {
	if reason := e.movable(ev.ExecutorID); reason != "" {
		return reason
	}
	leased := e.endFamily(now)
	e.finish(StatusCompleted, nil, now, leased)
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
	if ev.Failure != nil {
		status = StatusFinalizeFailed
	} else {
		e.Output = ev.Output
	}
	e.RunOutput = Payload{}
	e.finish(status, ev.Failure, now, leased)
	return ""
}

// CommitFinalize commits a parent to its finalize task. waiting_for_children -> waiting_for_finalize. An entry
// that a sweep's claim put elsewhere is due for the check that the finalize execution exists at CheckAt; one that
// is in queue parent stays as it is, which costs no index write.
type CommitFinalize struct {
	ExecutorID string
	TaskID     string
	CheckAt    time.Time
}

func (CommitFinalize) name() string   { return "commit_finalize" }
func (CommitFinalize) from() []Status { return []Status{StatusWaitingForChildren} }

func (ev CommitFinalize) apply(e *Execution, now time.Time) string {
	if reason := e.movable(ev.ExecutorID); reason != "" {
		return reason
	}
	e.Status, e.WaitingForFinalizeAt = StatusWaitingForFinalize, now
	e.Family.FinalizeTaskID, e.Family.Spawned = ev.TaskID, false
	if e.Queue != QueueParent {
		e.releaseChildren(ev.CheckAt)
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

package core

import (
	"fmt"
	"slices"
	"time"
)

// Event is something that happens to an execution. What it does is decided by Transition alone.
type Event interface {
	// name is the event's name in errors and in the table of what is allowed.
	name() string
	// from lists the statuses in which the event is allowed.
	from() []Status
	// apply changes e, a copy that Transition owns. A non-empty reason means that the state does not allow the
	// event for all that its status does; e is then dropped.
	apply(e *Execution, now time.Time) (reason string)
}

// Transition returns the record that ev makes of e at now, with its revision raised; e is not changed. It is
// pure: the same arguments give the same record. The error is a *TransitionError. The caller gives the new
// record its nonce and writes it on the condition that the stored revision is still e's.
func Transition(e *Execution, ev Event, now time.Time) (*Execution, error) {
	refused := &TransitionError{ExecutionID: e.ID, Status: e.Status, Event: ev.name()}
	if !slices.Contains(ev.from(), e.Status) {
		return nil, refused
	}
	now = Millis(now)
	after := e.clone()
	if refused.Reason = ev.apply(after, now); refused.Reason != "" {
		return nil, refused
	}
	after.Rev++
	after.UpdatedAt = now
	return after, nil
}

// Sets of statuses that events are allowed in.
func unfinished() []Status {
	return []Status{StatusReady, StatusRunning, StatusWaitingForChildren, StatusWaitingForFinalize}
}

func finished() []Status {
	return []Status{StatusCompleted, StatusFailed, StatusTimedOut, StatusFinalizeFailed, StatusCancelled}
}

func waiting() []Status { return []Status{StatusWaitingForChildren, StatusWaitingForFinalize} }

// entry puts the execution's one queue entry.
func (e *Execution) entry(q Queue, due time.Time) {
	e.Queue, e.DueAt = q, Millis(due)
	if q == QueueNone {
		e.DueAt = time.Time{}
	}
}

// finish ends the execution. With nothing to follow up it is closed in the same write. A lease holder keeps
// its entry, which is looked at when the lease ends; anybody else puts one that is due at once.
func (e *Execution) finish(s Status, f *Failure, now time.Time, keepEntry bool) {
	e.Status, e.Failure, e.FinishedAt, e.CloseStatus = s, f, now, CloseIdle
	if s != StatusCompleted {
		e.RunOutput = Payload{}
	}
	switch {
	case e.Parent == nil && !e.hasActiveChildren():
		e.close(now)
	case !keepEntry:
		e.entry(QueueFinished, now)
	}
}

func (e *Execution) close(now time.Time) {
	e.CloseStatus, e.ClosedAt, e.CloseExpiresAt = CloseClosed, now, time.Time{}
	e.entry(QueueNone, time.Time{})
}

// hasActiveChildren reports whether a committed child may be unfinished.
func (e *Execution) hasActiveChildren() bool { return e.Family != nil && !e.AllCounted() }

// holder returns why somebody else than executor holds the lease; empty when executor does.
func (e *Execution) holder(executor string) string {
	if e.ExecutorID != executor {
		return fmt.Sprintf("executor %q holds the lease", e.ExecutorID)
	}
	return ""
}

// dueIn returns why the execution is not due in q; empty when it is.
func (e *Execution) dueIn(q Queue, now time.Time) string {
	switch {
	case e.Queue != q:
		return fmt.Sprintf("its entry is in queue %q", e.Queue)
	case e.DueAt.After(now):
		return "it is not due"
	}
	return ""
}

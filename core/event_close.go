package core

import (
	"fmt"
	"time"
)

// Cancel ends an execution whatever it was doing. Code that may be running is flagged, for its executor to
// be told. Any unfinished status -> cancelled.
type Cancel struct {
	Reason string
	// ByParent tells that the parent is finished: it need not be told of this end.
	ByParent bool
}

func (Cancel) name() string   { return "cancel" }
func (Cancel) from() []Status { return unfinished() }

func (ev Cancel) apply(e *Execution, now time.Time) string {
	e.NeedsCancellation = e.Status == StatusRunning && !e.Sleeping() ||
		e.Family != nil && e.Family.Processing == ProcessingProcessing
	e.finish(StatusCancelled, newFailure(CodeCancelled, ev.Reason, ""), now, false)
	if ev.ByParent && !e.hasActiveChildren() {
		e.close(now)
	}
	return ""
}

// ClearCancellation takes back the flag of a cancelled execution: its executor has been told, or its lease
// is over.
type ClearCancellation struct{}

func (ClearCancellation) name() string   { return "clear_cancellation" }
func (ClearCancellation) from() []Status { return []Status{StatusCancelled} }

func (ClearCancellation) apply(e *Execution, _ time.Time) string {
	if !e.NeedsCancellation {
		return "it is not flagged"
	}
	e.NeedsCancellation = false
	return ""
}

// MarkClosable tells that the parent of a finished execution has counted it. idle -> ready, in queue close,
// or closed when nothing is left below it.
type MarkClosable struct{}

func (MarkClosable) name() string   { return "mark_closable" }
func (MarkClosable) from() []Status { return finished() }

func (MarkClosable) apply(e *Execution, now time.Time) string {
	if e.CloseStatus != CloseIdle {
		return fmt.Sprintf("its close status is %s", e.CloseStatus)
	}
	if !e.hasActiveChildren() {
		e.close(now)
		return ""
	}
	e.CloseStatus = CloseReady
	e.entry(QueueClose, now)
	return ""
}

// ClaimClose gives a finished execution to somebody who cancels its descendants. ready -> closing.
type ClaimClose struct{ ExpiresAt time.Time }

func (ClaimClose) name() string   { return "claim_close" }
func (ClaimClose) from() []Status { return finished() }

func (ev ClaimClose) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueClose, now); reason != "" {
		return reason
	}
	e.CloseStatus, e.CloseExpiresAt = CloseClosing, Millis(ev.ExpiresAt)
	e.entry(QueueClosing, ev.ExpiresAt)
	return ""
}

// Close tells that nothing is left to follow up. Any other close status -> closed.
type Close struct{}

func (Close) name() string   { return "close" }
func (Close) from() []Status { return finished() }

func (Close) apply(e *Execution, now time.Time) string {
	if e.CloseStatus == CloseClosed {
		return "it is closed"
	}
	e.close(now)
	return ""
}

// ExpireClose looks at an execution whose lease on closing ran out. closing -> ready, due after a delay that
// doubles with each time, from 2 s to 10 min: closing is never given up.
type ExpireClose struct{}

func (ExpireClose) name() string   { return "expire_close" }
func (ExpireClose) from() []Status { return finished() }

func (ExpireClose) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueClosing, now); reason != "" {
		return reason
	}
	e.CloseRecoveries++
	e.CloseStatus, e.CloseExpiresAt = CloseReady, time.Time{}
	e.entry(QueueClose, now.Add(closeDelay(e.CloseRecoveries)))
	return ""
}

func closeDelay(recoveries int) time.Duration {
	return min(time.Second<<min(recoveries, 20), 10*time.Minute)
}

package core

// Status is where an execution stands. Its values are persisted.
type Status string

// The statuses of an execution. An execution is unfinished in the first four.
const (
	StatusReady              Status = "ready"
	StatusRunning            Status = "running"
	StatusWaitingForChildren Status = "waiting_for_children"
	StatusWaitingForFinalize Status = "waiting_for_finalize"
	StatusCompleted          Status = "completed"
	StatusFailed             Status = "failed"
	StatusTimedOut           Status = "timed_out"
	StatusFinalizeFailed     Status = "finalize_failed"
	StatusCancelled          Status = "cancelled"
)

// Statuses returns every status, unfinished ones first.
func Statuses() []Status {
	return []Status{
		StatusReady, StatusRunning, StatusWaitingForChildren, StatusWaitingForFinalize,
		StatusCompleted, StatusFailed, StatusTimedOut, StatusFinalizeFailed, StatusCancelled,
	}
}

// Finished reports whether s is final: the status, output and failure of a finished execution never change.
func (s Status) Finished() bool {
	switch s {
	case StatusCompleted, StatusFailed, StatusTimedOut, StatusFinalizeFailed, StatusCancelled:
		return true
	case StatusReady, StatusRunning, StatusWaitingForChildren, StatusWaitingForFinalize:
	}
	return false
}

// waiting reports whether s is one of the two statuses of a parent whose family is at work.
func (s Status) waiting() bool {
	return s == StatusWaitingForChildren || s == StatusWaitingForFinalize
}

// CloseStatus is how far the follow-up of a finished execution has come: telling its parent, cancelling what
// is left below it. Its values are persisted.
type CloseStatus string

// The close statuses.
const (
	CloseIdle    CloseStatus = "idle"    // unfinished, or finished and the parent perhaps not told yet
	CloseReady   CloseStatus = "ready"   // the parent is told; descendants are to be cancelled
	CloseClosing CloseStatus = "closing" // somebody is cancelling the descendants, under a lease
	CloseClosed  CloseStatus = "closed"  // nothing is left to do
)

// ProcessingStatus is how far a waiting parent has come in what follows its last child. Its values are
// persisted.
type ProcessingStatus string

// The processing statuses.
const (
	ProcessingIdle       ProcessingStatus = "idle"
	ProcessingProcessing ProcessingStatus = "processing"
	ProcessingProcessed  ProcessingStatus = "processed"
)

// Queue names the logical queue in which an execution's one entry stands; QueueNone means that nobody has to
// look at it. Its values are persisted.
type Queue string

// The queues, and what an entry's due time is in each.
const (
	QueueNone          Queue = ""
	QueueReady         Queue = "ready"          // when the attempt may start
	QueueRunning       Queue = "running"        // when the lease of the attempt ends
	QueueSleeping      Queue = "sleeping"       // when the sleep times out
	QueueParent        Queue = "parent"         // now when all children are counted, else when to check that all exist
	QueueParentClaimed Queue = "parent-claimed" // when the lease on the finished children's processing ends
	QueueFinished      Queue = "finished"       // now: the parent has to be told
	QueueClose         Queue = "close"          // when the descendants are to be cancelled
	QueueClosing       Queue = "closing"        // when the lease on closing ends
)

// Queues returns every queue that can hold an entry.
func Queues() []Queue {
	return []Queue{
		QueueReady, QueueRunning, QueueSleeping, QueueParent, QueueParentClaimed,
		QueueFinished, QueueClose, QueueClosing,
	}
}

package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sentinels for errors.Is.
var (
	// ErrNotFound means that no execution has the given id.
	ErrNotFound = errors.New("execution not found")
	// ErrAlreadyExists means that an execution with the same id exists; it was left as it was.
	ErrAlreadyExists = errors.New("execution already exists")
	// ErrConflict means that the record changed since it was read; nothing was written.
	ErrConflict = errors.New("record changed since it was read")
	// ErrNotAllowed means that the event is not allowed in the execution's state; nothing was written.
	ErrNotAllowed = errors.New("not allowed in this state")
	// ErrFinished means that the execution is finished, so that the call changed nothing.
	ErrFinished = errors.New("execution is finished")
	// ErrUnknownOutcome means that a write got no answer: it may have taken effect. Asking again with the same
	// id, or reading the execution, tells.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrUnknownTask means that no task with the given id is registered.
	ErrUnknownTask = errors.New("unknown task")
	// ErrInvalid means that an argument, an option or an input breaks a rule that the message names.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge means that a payload is over its limit, in bytes.
	ErrTooLarge = errors.New("too large")
	// ErrCorrupt means that what the store holds of an execution, its record or a payload, cannot be read: attributes are
	// missing or wrong. Nothing was lost or written; the message names the execution and what is wrong.
	ErrCorrupt = errors.New("corrupt")
	// ErrPanicked means that the task's code panicked.
	ErrPanicked = errors.New("the code panicked")
	// ErrScheduleToStart means that an attempt waited longer than its ScheduleToStart for an executor.
	ErrScheduleToStart = errors.New("waited longer for an executor than the schedule-to-start timeout")
	// ErrCrashed means that executors died with the execution more often than the limit allows.
	ErrCrashed = errors.New("crashed too often")
	// ErrNotListed means that the store keeps no list of executions; the message says how to switch it on.
	ErrNotListed = errors.New("the store keeps no list of executions")
)

// ConflictError is the error of a write whose record has changed. It matches ErrConflict.
type ConflictError struct {
	// Current is the record as it stands now.
	Current *Execution
}

// Error names the execution.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("execution %s: %v", e.Current.ID, ErrConflict)
}

// Unwrap returns ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// TransitionError is the error of an event that the state of an execution does not allow. It matches
// ErrNotAllowed, and ErrFinished when the execution is finished.
type TransitionError struct {
	ExecutionID string
	Status      Status
	Event       string
	// Reason says what else stood against it; empty when the status alone did.
	Reason string
}

// Error names the execution, its status and the event.
func (e *TransitionError) Error() string {
	s := fmt.Sprintf("execution %s is %s: %s %v", e.ExecutionID, e.Status, e.Event, ErrNotAllowed)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is reports whether target is ErrNotAllowed, or ErrFinished for a finished execution.
func (e *TransitionError) Is(target error) bool {
	return target == ErrNotAllowed || target == ErrFinished && e.Status.Finished()
}

// ExecutionError is what waiting for an execution returns when it did not complete.
//
// errors.Is finds in it the sentinels of the failure's code and of all codes in its chain, such as ErrCancelled: so it
// tells as well what happened below. errors.As finds the *FailError that Fail made, and the *Failure.
type ExecutionError struct {
	ExecutionID string
	TaskID      string
	Status      Status
	Failure     Failure

	codec  Codec   // nil for JSON
	origin *origin // nil when it is not known
}

// Error begins with the cause. It names the execution, and the one in which it began when that was another one.
func (e *ExecutionError) Error() string {
	text := fmt.Sprintf("%s [task %s, execution %s %s", e.Failure.Message, e.TaskID, e.ExecutionID, e.Status)
	if chain := e.Failure.Chain(); len(chain) > 0 {
		first := chain[len(chain)-1]
		text += fmt.Sprintf("; it began in task %s, execution %s", first.TaskID, first.ExecutionID)
	}
	return text + "]"
}

// Unwrap returns the failure.
func (e *ExecutionError) Unwrap() error { return &e.Failure }

// As sets a target of type **FailError when the failure's code is a task's own.
func (e *ExecutionError) As(target any) bool {
	c := e.codec
	if c == nil {
		c = JSON{}
	}
	return e.Failure.as(target, e, c)
}

// Children is ChildResult.Children of the execution that did not complete.
func (e *ExecutionError) Children(ctx context.Context) ([]ChildResult, error) {
	return e.origin.childResults(ctx, e.ExecutionID)
}

type nonRetryableError struct{ error }

func (e nonRetryableError) Unwrap() error { return e.error }

// NonRetryable marks err so that the attempt that returns it is the last one. A nil err stays nil.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	return nonRetryableError{err}
}

type retryAfterError struct {
	error
	after time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks err so that the next attempt, if the policy allows one, starts after d and not after the
// policy's delay. d counts in whole milliseconds, below 0 as 0 and above 30 days, the longest delay of a policy, as that.
// A nil err stays nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return retryAfterError{err, min(max(0, d), maxRetryDelay)}
}

// invalidf returns an error that matches ErrInvalid.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w "+format, append([]any{ErrInvalid}, args...)...)
}

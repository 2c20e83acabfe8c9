package core

import (
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

// FailureCode says what kind of failure ended an attempt or an execution. Its values are persisted.
type FailureCode string

// The failure codes.
const (
	CodeFailed    FailureCode = "failed"    // the user's code returned an error
	CodePanicked  FailureCode = "panicked"  // the user's code panicked; Detail holds the stack
	CodeTimedOut  FailureCode = "timed_out" // an attempt or a sleep took longer than its Timeout
	CodeCancelled FailureCode = "cancelled"
	// CodeStartToFinish means that the execution took longer than its StartToFinish.
	CodeStartToFinish FailureCode = "start_to_finish"
	// CodeScheduleToStart means that an attempt waited longer than its ScheduleToStart for an executor.
	CodeScheduleToStart FailureCode = "schedule_to_start"
	CodeCrashed         FailureCode = "crashed"   // executors died with it more often than the limit allows
	CodeNotFound        FailureCode = "not_found" // no executor knew the task within the limit
	CodeInvalid         FailureCode = "invalid"   // an input, output or child breaks a limit or does not decode
)

// timeout reports whether the code is one of an execution that ends timed out.
func (c FailureCode) timeout() bool {
	return c == CodeTimedOut || c == CodeStartToFinish || c == CodeScheduleToStart
}

// maxFailureMessage is how many bytes of a failure's message stay in the record; a longer text goes to Detail.
const maxFailureMessage = 200

// Failure is why an attempt or an execution did not succeed, as it is persisted.
type Failure struct {
	Code FailureCode
	// Message is at most 200 bytes long.
	Message string
	// Detail is the text when Message had to be cut, and a panic's stack; often empty. Of a text or a stack of more than
	// 16 KB it has the first 16 KB, and how much was left out.
	Detail Payload
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// newFailure cuts text to what a record may hold, at a character boundary, and keeps the whole of it, with
// stack when there is one, as detail, each as far as maxFailureText allows.
func newFailure(code FailureCode, text, stack string) *Failure {
	text, stack = bounded(text), bounded(stack)
	f := &Failure{Code: code, Message: text}
	if len(text) > maxFailureMessage {
		f.Message = text[:runeStart(text, maxFailureMessage-len("…"))] + "…"
	}
	if f.Message != text || stack != "" {
		detail := text
		if stack != "" {
			detail += "\n\n" + stack
		}
		f.Detail = Payload{Data: []byte(detail)}
	}
	return f
}

// ExecutionError is what waiting for an execution returns when it did not complete.
type ExecutionError struct {
	ExecutionID string
	TaskID      string
	Status      Status
	Failure     Failure
}

// Error names the task, the execution, its status and the failure.
func (e *ExecutionError) Error() string {
	return fmt.Sprintf("task %s, execution %s %s: %s", e.TaskID, e.ExecutionID, e.Status, e.Failure.Message)
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

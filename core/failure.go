package core

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// FailureCode says what kind of failure ended an attempt or an execution: one of those below, or what a task gave to
// Fail. Its values are persisted.
type FailureCode string

// The engine's failure codes.
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

// sentinel returns the error that a failure with the code matches; nil for none.
func (c FailureCode) sentinel() error {
	switch c {
	case CodePanicked:
		return ErrPanicked
	case CodeTimedOut:
		return ErrAttemptTimedOut
	case CodeCancelled:
		return ErrCancelled
	case CodeStartToFinish:
		return ErrStartToFinish
	case CodeScheduleToStart:
		return ErrScheduleToStart
	case CodeCrashed:
		return ErrCrashed
	case CodeNotFound:
		return ErrUnknownTask
	case CodeInvalid:
		return ErrInvalid
	case CodeFailed: // and a code of the user's
	}
	return nil
}

// engines reports whether the code is one of the engine's.
func (c FailureCode) engines() bool { return c == CodeFailed || c.sentinel() != nil }

// maxFailureMessage is how many bytes of a failure's message stay in the record; a longer text goes to Detail.
const maxFailureMessage = 200

// Failure is why an attempt or an execution did not succeed, as it is persisted. It is an error: errors.Is and errors.As
// find in it what they find in an *ExecutionError.
//
// An execution that failed because another one did, such as a parent because of a child, has the code and the data of
// that one, and a message that begins with that one's cause. Chain has what lies between.
type Failure struct {
	// Code is that of the failure in which it began, unless a task on the way up chose another one by Fail.
	Code FailureCode
	// Message begins with the text of the failure in which it began. What tasks on the way up had to say follows in
	// brackets. It is at most 200 bytes long.
	Message string
	// Detail is the text when Message had to be cut, or a panic's stack; often empty. It stays with the execution
	// whose text it is: see Chain. Of a text or a stack of more than 16 KB it has the first 16 KB, and how much was left out.
	Detail Payload
	// Data is what Fail was given beside the error, encoded by the codec; often empty.
	Data Payload
	// Causes is what Chain returns, encoded; empty for an execution that failed by itself.
	Causes Payload
	// TooLarge tells, of the code invalid or of one in the chain, that something was over its limit: the failure matches
	// ErrTooLarge.
	TooLarge bool
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Is reports whether target is the sentinel of the failure's code, or of one in its chain.
func (f *Failure) Is(target error) bool {
	if f == nil || target == nil {
		return false
	}
	if f.Code.sentinel() == target || f.TooLarge && target == ErrTooLarge {
		return true
	}
	return slices.ContainsFunc(f.Chain(), func(c Cause) bool { return c.Code.sentinel() == target })
}

// As sets a target of type **FailError when the code is a task's own.
func (f *Failure) As(target any) bool { return f.as(target, f, JSON{}) }

// as is As where the FailError unwraps to err.
func (f *Failure) as(target any, err error, c Codec) bool {
	to, ok := target.(**FailError)
	if !ok || f == nil || f.Code.engines() || !validCode(string(f.Code)) {
		return false
	}
	*to = &FailError{Code: string(f.Code), err: err, text: f.Message, read: true, data: f.Data.Data, codec: c}
	return true
}

// Payloads returns the failure's payloads, to be read or changed.
func (f *Failure) Payloads() []*Payload { return []*Payload{&f.Detail, &f.Data, &f.Causes} }

// DataJSON returns the data that Fail was given as JSON; bytes that are not JSON become base64 text. It is nil when there
// is none or it is not loaded.
func (f *Failure) DataJSON() json.RawMessage {
	if f == nil || f.Data.Data == nil {
		return nil
	}
	text, err := value{data: f.Data.Data}.json()
	if err != nil {
		return nil
	}
	return text
}

// timedOut reports whether an execution with the failure ends timed out. That somebody below it did is not enough.
func (f *Failure) timedOut() bool {
	return f.Causes.IsZero() && (f.Code == CodeTimedOut || f.Code == CodeStartToFinish || f.Code == CodeScheduleToStart)
}

// newFailure cuts text to what a record may hold, at a character boundary, and keeps the whole of it, with
// stack when there is one, as detail, each as far as maxFailureText allows.
func newFailure(code FailureCode, text, stack string) *Failure {
	text, stack = bounded(text), bounded(stack)
	f := &Failure{Code: code, Message: cut(text, maxFailureMessage)}
	if f.Message != text || stack != "" {
		detail := text
		if stack != "" {
			detail += "\n\n" + stack
		}
		f.Detail = Payload{Data: []byte(detail)}
	}
	return f
}

// invalidFailure returns the failure of what breaks a rule, and would again.
func invalidFailure(err error) *Failure {
	f := newFailure(CodeInvalid, err.Error(), "")
	var noted *userError
	f.TooLarge = errors.Is(err, ErrTooLarge) || errors.As(err, &noted) && noted.tooLarge
	return f
}

// cut returns text, or its beginning and an ellipsis, in at most limit bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:runeStart(text, limit-len("…"))] + "…"
}

// Cause is a failed execution that made another one fail.
type Cause struct {
	TaskID      string      `json:"task_id"`
	ExecutionID string      `json:"execution_id"`
	Code        FailureCode `json:"code"`
	// Message is that of the execution's own failure.
	Message string `json:"message"`
	// LeftOut is how many executions between this one and the next were left out of a long chain.
	LeftOut int `json:"left_out,omitempty"`
}

// maxCauses bounds a chain: of a longer one the middle is left out.
const maxCauses = 64

// Chain returns the failed executions that led to the failure: the child that failed first, and in the end the execution
// in which it began. Of a chain of more than 64 the first and the last 32 are there. It is nil for an execution that
// failed by itself, and for a record whose payloads are not loaded: see Client.LoadCauses.
func (f *Failure) Chain() []Cause {
	if f == nil || f.Causes.Data == nil {
		return nil
	}
	var stored storedChain
	if json.Unmarshal(f.Causes.Data, &stored) != nil {
		return nil
	}
	root := f.Message[:max(0, min(stored.Root, len(f.Message)))]
	chain := make([]Cause, len(stored.Causes))
	for i, c := range stored.Causes {
		c = append(c, "", "", "", "")
		chain[i] = Cause{TaskID: c[0], ExecutionID: c[1], Code: FailureCode(c[2]), Message: root + c[3]}
	}
	if i := maxCauses/2 - 1; i < len(chain) {
		chain[i].LeftOut = stored.LeftOut
	}
	return chain
}

// storedChain is a chain as it is persisted. The cause, with which the messages of all failures in it begin, and that of
// the failure that has it, is stored in the latter alone.
type storedChain struct {
	Root int `json:"n"` // how many bytes of the failure's message are the cause
	// Causes are a task id, an execution id, a code and, unless it is empty, what follows the cause in the message.
	Causes  [][]string `json:"c"`
	LeftOut int        `json:"x,omitempty"` // behind the first 32
}

// encodeChain returns the chain of a failure with the given message; no payload for an empty one.
func encodeChain(message string, chain []Cause) Payload {
	if len(chain) == 0 {
		return Payload{}
	}
	root := chain[len(chain)-1].Message
	for _, m := range append([]Cause{{Message: message}}, chain...) {
		if !strings.HasPrefix(m.Message, root) {
			root = "" // somebody else made it
		}
	}
	stored := storedChain{Root: len(root), Causes: make([][]string, len(chain))}
	for i, c := range chain {
		stored.Causes[i] = []string{cut(c.TaskID, maxKey), cut(c.ExecutionID, maxKey), string(c.Code)}
		if more := c.Message[len(root):]; more != "" {
			stored.Causes[i] = append(stored.Causes[i], more)
		}
		stored.LeftOut += c.LeftOut
	}
	data, err := json.Marshal(stored)
	if err != nil {
		return Payload{} // never: it is made of strings
	}
	return Payload{Data: data}
}

// failureBelow returns the failure of an execution that fails because another one did, with what there is to add to the
// message. The other one's payloads, as far as it has them, are not copied.
func failureBelow(taskID, id string, below *Failure, added string) *Failure {
	chain := below.Chain()
	root, more := below.Message, ""
	if n := len(chain); n > 0 && strings.HasPrefix(root, chain[n-1].Message) {
		root = chain[n-1].Message
		more = strings.TrimSuffix(strings.TrimPrefix(below.Message[len(root):], " ("), ")")
	}
	chain = slices.Insert(chain, 0, Cause{TaskID: taskID, ExecutionID: id, Code: below.Code, Message: below.Message})
	if middle := maxCauses / 2; len(chain) > maxCauses {
		left := 1
		for _, c := range chain {
			left += c.LeftOut
		}
		chain = slices.Delete(chain, middle, middle+1)
		for i := range chain {
			chain[i].LeftOut = 0
		}
		chain[middle-1].LeftOut = left
	}
	f := newFailure(below.Code, root, "")
	switch {
	case strings.HasPrefix(added, "step ") && strings.Contains(more, "step "):
		added = "" // the step further down tells more, and the chain tells all
	case added != "" && more != "":
		added += ": "
	}
	if added += more; added != "" {
		f.add(added)
	}
	f.Data, f.TooLarge, f.Causes = below.Data, below.TooLarge, encodeChain(f.Message, chain)
	return f
}

// add puts text in brackets behind the message, as far as there is room; what has none goes to Detail.
func (f *Failure) add(text string) {
	const least = 20 // bytes of text that say something
	text = bounded(text)
	whole := f.Message + " (" + text + ")"
	room := maxFailureMessage - len(f.Message) - len(" ()")
	if len(text) > room && f.Detail.IsZero() {
		f.Detail = Payload{Data: []byte(whole)}
	}
	if len(text) <= room || room >= least {
		f.Message += " (" + cut(text, room) + ")"
	}
}

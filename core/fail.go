package core

import (
	"errors"
	"fmt"
	"strings"

	"github.com/perdure-dev/perdure/core/guard"
)

// Fail returns an error for a task to return, with a code and data that others can act on: errors.As finds it as a
// *FailError in what Handle.Wait and Task.Result return, through any number of parents, sequences, loops and finalizers
// above the task that failed. The code is that of the failure's record as well.
//
//	return core.Fail("card_declined", err, Declined{Retry: false})
//
// The message is err's. errors.Is and errors.As go on to err in the process that made it; of err, its text alone is
// persisted. A nil err stays nil, whatever the code. Fail goes together with NonRetryable and RetryAfter, and with
// fmt.Errorf and %w, either way round; by itself it does not end the retries. Of several Fails around each other the
// outermost counts.
//
// A code has 1 to 64 letters, digits, '_', '-' and '.', and is none of the engine's, such as "failed". It is a constant,
// made for programs: codes are in logs, metrics and traces. Data is any value that the codec encodes, at most 8 KB of it;
// nil for none. It is taken as it is when Fail is called (for a codec other than JSON, when the task returns). A code that
// breaks the rule, and data that is too large or does not encode, are left out, and the message says so: the attempt
// fails all the same.
func Fail(code string, err error, data any) error {
	if err == nil {
		return nil
	}
	e := &FailError{Code: code, err: err, codec: JSON{}}
	if data != nil {
		e.value = data
		e.encode()
	}
	return e
}

// encode encodes the data. The data's own methods may panic: Fail then leaves the data out and keeps the failure.
func (e *FailError) encode() {
	defer func() {
		if p := recover(); p != nil {
			e.data, e.encoding = nil, errors.New(guard.Text(p))
		}
	}()
	e.data, e.encoding = encodeValue(e.codec, e.value)
}

// FailError is the error that Fail made, in the process that made it or read again from what was persisted.
type FailError struct {
	// Code is the code that Fail was given.
	Code string

	err      error // what Fail was given, or, of one that was read, the error that it was found in
	text     string
	read     bool
	value    any    // nil for none, and for one that was read
	data     []byte // the value, encoded by codec; nil for none
	encoding error  // why there is no data
	codec    Codec
}

// Error returns the message of the error that Fail was given; of one that was read from a parent, that of the parent's
// failure, which begins with it.
func (e *FailError) Error() string {
	if e.read {
		return e.text
	}
	return e.err.Error()
}

// Unwrap returns the error that Fail was given; of one that was read, the error that it was found in.
func (e *FailError) Unwrap() error { return e.err }

// HasData reports whether there is data.
func (e *FailError) HasData() bool { return e.data != nil }

// Decode decodes the data that Fail was given into v, a pointer. The error matches ErrInvalid when there is none.
func (e *FailError) Decode(v any) error {
	switch {
	case e.encoding != nil:
		return invalidf("data of the failure %s: %w", e.Code, e.encoding)
	case e.data == nil:
		return invalidf("failure %s: it has no data", e.Code)
	}
	if err := decodeCopy(e.codec, e.data, v); err != nil {
		return fmt.Errorf("decode data of the failure %s into %T: %w", e.Code, v, err)
	}
	return nil
}

// maxFailureData is how many bytes of data a failure keeps.
const maxFailureData = 8 << 10

// maxCode is how long a code of a task's own may be.
const maxCode = 64

// validCode reports whether a code follows the rule for those of Fail.
func validCode(code string) bool {
	if len(code) < 1 || len(code) > maxCode || FailureCode(code).engines() {
		return false
	}
	for i := range len(code) {
		switch c := code[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// encoded returns the data as a codec encodes it; nil for none.
func (e *FailError) encoded(c Codec) ([]byte, error) {
	data, err := e.data, e.encoding
	if _, same := c.(JSON); !same && e.value != nil {
		err = guarded(func() (err error) {
			data, err = encodeValue(c, e.value)
			return err
		})
	}
	if err == nil && len(data) > maxFailureData {
		err = fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrTooLarge, len(data), maxFailureData)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// told is what else the engine keeps of an error that user code returned.
type told struct {
	fail *FailError // the outermost; nil for none
	// below is the failure of another execution that the error is about, the first that is found in it; nil for none.
	below      *Failure
	taskID, id string // of that execution; empty where they are not known
	shown      string // how it stands in the error's text
}

// see takes down one of the errors in a user's error.
func (t *told) see(err error) {
	switch e := err.(type) { //nolint:errorlint // walkErrors unwraps
	case *ExecutionError:
		if t.below == nil {
			t.below, t.taskID, t.id, t.shown = &e.Failure, e.TaskID, e.ExecutionID, e.Error()
		}
	case *Failure:
		if t.below == nil {
			t.below, t.shown = e, e.Message
		}
	default:
		if t.fail == nil {
			isA(err, &t.fail)
		}
	}
}

// failure returns the failure that an error of the user's makes of an execution, for which the engine has a code of its
// own, or CodeFailed.
func (e *userError) failure(c Codec, code FailureCode) *Failure {
	f := newFailure(code, e.text, e.stack)
	f.TooLarge = e.tooLarge && code == CodeInvalid
	if code != CodeFailed {
		return f
	}
	if e.told.below != nil {
		below := *e.told.below // which anybody may have made
		below.Message = newFailure("", below.Message, "").Message
		if below.Data.Ref = ""; len(below.Data.Data) > maxFailureData {
			below.Data = Payload{}
		}
		if !below.Code.engines() && !validCode(string(below.Code)) {
			below.Code = CodeFailed
		}
		f = failureBelow(e.told.taskID, e.told.id, &below, e.added())
	}
	fail := e.told.fail
	if fail == nil {
		return f
	}
	if !validCode(fail.Code) {
		f.add(fmt.Sprintf("the code %q is left out: it must have 1 to %d letters, digits, '_', '-' and '.', and be none of the engine's",
			cut(fail.Code, maxCode), maxCode))
		return f
	}
	f.Code, f.Data = FailureCode(fail.Code), Payload{}
	data, err := fail.encoded(c)
	if err != nil {
		f.add(fmt.Sprintf("the data is left out: %v", err))
	} else if data != nil {
		f.Data = Payload{Data: data}
	}
	return f
}

// added returns what the text says besides how the failure below stands in it.
func (e *userError) added() string {
	text := e.text
	for _, shown := range []string{e.told.shown, e.told.below.Message} {
		if shown != "" && strings.Contains(text, shown) {
			text = strings.Replace(text, shown, "", 1)
			break
		}
	}
	return strings.Trim(strings.ReplaceAll(text, ": : ", ": "), ":;,\n ")
}

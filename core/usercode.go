package core

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/perdure-dev/perdure/core/guard"
)

// Everything of the user's that the engine calls goes through goUser: functions of tasks, and methods of values that
// they take and return, which are a task's function in disguise. A panic there, or the end of the goroutine, is a
// failure of the attempt that it belongs to and of nothing else.

// methodLimit is how long a method of the user's may take that is not bounded by an attempt's timeout, such as
// UnmarshalJSON of a loop's state.
const methodLimit = 10 * time.Second

// userError is what the engine keeps of an error that user code returned, or of its panic. Error and the other methods
// of the user's error are called while it is made, and never after.
type userError struct {
	text  string
	stack string // of a panic
	// invalid tells that the input, the output or a child breaks a rule, so that no attempt would fare better.
	invalid bool
	// undecoded tells that the input did not decode, which an executor of another version may be able to do.
	undecoded bool
	// final tells that the user wants no further attempt.
	final bool
	// after is the delay that RetryAfter asked for, when hasAfter.
	after    time.Duration
	hasAfter bool
	err      error // the user's own; nil after a panic
	// tooLarge tells that ErrTooLarge is in it.
	tooLarge bool
	told     told
}

func (e *userError) Error() string { return e.text }

// goUser calls f, which is the user's or calls what is, in a goroutine of its own. The channel gets one element when f is
// over: nil when it returned without an error.
func goUser(f func() error) <-chan *userError {
	return guard.Go(func() *userError { return noteError(f()) }, func(failed guard.Failure) *userError {
		return &userError{text: failed.Text, stack: failed.Stack}
	})
}

// guarded is goUser that waits for f, at most methodLimit. The error is a *userError.
func guarded(f func() error) error {
	timer := time.NewTimer(methodLimit)
	defer timer.Stop()
	select {
	case err := <-goUser(f):
		if err != nil {
			return err
		}
		return nil
	case <-timer.C:
		return &userError{text: fmt.Sprintf("the code has not returned after %s", methodLimit)}
	}
}

// guardedCall is guarded for a call by the user's own code, which may ask with errors.Is and errors.As for what the user's
// method returned.
func guardedCall(f func() error) error {
	err := guarded(f)
	var e *userError
	if errors.As(err, &e) && e.err != nil {
		return &callError{e}
	}
	return err
}

// callError has the text that was taken down. errors.Is and errors.As find in it what the user's own error has. They call
// that error's methods through guarded, because those may panic or never return.
type callError struct{ *userError }

func (e *callError) Is(target error) bool {
	return guardedOr(false, func() (is bool) {
		walkErrors(e.err, func(err error) {
			asked, ok := err.(interface{ Is(error) bool })
			is = is || reflect.TypeOf(target).Comparable() && err == target || ok && asked.Is(target) //nolint:errorlint // walkErrors unwraps
		})
		return is
	})
}

func (e *callError) As(target any) bool {
	return guardedOr(false, func() (as bool) {
		to := reflect.ValueOf(target).Elem()
		walkErrors(e.err, func(err error) {
			if as {
				return
			}
			if as = reflect.TypeOf(err).AssignableTo(to.Type()); as {
				to.Set(reflect.ValueOf(err))
			} else if asked, ok := err.(interface{ As(any) bool }); ok { //nolint:errorlint // walkErrors unwraps
				as = asked.As(target)
			}
		})
		return as
	})
}

// guardedOr returns what f returns, or other when f fails or takes longer than methodLimit.
func guardedOr[T any](other T, f func() T) T {
	made := make(chan T, 1)
	_ = guarded(func() error { made <- f(); return nil })
	select {
	case other = <-made:
	default:
	}
	return other
}

// noteError takes down an error of the user's; nil for nil.
func noteError(err error) *userError {
	if err == nil {
		return nil
	}
	e := &userError{err: err}
	walkErrors(err, func(err error) {
		var (
			input inputError
			limit *limitError
			no    nonRetryableError
			after retryAfterError
		)
		switch {
		case isA(err, &input):
			e.invalid, e.undecoded = true, e.undecoded || input.decode
		case isA(err, &limit):
			e.invalid = true
		case isA(err, &no):
			e.final = true
		case isA(err, &after) && !e.hasAfter:
			e.after, e.hasAfter = after.after, true
		}
		e.tooLarge = e.tooLarge || err == ErrTooLarge //nolint:errorlint // walkErrors unwraps
		e.told.see(err)
	})
	e.text = err.Error()
	return e
}

// isA is errors.As for err alone, and not for what it unwraps to. A method As that panics says no.
func isA[T error](err error, target *T) (is bool) {
	defer func() { _ = recover() }()
	if t, ok := err.(T); ok { //nolint:errorlint // for err alone
		*target = t
		return true
	}
	as, ok := err.(interface{ As(any) bool })
	return ok && as.As(target)
}

// undecodedBy reports whether an error of guarded is that of a value that does not decode here.
func undecodedBy(err error) bool {
	var e *userError
	return errors.As(err, &e) && e.undecoded
}

// walkLimit is how many errors of one tree are looked at: a user's error may unwrap to itself.
const walkLimit = 1000

// walkErrors calls see for err and what it unwraps to, as errors.Is goes through them.
func walkErrors(err error, see func(error)) {
	left := walkLimit
	var walk func(error)
	walk = func(err error) {
		for ; err != nil && left > 0; left-- {
			see(err)
			switch u := err.(type) { //nolint:errorlint // this is what unwraps
			case interface{ Unwrap() error }:
				err = u.Unwrap()
			case interface{ Unwrap() []error }:
				left--
				for _, err := range u.Unwrap() {
					walk(err)
				}
				return
			default:
				return
			}
		}
	}
	walk(err)
}

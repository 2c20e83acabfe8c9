package core

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"
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
	over := make(chan *userError, 1)
	go func() {
		ended := &userError{text: "the code ended its goroutine (runtime.Goexit)"}
		defer func() { over <- ended }()
		defer func() {
			if p := recover(); p != nil {
				ended = panicked(p)
			}
		}()
		ended = noteError(f())
	}()
	return over
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

// callError has the text that was taken down. errors.Is and errors.As find in it what the user's own error has, whose
// methods are called as all user code is: whoever asks need not know that they may panic or never end.
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

// guardedOr returns what f does, or, where that comes to nothing, other.
func guardedOr[T any](other T, f func() T) T {
	made := make(chan T, 1)
	_ = guarded(func() error { made <- f(); return nil })
	select {
	case other = <-made:
	default:
	}
	return other
}

// panicked returns the error of a recovered panic.
func panicked(p any) *userError {
	text := fmt.Sprintf("panic: %T", p)
	if prints(p) {
		text = fmt.Sprintf("panic: %v", p)
	}
	return &userError{text: text, stack: string(debug.Stack())}
}

// printLimit is how many parts of the value of a panic are printed: one that contains itself has no end, and package fmt
// would end the process over it.
const printLimit = 1000

// prints reports whether a value tells its text itself, or has no more than printLimit parts.
func prints(p any) bool {
	switch p.(type) {
	case error, fmt.Stringer, fmt.Formatter:
		return true
	}
	v := reflect.ValueOf(p)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	left := printLimit
	return countParts(v, &left)
}

// countParts takes the parts of a value off left, and reports whether that was enough.
func countParts(v reflect.Value, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	switch v.Kind() {
	case reflect.Interface:
		return v.IsNil() || countParts(v.Elem(), left)
	case reflect.Struct:
		for i := range v.NumField() {
			if !countParts(v.Field(i), left) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !countParts(v.Index(i), left) {
				return false
			}
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			if !countParts(each.Key(), left) || !countParts(each.Value(), left) {
				return false
			}
		}
	default: // fmt goes no further, nor through a pointer
	}
	return true
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

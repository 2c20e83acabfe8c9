// Package guard calls code that may panic, end its goroutine or never return, so that none of that reaches the caller. The
// engine and the handlers call all code of the user's through it.
package guard

import (
	"fmt"
	"reflect"
	"runtime/debug"
)

// Failure is how code failed that did not return.
type Failure struct {
	Text  string // what happened, with the value of a panic
	Stack string // of a panic; empty when the code ended its goroutine
}

// Go calls f in a goroutine of its own. The channel gets one element when that is over: what f returned, or what failed
// makes of a panic or of the end of the goroutine (runtime.Goexit). The channel is buffered: nobody has to receive from it.
func Go[T any](f func() T, failed func(Failure) T) <-chan T {
	over := make(chan T, 1)
	go func() {
		failure := Failure{Text: "the code ended its goroutine (runtime.Goexit)"}
		returned := false
		var result T
		defer func() {
			if !returned {
				result = failed(failure)
			}
			over <- result
		}()
		defer func() {
			if p := recover(); p != nil {
				failure = Failure{Text: Text(p), Stack: string(debug.Stack())}
			}
		}()
		result = f()
		returned = true
	}()
	return over
}

// Text returns the text of a recovered panic: its value, or only the type of a value with too many parts to print.
func Text(p any) string {
	if prints(p) {
		return fmt.Sprintf("panic: %v", p)
	}
	return fmt.Sprintf("panic: %T", p)
}

// printLimit is how many parts of the value of a panic are printed. Package fmt does not stop at a value that contains
// itself: it would end the process when the stack is full.
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

// countParts subtracts the parts of a value from left, and reports whether left was enough.
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
	default: // fmt prints any other kind as one part, a pointer below the top as its address
	}
	return true
}

package guard_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core/guard"
)

func TestGo_TellsHowCodeEnds(t *testing.T) {
	t.Parallel()
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	for name, c := range map[string]struct {
		code func() string
		want string
	}{
		"it returns":                      {func() string { return "fine" }, "fine"},
		"panic":                           {func() string { panic("bad") }, "panic: bad"},
		"panic with an error":             {func() string { panic(errors.New("bad")) }, "panic: bad"},
		"panic with nil":                  {func() string { panic(nil) }, "panic: panic called with nil argument"}, //nolint:govet // the point
		"panic with a value of a few":     {func() string { panic([]int{1, 2}) }, "panic: [1 2]"},
		"panic with what contains itself": {func() string { panic(cyclic) }, "panic: map[string]interface {}"},
		"panic with too much to print":    {func() string { panic(make([]int, 5000)) }, "panic: []int"},
		"the end of its goroutine":        {func() string { runtime.Goexit(); return "" }, "the code ended its goroutine (runtime.Goexit)"},
		"panic whose text panics":         {func() string { panic(wild{}) }, "panic: %!v(PANIC=Error method: no text)"},
	} {
		stack := ""
		got := <-guard.Go(c.code, func(f guard.Failure) string { stack = f.Stack; return f.Text })
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if has := strings.Contains(stack, "guard_test.go"); has != strings.HasPrefix(name, "panic") {
			t.Errorf("%s: the stack is %q", name, stack)
		}
	}
}

type wild struct{}

func (wild) Error() string { panic("no text") }

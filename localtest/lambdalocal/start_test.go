package lambdalocal

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A process that does not start is told with its last words, which are not in the log; of one that does, all is there.
func TestEachStartIsTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, bootstrap string
		want            Start
		log             []string
	}{
		{"exits", script(t, "echo one; echo two >&2; exit 7"),
			Start{Function: "echo", Err: errors.New("Runtime exited with error: exit status 7"), Lines: []string{"one", "two"}}, nil},
		{"ends", script(t, "exit 0"), Start{Function: "echo", Err: errors.New("Runtime exited without providing a reason")}, nil},
		{"missing", "/nowhere/bootstrap", Start{Function: "echo", Err: errors.New("Couldn't find valid bootstrap(s): [/nowhere/bootstrap]")}, nil},
		{"starts", script(t, "echo hello; exec "+echoBinary), Start{Function: "echo"}, []string{"[echo] hello\n", "[echo] served\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			starts, log := make(chan Start, 10), make(lines, 10)
			s := newService(t, Options{Log: log, Started: func(s Start) { starts <- s }}, Function{Bootstrap: test.bootstrap})
			invoke(t, s, `{"Print":"served"}`)
			got := <-starts
			if got.Err != nil && test.want.Err != nil && got.Err.Error() == test.want.Err.Error() {
				got.Err = test.want.Err
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" { //nolint:errorlint // made the same above
				t.Error(diff)
			}
			for _, want := range test.log {
				if line := <-log; line != want {
					t.Errorf("it logged %q, want %q", line, want)
				}
			}
			if len(log) > 0 || len(starts) > 0 {
				t.Errorf("%d more lines, %d more starts", len(log), len(starts))
			}
		})
	}
}

// How an invocation that nobody waited for had failed was not told at all.
func TestEachInvocationThatFailsIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, event, err string
		ended            bool
	}{
		{"answers an error", `{"Fail":"no such thing"}`, "no such thing", false},
		{"exits", `{"Exit":7}`, "Runtime exited with error: exit status 7", true},
		{"takes too long", `{"Sleep":60000000000}`, "Task timed out after 1.00 seconds", true},
		{"succeeds", `{}`, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			told := make(chan Failed, 10)
			s := newService(t, Options{Failed: func(f Failed) { told <- f }}, Function{Timeout: time.Second})
			for _, cold := range []bool{true, false} {
				if !cold {
					invoke(t, s, `{}`) // so that the next finds a warm environment
				}
				invoke(t, s, test.event)
				if test.err == "" {
					continue
				}
				if got := <-told; got.Function != "echo" || got.Err.Error() != test.err || got.Ended != test.ended {
					t.Errorf("cold %t: %+v, want %q", cold, got, test.err)
				}
			}
			if len(told) > 0 {
				t.Errorf("%d more are told", len(told))
			}
		})
	}
}

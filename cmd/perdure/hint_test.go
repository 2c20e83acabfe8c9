package main

import (
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/localtest/stack"
)

// A wait for what nobody starts was silent for ever.
func TestAWaitForWhatNobodyStartsSaysSoOnce(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "later", "--delay", "1h")
	const says = "nobody starts it: is perdure run, or the deployment, running? See perdure queues and perdure doctor\n"
	for _, test := range []struct {
		name  string
		args  []string
		hints int
	}{
		{"enqueued", []string{"enqueue", "count_words", "--input", `"x"`, "--wait", "--wait-timeout", "12s"}, 1},
		{"for a script", []string{"enqueue", "count_words", "--input", `"x"`, "--wait", "--wait-timeout", "8s", "--json"}, 0},
		{"not due", []string{"wait", "later", "--timeout", "8s"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := perdure(t, w.env, test.args...)
			if o.exit != 7 || o.stdout != "" || strings.Count(o.stderr, says) != test.hints {
				t.Errorf("exit code %d, want 7 and %d hints\n%s%s", o.exit, test.hints, o.stdout, o.stderr)
			}
			if test.name == "for a script" && strings.Count(o.stderr, "\n") != 1 {
				t.Errorf("a script reads %s", o.stderr)
			}
		})
	}
}

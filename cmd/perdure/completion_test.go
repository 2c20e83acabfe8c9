package main

import (
	"sync"
	"testing"

	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/stack"
)

func TestTabOffersWhatACommandMakesSomethingOf(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true, List: true})
	unlisted := start(t, stack.Options{NoSchedules: true})
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "to-come", "--delay", "1h")
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "to-no-end", "--delay", "1h")
	done(t, w.env, "cancel", "to-no-end")
	const come, noEnd = "to-come\tcount_words, ready\n", "to-no-end\tcount_words, cancelled\n"
	down := []string{"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "AWS_ENDPOINT_URL_LAMBDA=http://127.0.0.1:1", "PERDURE_TABLE=t", "AWS_MAX_ATTEMPTS=1"}
	// Two of the questions come to the enqueue function at once, and Tab waits for no slow start of it.
	var warm sync.WaitGroup
	for range 2 {
		warm.Go(func() {
			if _, err := w.Request(t.Context(), handler.Request{Action: "tasks"}); err != nil {
				t.Error(err)
			}
		})
	}
	warm.Wait()
	for _, test := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"get", w.env, []string{"get", "to"}, noEnd + come},
		{"wait", w.env, []string{"wait", "to"}, come},
		{"cancel", w.env, []string{"cancel", ""}, come},
		{"redrive", w.env, []string{"redrive", ""}, noEnd},
		{"one is all", w.env, []string{"get", "to-come", ""}, ""},
		{"the table of a flag", append(w.env[:len(w.env):len(w.env)], "PERDURE_TABLE="), []string{"get", "--table", w.Table, "to-c"}, come},
		{"a sleeping task", w.env, []string{"wakeup", ""}, "await_payment\n"},
		{"the key of one", w.env, []string{"wakeup", "await_payment", ""}, ""},
		{"the task of a list", w.env, []string{"list", "--task", "count_w"}, "count_words\n"},
		{"a colour", nil, []string{"get", "--color", "a"}, "auto\nalways\n"},
		{"no list", unlisted.env, []string{"get", ""}, ""},
		{"no table", nil, []string{"get", ""}, ""},
		{"no function", nil, []string{"enqueue", ""}, ""},
		{"nobody there", down, []string{"get", ""}, ""},
		{"no function there", append(down, "PERDURE_ENQUEUE_FUNCTION=enqueue"), []string{"enqueue", ""}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := done(t, test.env, append([]string{"__complete"}, test.args...)...); got != test.want+":4\n" {
				t.Errorf("it offers %q, want %q", got, test.want)
			}
		})
	}
}

package handler

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/perdure-dev/perdure/core"
)

// printFailures returns an observer that tells a person why attempts fail: with the text and the stack, which are payloads.
// Each is one write.
func printFailures(w io.Writer) core.Observer {
	var mu sync.Mutex
	write := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, text) // nobody can be told otherwise
	}
	return core.Observer{
		AttemptEnded: func(_ context.Context, a core.AttemptEnded) {
			if a.Failure != nil {
				write(attemptText(a))
			}
		},
		Recovered: func(_ context.Context, r core.Recovered) {
			if r.Claim == core.QueueRunning {
				write(recoveredText(r))
			}
		},
	}
}

// attemptText says in a line and, where there is more to say, in indented ones, why an attempt failed.
func attemptText(a core.AttemptEnded) string {
	e := a.Execution
	what := fmt.Sprintf("attempt %d of %d", e.Attempts, max(1, e.Retry.MaxAttempts))
	if a.Finalize {
		what = "the finalize function"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "perdure: %s of task %s, execution %s: %s after %s: %s\n",
		what, e.TaskID, e.ID, a.Failure.Code, a.Duration.Round(time.Millisecond), indented(a.Failure.Message))
	// The detail is the whole text, and a panic's stack behind it.
	if detail := strings.TrimPrefix(string(a.Failure.Detail.Data), a.Failure.Message); detail != "" {
		fmt.Fprintf(&b, "  %s\n", indented(strings.TrimLeft(detail, "\n")))
	}
	if a.Outcome == core.AttemptRetried && a.After != nil {
		fmt.Fprintf(&b, "  it is attempted again in %s\n", max(0, a.After.StartAt.Sub(a.After.UpdatedAt)).Round(time.Millisecond))
	}
	return b.String()
}

// recoveredText says what becomes of an execution whose process ended with it.
func recoveredText(r core.Recovered) string {
	then := "it is run again"
	if e := r.Execution; e.Failure != nil && e.Status.Finished() {
		then = fmt.Sprintf("it is %s: %s", e.Status, indented(e.Failure.Message))
	}
	return fmt.Sprintf("perdure: task %s, execution %s: its process ended while it ran (crash %d): %s\n",
		r.Execution.TaskID, r.Execution.ID, r.Times, then)
}

// indented returns a text whose further lines stand behind a margin, without what a terminal would obey.
func indented(text string) string {
	shown := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimRight(text, "\n"))
	return strings.ReplaceAll(shown, "\n", "\n  ")
}

package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// The log said that an attempt had failed, and never why.
func TestWhyAttemptsFailIsPrintedWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var printed bytes.Buffer
		tasks := func() (*core.Registry, error) {
			none := func(context.Context, struct{}) (int, []core.Child, error) { return 0, nil, nil }
			return core.NewRegistry(
				core.NewTask("fails", func(context.Context, struct{}) (int, error) { return 0, errors.New("no such thing\nat all\x1b[31m") },
					core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Second}}),
				core.NewTask("panics", func(context.Context, struct{}) (int, error) { panic("no luck") }, core.TaskOptions{}),
				core.NewParentTaskWithFinalize("ends", none, func(context.Context, core.Results[int]) (int, error) { return 0, errors.New("no end") }, core.TaskOptions{}),
			)
		}
		app := &App{Config: Config{Tick: 5 * time.Second}, Store: memstore.New(memstore.Options{}), failures: printFailures(&printed)}
		enqueue, err := app.Enqueue(tasks)
		if err != nil {
			t.Fatal(err)
		}
		start, err := app.Loop(core.LoopStartReady, tasks)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range []string{"fails", "panics", "ends"} {
			event := `{"action":"enqueue","task":"` + task + `","execution_id":"of-` + task + `"}`
			if r, err := enqueue(t.Context(), json.RawMessage(event)); err != nil || r.Error != nil {
				t.Fatalf("%+v, error %v", r.Error, err)
			}
		}
		if _, err := start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for _, says := range []string{
			"perdure: attempt 1 of 2 of task fails, execution of-fails: failed after 0s: no such thing\n  at all\uFFFD[31m\n  it is attempted again in 1s\n",
			"perdure: attempt 2 of 2 of task fails, execution of-fails: failed after 0s: no such thing\n  at all\uFFFD[31m\n",
			"perdure: attempt 1 of 1 of task panics, execution of-panics: panicked after 0s: panic: no luck\n  goroutine ",
			"failures_test.go:",
			"perdure: the finalize function of task ends, execution of-ends: ", "no end\n",
		} {
			if !strings.Contains(printed.String(), says) {
				t.Errorf("it does not say %q:\n%s", says, printed.String())
			}
		}
		if n := strings.Count(printed.String(), "perdure: "); n != 4 {
			t.Errorf("%d failures are printed, want 4:\n%s", n, printed.String())
		}
	})
}

// A process that ends with what it runs tells nobody why; who finds that tells that it did.
func TestAnExecutionWhoseProcessEndedIsPrinted(t *testing.T) {
	t.Parallel()
	e := core.NewExecution("e", core.Spec{TaskID: "exits", Timeout: time.Second}, time.Unix(0, 0))
	if got, want := recoveredText(core.Recovered{Execution: e, Claim: core.QueueRunning, Times: 1}),
		"perdure: task exits, execution e: its process ended while it ran (crash 1): it is run again\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	e.Status, e.Failure = core.StatusFailed, &core.Failure{Code: core.CodeCrashed, Message: "its executors died"}
	if got := recoveredText(core.Recovered{Execution: e, Claim: core.QueueRunning, Times: 4}); !strings.HasSuffix(got, "(crash 4): it is failed: its executors died\n") {
		t.Errorf("%q", got)
	}
}

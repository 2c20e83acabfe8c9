package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// An observer is told what an engine does: here it prints how attempts and executions end.
func ExampleObserver() {
	flaky := core.NewTask("flaky", func(ctx context.Context, _ int) (string, error) {
		if core.InfoOf(ctx).Attempt == 1 {
			return "", errors.New("not yet")
		}
		return "done", nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Millisecond}})
	prints := core.Observer{
		AttemptEnded: func(_ context.Context, a core.AttemptEnded) {
			fmt.Printf("attempt %d of %s %s\n", a.Execution.Attempts, a.Execution.TaskID, a.Outcome)
		},
		Finished: func(_ context.Context, e *core.Execution) { fmt.Printf("%s %s\n", e.TaskID, e.Status) },
	}
	store := memstore.New(memstore.Options{})
	engine := must(core.NewEngine(core.Config{Store: store, Registry: must(core.NewRegistry(flaky)), Observer: prints}))
	client := must(core.NewClient(store, core.ClientOptions{}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	must(must(flaky.Enqueue(ctx, client, 1)).Wait(ctx))
	stop()
	fmt.Println(<-ended)
	// Output:
	// attempt 1 of flaky retried
	// flaky completed
	// attempt 2 of flaky succeeded
	// <nil>
}

package handler

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/perdure-dev/perdure/core"
)

// Report is what an invocation of a loop function answers.
type Report struct {
	Loop core.Loop `json:"loop"`
	Done int       `json:"done"` // executions that it started or changed
	Lost int       `json:"lost"` // due entries that came to nothing
}

// StartLoop serves invocations of one loop until the environment ends. What is wrong with the configuration or
// the tasks ends the process with status 1, one line on standard error.
func StartLoop(loop core.Loop, registry func() (*core.Registry, error)) {
	ctx := context.Background()
	app, err := NewApp(ctx)
	if err != nil {
		fail(err)
	}
	handle, err := app.Loop(loop, registry)
	if err != nil {
		fail(err)
	}
	lambda.StartWithOptions(handle, lambda.WithContext(ctx))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "perdure:", err)
	os.Exit(1)
}

// Loop returns the handler of a loop function: each invocation is an executor of its own, which repeats the
// loop's pass while there is work, and flushes all it began before it returns. The event itself means nothing.
func (a *App) Loop(loop core.Loop, registry func() (*core.Registry, error)) (func(context.Context) (Report, error), error) {
	tasks, err := registry()
	if err != nil {
		return nil, err
	}
	// Only the functions that run user code, finalize functions included, must live as long as it may take.
	functionTimeout := a.Config.Timeout
	if loop != core.LoopStartReady && loop != core.LoopProcessChildren {
		functionTimeout = 0
	}
	engine, err := core.NewEngine(core.Config{
		Store: a.Store, Registry: tasks, Logger: a.Logger,
		Concurrency: a.Config.Concurrency, FunctionTimeout: functionTimeout, Leeway: a.Config.Leeway,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Report, error) {
		deadline, _ := ctx.Deadline()
		x := engine.NewExecutor(core.ExecutorOptions{Deadline: deadline, SweepOnly: loop != core.LoopStartReady})
		result, err := x.Repeat(ctx, loop, time.Now().Add(a.Config.Tick))
		x.Flush()
		return Report{Loop: loop, Done: result.Done, Lost: result.Lost}, err
	}, nil
}

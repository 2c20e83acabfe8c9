package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/perdure-dev/perdure/core"
)

// Report is what an invocation of a loop function answers.
type Report struct {
	Loop core.Loop `json:"loop"`
	Done int       `json:"done"` // executions that it started or changed
	Lost int       `json:"lost"` // due entries and hints that came to nothing
	// Corrupt counts due entries whose record cannot be read; they were put in quarantine.
	Corrupt int `json:"corrupt,omitempty"`
}

// StartLoop serves invocations of one loop until the environment ends. What is wrong with the configuration or
// the tasks ends the process with status 1, one line on standard error.
func StartLoop(loop core.Loop, registry func() (*core.Registry, error)) {
	startLoop(loop, registry, Options{})
}

func startLoop(loop core.Loop, registry func() (*core.Registry, error), opts Options) {
	ctx := context.Background()
	app, err := NewApp(ctx)
	if err != nil {
		fail(err)
	}
	app.Options = opts
	handle, err := app.Loop(loop, registry)
	if err != nil {
		fail(err)
	}
	lambda.StartWithOptions(handle, lambda.WithContext(ctx))
}

// FunctionVariable is the environment variable that tells Start which function it is.
const FunctionVariable = "PERDURE_FUNCTION"

// EnqueueFunction is the value of FunctionVariable for the enqueue function; those for the others are core.Loops.
const EnqueueFunction = "enqueue"

// Start serves the function that PERDURE_FUNCTION names, one of core.Loops or "enqueue", until the environment ends,
// for programs that are all the functions in one. Any other name, and what is wrong with the configuration or the
// tasks, ends the process with status 1 and says so on standard error.
func Start(registry func() (*core.Registry, error)) { StartWith(registry, Options{}) }

// StartWith is Start with options.
func StartWith(registry func() (*core.Registry, error), opts Options) {
	name := os.Getenv(FunctionVariable)
	switch {
	case name == EnqueueFunction:
		startEnqueue(registry, opts)
	case slices.Contains(core.Loops(), core.Loop(name)):
		startLoop(core.Loop(name), registry, opts)
	default:
		fail(fmt.Errorf("%s is %q: it must be %s or one of %q", FunctionVariable, name, EnqueueFunction, core.Loops()))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "perdure:", err)
	os.Exit(1)
}

// Loop returns the handler of a loop function: each invocation is an executor of its own, which repeats the
// loop's pass while there is work, and flushes all it began before it returns. For core.LoopStartReady an event of the
// table's stream names executions to begin with; any other event means nothing.
func (a *App) Loop(loop core.Loop, registry func() (*core.Registry, error)) (func(context.Context, json.RawMessage) (Report, error), error) {
	tasks, err := registry()
	if err != nil {
		return nil, err
	}
	// Only the functions that run user code, finalize functions included, must live as long as it may take.
	functionTimeout := a.Config.Timeout
	if loop != core.LoopStartReady && loop != core.LoopProcessChildren {
		functionTimeout = 0
	}
	limits := a.Options.Limits
	if loop == core.LoopStartReady { // the timeout for tasks is its own
		functionTimeout = cmp.Or(functionTimeout, a.Config.TaskTimeout)
	} else {
		limits = a.Config.limits(limits)
	}
	config := core.Config{
		Store: a.Store, Registry: tasks, Logger: a.Logger, Codec: a.Options.Codec, Limits: limits,
		Concurrency: a.Config.Concurrency, FunctionTimeout: functionTimeout, Leeway: a.Config.Leeway, Poll: a.Config.Poll,
		Observer: a.observer(),
	}
	if a.metrics != nil {
		a.metrics.Watch(loop)
	}
	if a.Options.Configure != nil {
		a.Options.Configure(&config)
	}
	engine, err := core.NewEngine(config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, event json.RawMessage) (Report, error) {
		defer a.observing(ctx)()
		deadline, _ := ctx.Deadline()
		x := engine.NewExecutor(core.ExecutorOptions{Deadline: deadline, SweepOnly: loop != core.LoopStartReady})
		result, err := a.serve(ctx, x, loop, event)
		x.Flush()
		return Report{Loop: loop, Done: result.Done, Lost: result.Lost, Corrupt: result.Corrupt}, err
	}, nil
}

// serve does what an event of a loop function asks for.
func (a *App) serve(ctx context.Context, x *core.Executor, loop core.Loop, event json.RawMessage) (core.Result, error) {
	until := time.Now().Add(a.Config.Tick)
	if loop != core.LoopStartReady {
		return x.Repeat(ctx, loop, until)
	}
	hints, streamed, err := hintsOf(event)
	if err != nil {
		// Whoever sent it would send it again, and hold up what comes behind it.
		a.log().WarnContext(ctx, "event is not understood and is taken for a schedule's", "error", err)
	}
	if streamed {
		return x.StartHinted(ctx, hints, until)
	}
	return x.Repeat(ctx, loop, until)
}

func (a *App) log() *slog.Logger {
	if a.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Logger
}

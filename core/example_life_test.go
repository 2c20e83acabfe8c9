package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// A caller may choose an execution's id, which is then taken once.
func ExampleEnqueueOptions_id() {
	embedded(func(ctx context.Context, c *core.Client) {
		chosen := core.EnqueueOptions{ID: "order-17"}
		fmt.Println(must(price.EnqueueWith(ctx, c, "lamp", chosen)).ID())
		_, err := price.EnqueueWith(ctx, c, "lamp", chosen)
		fmt.Println(errors.Is(err, core.ErrAlreadyExists))
	}, price)
	// Output:
	// order-17
	// true
}

// An engine's own client starts at once what it enqueues, and hears of its end at once.
func ExampleEngine_NewClient() {
	engine := must(core.NewEngine(core.Config{Store: memstore.New(memstore.Options{}), Registry: must(core.NewRegistry(price))}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	client := must(engine.NewClient(core.ClientOptions{}))
	fmt.Println(must(must(price.Enqueue(ctx, client, "lamp")).Wait(ctx)))
	stop()
	fmt.Println(<-ended)
	// Output:
	// 40
	// <nil>
}

// A parent that does not end well cancels what is left below it.
func ExampleTaskOptions_startToFinish() {
	wait := core.NewTask("wait", func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}, core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, string) (string, []core.Child, error) {
		return "", []core.Child{wait.Child("for ever"), price.Child("lamp")}, nil
	}, core.TaskOptions{StartToFinish: 2 * time.Second})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(parent.Enqueue(ctx, c, ""))
		_, err := h.Wait(ctx)
		fmt.Println(err != nil, must(c.Get(ctx, h.ID())).Status)
		for _, child := range must(c.Tree(ctx, h.ID())).Children {
			fmt.Println(child.Execution.TaskID, finished(ctx, c, child.Execution.ID))
		}
	}, parent, wait, price)
	// Output:
	// true timed_out
	// wait cancelled
	// price completed
}

// finished waits for an execution's end and returns how it ended.
func finished(ctx context.Context, c *core.Client, id string) core.Status {
	for {
		if e := must(c.Get(ctx, id)); e.Status.Finished() {
			return e.Status
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// What an executor that dies had under way is run again by another one when its lease is over. Recoveries are counted
// apart from attempts, and a task that kills its executors fails in the end.
func ExampleConfig_recovery() {
	ctx, stop := context.WithCancel(context.Background())
	quick := core.NewTask("quick", func(ctx context.Context, _ string) (int, error) {
		return core.InfoOf(ctx).Attempt, nil
	}, core.TaskOptions{Timeout: time.Second})
	config := core.Config{
		Store: memstore.New(memstore.Options{}), Registry: must(core.NewRegistry(quick)),
		Leeway: 10 * time.Millisecond, Poll: 10 * time.Millisecond, MaxRecoveries: 3,
	}
	client := must(core.NewClient(config.Store, core.ClientOptions{}))
	h := must(quick.Enqueue(ctx, client, ""))

	// An executor claims the execution and is never heard of again.
	must(config.Store.ClaimReady(ctx, core.ReadyClaim{
		Now: core.Millis(time.Now()), Limit: 1, ExecutorID: "lost", Left: time.Minute, Leeway: config.Leeway,
	}))

	engine := must(core.NewEngine(config))
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	fmt.Println("attempt", must(h.Wait(ctx)), "recovery", must(h.Get(ctx)).Recoveries)
	stop()
	<-ended
	// Output: attempt 1 recovery 1
}

// While a new version is rolled out, executors may meet tasks that they do not know. They give those back; what nobody
// knows for long fails as not_found.
func ExampleConfig_unknownTask() {
	ctx, stop := context.WithCancel(context.Background())
	config := core.Config{
		Store: memstore.New(memstore.Options{}), Registry: must(core.NewRegistry(price)),
		Poll: 10 * time.Millisecond, UnknownTaskLimit: time.Nanosecond,
	}
	client := must(core.NewClient(config.Store, core.ClientOptions{}))
	h := must(tax.Enqueue(ctx, client, 100))
	engine := must(core.NewEngine(config))
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	_, err := h.Wait(ctx)
	var failed *core.ExecutionError
	fmt.Println(errors.As(err, &failed), failed.Failure.Code)
	stop()
	<-ended
	// Output: true not_found
}

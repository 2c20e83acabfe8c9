// Package workload has the tasks that the throughput benchmark runs.
package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// nap is the fixed sleep between two iterations of the looping task.
const nap = 200 * time.Millisecond

var (
	noop = core.NewTask("noop", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{})
	work = core.NewTask("work", func(ctx context.Context, n int) (int, error) {
		select {
		case <-time.After(time.Millisecond):
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{})
	sum = core.NewTask("sum", func(_ context.Context, r core.Results[int]) (int, error) {
		total := 0
		for _, child := range r.Children {
			n, err := work.Result(child)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}, core.TaskOptions{})
	fan = core.NewParentTaskWithFinalizeTask("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = work.Child(i)
		}
		return n, children, nil
	}, sum, core.TaskOptions{})
	spread = core.NewParentTask("spread", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = noop.Child(i)
		}
		return n, children, nil
	}, core.TaskOptions{})
	chain = core.NewSequentialTask("chain", core.Then(core.Then(core.Then(noop, noop), noop), noop), core.TaskOptions{})
	until = core.NewTask("until", func(_ context.Context, at time.Time) (core.Iteration[time.Time, bool], error) {
		if time.Now().Before(at) {
			return core.Again[time.Time, bool](), nil
		}
		return core.Done[time.Time](true), nil
	}, core.TaskOptions{})
	loop = core.NewLoopingTask("loop", until, core.LoopOptions{MaxIterations: 1000, Sleep: nap}, core.TaskOptions{})
)

// Registry returns all tasks of the workloads.
func Registry() (*core.Registry, error) {
	return core.NewRegistry(noop, work, sum, fan, spread, chain, until, loop, chain10, asleep, waits)
}

// Run enqueues a workload's roots and waits for all of them. It returns how many executions that makes, where that is
// known beforehand, else of how many roots.
func Run(ctx context.Context, c *core.Client, name string, n int) (executions int, err error) {
	switch name {
	case "W":
		return mixed(ctx, c, n, time.Now().Add(time.Second))
	case "W0":
		return mixed(ctx, c, n, time.Now())
	case "S":
		return n, many(ctx, c, noop, numbers(n))
	case "C":
		return n + 1, many(ctx, c, spread, []int{n})
	case "families":
		sizes := make([]int, n)
		for i := range sizes {
			sizes[i] = 50
		}
		return n * 51, many(ctx, c, spread, sizes)
	}
	return 0, fmt.Errorf("no workload %q", name)
}

// Once enqueues an idle no-op task and waits for its result.
func Once(ctx context.Context, c *core.Client) error { return many(ctx, c, noop, numbers(1)) }

// Enqueue enqueues a no-op task and returns the execution's id.
func Enqueue(ctx context.Context, c *core.Client, n int) (string, error) {
	h, err := noop.Enqueue(ctx, c, n)
	if err != nil {
		return "", err
	}
	return h.ID(), nil
}

func numbers(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// mixed runs n parents of 50 children with finalize tasks, n chains of 4 and n looping tasks.
func mixed(ctx context.Context, c *core.Client, n int, at time.Time) (int, error) {
	fans := make([]int, n)
	ats := make([]time.Time, n)
	for i := range n {
		fans[i], ats[i] = 50, at
	}
	errs := make(chan error, 3)
	go func() { errs <- many(ctx, c, fan, fans) }()
	go func() { errs <- many(ctx, c, chain, numbers(n)) }()
	go func() { errs <- many(ctx, c, loop, ats) }()
	err := errors.Join(<-errs, <-errs, <-errs)
	return n * (52 + 5 + 2), err
}

// many enqueues a task once for each input, all at once, and waits for the results.
func many[In, Out any](ctx context.Context, c *core.Client, task *core.Task[In, Out], inputs []In) error {
	items := make([]core.BulkItem[In], len(inputs))
	for i, in := range inputs {
		items[i].Input = in
	}
	ids := make([]string, len(inputs))
	for i, result := range task.EnqueueMany(ctx, c, items, nil) {
		if result.Err != nil {
			return result.Err
		}
		ids[i] = result.Handle.ID()
	}
	// The one that was enqueued last is likely to end among the last; then a few reads tell the others' ends.
	for len(ids) > 0 {
		if _, err := task.HandleOf(c, ids[len(ids)-1]).Wait(ctx); err != nil {
			return err
		}
		found, err := c.GetMany(ctx, ids)
		if err != nil {
			return err
		}
		unfinished := ids[:0]
		for i, e := range found {
			switch {
			case e == nil:
				return fmt.Errorf("execution %s is lost", ids[i])
			case !e.Status.Finished():
				unfinished = append(unfinished, ids[i])
			case e.Status != core.StatusCompleted:
				return fmt.Errorf("execution %s of task %s is %s", e.ID, e.TaskID, e.Status)
			}
		}
		ids = unfinished
	}
	return nil
}

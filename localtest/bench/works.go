package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// half of the 500 bytes that input and output have together.
const half = 250

var errFirst = errors.New("the first attempt fails")

// costWorks returns the works with their budgets of request units.
func costWorks(ctx context.Context) []benchWork {
	echo := core.NewTask("echo", func(_ context.Context, in string) (string, error) { return in, nil }, core.TaskOptions{})
	flaky := core.NewTask("flaky", func(ctx context.Context, in string) (string, error) {
		if core.InfoOf(ctx).Attempt == 1 {
			return "", core.RetryAfter(errFirst, 0)
		}
		return in, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	accept := core.NewTask("accept", func(context.Context, string) (string, error) { return text(), nil }, core.TaskOptions{})
	fan := core.NewParentTask("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = echo.Child(text())
		}
		return n, children, nil
	}, core.TaskOptions{})
	const steps = 20
	chain := core.Then(echo, echo)
	for range steps - 2 {
		chain = core.Then(chain, echo)
	}
	sequence := core.NewSequentialTask("sequence", chain, core.TaskOptions{})
	again := core.NewTask("again", func(_ context.Context, n int) (core.Iteration[int, string], error) {
		if n == 0 {
			return core.Done[int](text()), nil
		}
		return core.AgainWith[int, string](n - 1), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", again, core.LoopOptions{MaxIterations: 1000}, core.TaskOptions{})
	sleeper := core.NewSleepingTask[string]("sleeper", core.TaskOptions{Timeout: time.Hour})
	asleep := core.NewParentTask("asleep", func(_ context.Context, family int) (int, []core.Child, error) {
		children := make([]core.Child, 50)
		for i := range children {
			children[i] = sleeper.Child(fmt.Sprintf("%d-%d", family, i))
		}
		return family, children, nil
	}, core.TaskOptions{})
	start := func(dynamo *dynamodb.Client, table string) (*app, error) {
		a, err := newApp(ctx, dynamo, table, echo, flaky, accept, fan, sequence, again, loop, sleeper, asleep)
		if err != nil {
			return nil, err
		}
		if _, err := echo.Enqueue(ctx, a.client, "warm"); err != nil { // reads and writes the settings, once
			return nil, err
		}
		return a, a.work()
	}
	// lives returns what the whole lives of n enqueued executions consume.
	lives := func(n int, each func(a *app, i int) error) func(*dynamodb.Client, string, int) (consumed, int, error) {
		return func(dynamo *dynamodb.Client, table string, units int) (consumed, int, error) {
			a, err := start(dynamo, table)
			if err != nil {
				return consumed{}, 0, err
			}
			before := a.sofar()
			for i := range units / n {
				if err := each(a, i); err != nil {
					return consumed{}, 0, err
				}
			}
			err = a.work()
			return a.sofar().minus(before), units / n * n, err
		}
	}
	root := func(t *core.Task[string, string], in string) func(a *app, _ int) error {
		return func(a *app, _ int) error {
			_, err := t.Enqueue(ctx, a.client, in)
			return err
		}
	}
	return []benchWork{
		{"root", 7, 0.6, lives(1, root(echo, text()))},
		// The document takes 5 KB when it is compressed.
		{"root_10kb", 11, 0, lives(1, root(accept, document(10_000, 1)))},
		{"child_of_50", 1.5, 0.5, lives(50, func(a *app, _ int) error { _, err := fan.Enqueue(ctx, a.client, 50); return err })},
		{"sequential_step", 3, 1, lives(steps, func(a *app, _ int) error { _, err := sequence.Enqueue(ctx, a.client, text()); return err })},
		{"looping_iteration", 2.5, 1, lives(50, func(a *app, _ int) error { _, err := loop.Enqueue(ctx, a.client, 49); return err })},
		{"sleeping_wakeup", 8, 0, func(dynamo *dynamodb.Client, table string, units int) (consumed, int, error) {
			a, err := start(dynamo, table)
			if err != nil {
				return consumed{}, 0, err
			}
			return a.wakeups(asleep, sleeper, units/50)
		}},
		{"retry", 6, 0, func(dynamo *dynamodb.Client, table string, units int) (consumed, int, error) {
			with, _, err := lives(1, root(flaky, text()))(dynamo, table, units)
			if err != nil {
				return consumed{}, 0, err
			}
			without, _, err := lives(1, root(echo, text()))(dynamo, table+"-without", units)
			return with.minus(without), units, err
		}},
		{"cancel", 4, 0, lives(1, func(a *app, _ int) error {
			h, err := echo.Enqueue(ctx, a.client, text())
			if err != nil {
				return err
			}
			return h.Cancel(ctx, "not needed")
		})},
		{"idle_minute", 0, 20, func(dynamo *dynamodb.Client, table string, _ int) (consumed, int, error) {
			a, err := start(dynamo, table)
			if err != nil {
				return consumed{}, 0, err
			}
			before := a.sofar()
			for _, loop := range core.Loops() {
				if err := a.invoke(loop); err != nil {
					return consumed{}, 0, err
				}
			}
			return a.sofar().minus(before), 1, nil
		}},
	}
}

// wakeups returns what sleepers consume that are children: their own items, and the counting on their parents.
// That the parents commit to them is left out, and so is the last of each family, whose count ends the parent.
func (a *app) wakeups(asleep *core.Task[int, core.Results[int]], sleeper *core.Task[string, string], families int) (consumed, int, error) {
	var parents []string
	for i := range families {
		h, err := asleep.Enqueue(a.ctx, a.client, i)
		if err != nil {
			return consumed{}, 0, err
		}
		parents = append(parents, h.ID())
	}
	if err := a.invoke(core.LoopStartReady); err != nil {
		return consumed{}, 0, err
	}
	var sum consumed
	for i, parent := range parents {
		before := a.byID[parent]
		for n := range 50 {
			if n == 49 {
				sum = sum.plus(a.byID[parent].minus(before))
			}
			key := fmt.Sprintf("%d-%d", i, n)
			if _, err := core.Wakeup(a.ctx, a.client, sleeper, key, text()); err != nil {
				return consumed{}, 0, err
			}
			if n < 49 {
				sum = sum.plus(a.byID[core.SleepID(key)])
			}
		}
	}
	return sum, families * 49, a.work()
}

func (c consumed) plus(d consumed) consumed {
	return consumed{c.requests + d.requests, c.write + d.write, c.read + d.read}
}

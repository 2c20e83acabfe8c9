package simtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// noted makes a task's code note in the process's ledger that it runs. A nil process notes nothing.
func noted[In, Out any](p *Process, code func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		if p != nil {
			defer func(ended func(error)) { ended(err) }(p.Begin(ctx))
		}
		return code(ctx, in)
	}
}

// notedParent is noted for the code of a parent.
func notedParent[In, R any](
	p *Process, code func(context.Context, In) (R, []core.Child, error),
) func(context.Context, In) (R, []core.Child, error) {
	return func(ctx context.Context, in In) (out R, children []core.Child, err error) {
		if p != nil {
			defer func(ended func(error)) { ended(err) }(p.Begin(ctx))
		}
		return code(ctx, in)
	}
}

func leafTask(p *Process) *core.Task[int, int] {
	return core.NewTask("leaf", noted(p, func(_ context.Context, n int) (int, error) { return n, nil }), core.TaskOptions{})
}

// takes returns code that takes a while and honours its context.
func takes(d time.Duration) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (int, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Coded reports whether a task of the scenarios has code that notes its runs.
func Coded(taskID string) bool {
	switch taskID {
	case "seq", "odd_seq", "sleep_step", "mending_seq", "mending_fan_seq", "parent_steps", "loop", "sleeper":
		return false
	}
	return true
}

// Tasks returns the tasks of all scenarios, as a process has them. The process notes in its ledger what it runs; nil notes
// nothing.
func Tasks(p *Process) []core.Definition {
	var none core.TaskOptions
	leaf := leafTask(p)
	odd := core.NewTask("odd", noted(p, func(_ context.Context, n int) (int, error) {
		if n%2 == 1 {
			return 0, errors.New("odd")
		}
		return n, nil
	}), none)
	flaky := core.NewTask("flaky", noted(p, func(ctx context.Context, n int) (int, error) {
		if core.InfoOf(ctx).Attempt == 1 {
			return 0, errors.New("first")
		}
		return n, nil
	}), core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	lasting := core.NewTask("lasting", noted(p, takes(2*time.Second)), none)
	forever := core.NewTask("forever", noted(p, takes(time.Hour)), core.TaskOptions{Timeout: 20 * time.Second})
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{Timeout: time.Hour})
	fan := notedParent(p, func(_ context.Context, n int) (int, []core.Child, error) {
		return n, []core.Child{leaf.Child(1), odd.Child(3), odd.Child(2)}, nil
	})
	count := func(_ context.Context, r core.Results[int]) (string, error) {
		s := fmt.Sprint(r.Output)
		for _, c := range r.Children {
			s += " " + string(c.Status)
		}
		return s, nil
	}
	of := func(children ...core.Child) func(context.Context, int) (int, []core.Child, error) {
		return notedParent(p, func(_ context.Context, n int) (int, []core.Child, error) { return n, children, nil })
	}
	endless := func(ctx context.Context, _ core.Results[int]) (string, error) {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	endlessTask := core.NewTask("endless", noted(p, endless), none)
	finalize := core.NewTask("finalize", noted(p, count), none)
	inner := core.NewParentTaskWithFinalize("inner", notedParent(p, func(ctx context.Context, r core.Results[int]) (string, []core.Child, error) {
		s, err := count(ctx, r)
		return s, []core.Child{leaf.Child(9)}, err
	}), func(_ context.Context, r core.Results[string]) (string, error) { return r.Output, nil }, none)
	plain := core.NewParentTask("plain", fan, none)
	function := core.NewParentTaskWithFinalize("function", fan, count, none)
	withTask := core.NewParentTaskWithFinalizeTask("with_task", fan, finalize, none)
	add := core.NewTask("add", noted(p, func(_ context.Context, n int) (int, error) { return n + 1, nil }), none)
	length := core.NewParentTaskWithFinalize("length", fan, func(ctx context.Context, r core.Results[int]) (int, error) {
		s, err := count(ctx, r)
		return len(s), err
	}, none)
	down := core.NewTask("down", noted(p, func(_ context.Context, n int) (core.Iteration[int, int], error) {
		if n == 0 {
			return core.Done[int](7), nil
		}
		return core.AgainWith[int, int](n - 1), nil
	}), none)
	name := core.NewTask("name", noted(p, func(context.Context, int) (string, error) { return "a", nil }), none)
	mending := core.NewTask("mending", noted(p, func(ctx context.Context, n int) (int, error) {
		if core.InfoOf(ctx).RedriveOf == "" {
			return 0, errors.New("the first time")
		}
		return n, nil
	}), none)
	// strict is a finalize that fails when a child did.
	strict := func(ctx context.Context, r core.Results[int]) (string, error) {
		for _, c := range r.Children {
			if c.Failure != nil {
				return "", c.Failure
			}
		}
		return count(ctx, r)
	}
	mendingFan := core.NewParentTask("mending_fan", of(leaf.Child(1), mending.Child(2)), none)
	gather := core.NewTask("gather", noted(p, strict), none)
	return []core.Definition{
		mendingFan, gather, leaf, odd, flaky, lasting, forever, sleeper, finalize, inner, plain, function, withTask, add, length, down, name, mending, endlessTask,
		core.NewParentTaskWithFinalizeTask("with_parent", fan, inner, none),
		core.NewParentTask("childless", of(), none),
		core.NewParentTaskWithFinalize("slow", of(lasting.Child(1), leaf.Child(1), odd.Child(1), lasting.Child(2)), count, none),
		core.NewParentTaskWithFinalize("nested", of(function.Child(1), withTask.Child(2), plain.Child(3), leaf.Child(4)), count, none),
		core.NewSequentialTask("seq", core.Then(core.Then(add, flaky), add), none),
		core.NewSequentialTask("odd_seq", core.Then(core.Then(add, odd), add), none),
		core.NewSequentialTask("parent_steps", core.Then(core.Then(add, length), add), none),
		core.NewSequentialTask("mending_seq", core.Then(core.Then(add, mending), add), none),
		core.NewSequentialTask("sleep_step", core.Then(core.Then(name, sleeper), add), none),
		core.NewLoopingTask("loop", down, core.LoopOptions{MaxIterations: 9, Sleep: time.Second}, none),
		core.NewParentTaskWithFinalize("asleep", of(sleeper.Child("a"), leaf.Child(1)), count, none),
		core.NewParentTaskWithFinalize("drowsy", of(sleeper.ChildWith("d", core.EnqueueOptions{Timeout: 20 * time.Second}), leaf.Child(1)), count, none),
		core.NewParentTask("stuck", of(leaf.Child(1), forever.Child(1), leaf.ChildWith(1, core.EnqueueOptions{Delay: time.Hour}), sleeper.Child("b")), none),
		core.NewParentTask("hurried", of(leaf.Child(1), leaf.ChildWith(1, core.EnqueueOptions{Delay: time.Hour})), core.TaskOptions{StartToFinish: 5 * time.Second}),
		core.NewParentTaskWithFinalize("endless_function", fan, endless, none),
		core.NewParentTaskWithFinalizeTask("endless_finalize", fan, endlessTask, none),
		core.NewParentTaskWithFinalize("mending_parent", of(leaf.Child(1), mending.Child(2), leaf.Child(3)), strict, none),
		core.NewSequentialTask("mending_fan_seq", core.Then(mendingFan, gather), none),
		core.NewParentTaskWithFinalize("mending_asleep", of(sleeper.ChildWith("r", core.EnqueueOptions{Timeout: 20 * time.Second}), leaf.Child(1)), strict, none),
		core.NewParentTask("many", notedParent(p, func(_ context.Context, n int) (int, []core.Child, error) {
			children := make([]core.Child, n)
			for i := range children {
				children[i] = leaf.Child(i)
			}
			return 0, children, nil
		}), none),
	}
}

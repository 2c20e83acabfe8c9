// Package work has the tasks that the chaos and soak runs execute: what the throughput benchmark's mixed workload has, with
// an effect on the outside world in each, which is noted in a file.
package work

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Environment variables of the functions.
const (
	// LedgerVariable names the file that gets a line for each effect: the execution's id, the attempt, the task.
	LedgerVariable = "CHAOS_LEDGER"
	// SamplesVariable names the folder in which each process keeps a file of its memory and goroutines, a line a second.
	SamplesVariable = "CHAOS_SAMPLES"
)

// timeout of an attempt. It is short so that a lease does not last long.
const timeout = 2 * time.Second

var options = core.TaskOptions{Timeout: timeout, Retry: core.RetryPolicy{MaxAttempts: 20, BaseDelay: 100 * time.Millisecond}}

// effect is what a task does to the world: one line in the ledger, appended by one write, which the system does whole.
func effect(ctx context.Context) error {
	info := core.InfoOf(ctx)
	file, err := os.OpenFile(os.Getenv(LedgerVariable), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s %d %s\n", info.ExecutionID, info.Attempt, info.TaskID)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// take works for as many milliseconds as n says, from 1 to 200, and has its effect in the middle of it.
func take(ctx context.Context, n int) error {
	half := time.Duration(1+n*37%200) * time.Millisecond / 2
	for i := range 2 {
		select {
		case <-time.After(half):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if i == 0 {
			if err := effect(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// The tasks that Roots names.
var (
	step = core.NewTask("step", func(ctx context.Context, n int) (int, error) { return n + 1, take(ctx, n) }, options)
	work = core.NewTask("work", func(ctx context.Context, n int) (int, error) { return n, take(ctx, n) }, options)
	sum  = core.NewTask("sum", func(ctx context.Context, r core.Results[int]) (int, error) {
		total := 0
		for _, child := range r.Children {
			n, err := work.Result(child)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, effect(ctx)
	}, options)
	fan = core.NewParentTaskWithFinalizeTask("fan", func(ctx context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = work.Child(i)
		}
		return n, children, effect(ctx)
	}, sum, options)
	chain = core.NewSequentialTask("chain", core.Then(core.Then(core.Then(step, step), step), step), core.TaskOptions{})
	until = core.NewTask("until", func(ctx context.Context, n int) (core.Iteration[int, int], error) {
		if err := effect(ctx); err != nil {
			return core.Again[int, int](), err
		}
		if core.InfoOf(ctx).Index < n {
			return core.Again[int, int](), nil
		}
		return core.Done[int](n), nil
	}, options)
	loop = core.NewLoopingTask("loop", until, core.LoopOptions{MaxIterations: 100, Sleep: 200 * time.Millisecond}, core.TaskOptions{})
)

// Registry returns all tasks.
func Registry() (*core.Registry, error) {
	return core.NewRegistry(step, work, sum, fan, chain, until, loop)
}

// Coded reports whether a task has code of its own, which has an effect.
func Coded(task string) bool { return task != chain.ID() && task != loop.ID() }

// Root is what one root execution is to do, and to come to.
type Root struct {
	Task       string
	Input      int
	Output     string // JSON that its output has in it
	Executions int    // that it makes, itself included
}

// Roots returns a root of each kind; the fan has as many children as width says.
func Roots(width int) []Root {
	return []Root{
		{fan.ID(), width, fmt.Sprint(width * (width - 1) / 2), width + 2},
		{chain.ID(), 10, "14", 5},
		{loop.ID(), 3, `"output":3`, 5},
	}
}

// Sample writes what this process uses to a file of its own, a line a second, as long as it lives: the bytes of heap that
// are reachable or not collected yet, and the goroutines. It does nothing when no folder is named.
func Sample() {
	folder := os.Getenv(SamplesVariable)
	if folder == "" {
		return
	}
	go func() {
		path := fmt.Sprintf("%s/%s-%d", folder, os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), os.Getpid())
		for range time.Tick(time.Second) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the folder is the run's own
			if err != nil {
				fmt.Fprintln(os.Stderr, "sample:", err)
				return
			}
			_, _ = fmt.Fprintf(file, "%d %d %d %d\n", time.Now().UnixMilli(), m.HeapInuse, m.Sys-m.HeapReleased, runtime.NumGoroutine())
			_ = file.Close() // a line that is lost is one of many
		}
	}()
}

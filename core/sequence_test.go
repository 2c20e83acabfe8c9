package core_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

func task[In, Out any](id string, run func(In) (Out, error)) *core.Task[In, Out] {
	return core.NewTask(id, func(_ context.Context, in In) (Out, error) { return run(in) }, core.TaskOptions{})
}

// parse, twice and show are steps of a chain from text to text.
var (
	parse = task("parse", strconv.Atoi)
	twice = task("twice", func(n int) (int, error) { return 2 * n, nil })
	show  = task("show", func(n int) (string, error) {
		if n > 100 {
			return "", fmt.Errorf("%d is too much", n)
		}
		return fmt.Sprintf("<%d>", n), nil
	})
	chain      = core.NewSequentialTask("chain", core.Then(core.Then(parse, twice), show), core.TaskOptions{})
	chainTasks = []core.Definition{chain, parse, twice, show}
)

func TestEachStepOfASequenceIsGivenWhatTheOneBeforeCameTo(t *testing.T) {
	inWorld(t, chainTasks, func(w *world) {
		h := enqueue(w, chain, "21")
		if got := wait(w, h); got != "<42>" {
			w.Errorf("output %q", got)
		}
		children, err := w.client.Children(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		var got []string
		for _, c := range children {
			got = append(got, fmt.Sprintf("%d %s %s %s", c.Parent.Index, c.TaskID, c.Status, c.Output.Data))
		}
		if diff := cmp.Diff([]string{"0 parse completed 21", "1 twice completed 42", `2 show completed "<42>"`}, got); diff != "" {
			w.Error(diff)
		}
		output, done, err := w.client.ResultJSON(w.ctx, w.get(h.ID()))
		if string(output) != `"<42>"` || !done || err != nil {
			w.Errorf("output %s, done %t, error %v", output, done, err)
		}
	})
}

func TestAFailingStepEndsTheSequenceAndIsNamed(t *testing.T) {
	inWorld(t, chainTasks, func(w *world) {
		for in, want := range map[string]string{
			"x":  `strconv.Atoi: parsing "x": invalid syntax (step 0)`,
			"51": `102 is too much (step 2)`,
		} {
			h := enqueue(w, chain, in)
			_, err := h.Wait(w.ctx)
			var failed *core.ExecutionError
			if !errors.As(err, &failed) || failed.Status != core.StatusFailed || failed.Failure.Message != want {
				w.Errorf("%s: error %v", in, err)
			}
		}
	})
}

func TestStepsOfEveryKind(t *testing.T) {
	split := core.NewParentTask("split", func(_ context.Context, n int) (string, []core.Child, error) {
		return "of " + strconv.Itoa(n), []core.Child{twice.Child(n), twice.Child(n + 1)}, nil
	}, core.TaskOptions{})
	add := task("add", func(r core.Results[string]) (int, error) {
		total := 0
		for _, c := range r.Children {
			n, err := twice.Result(c)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	})
	countdown := core.NewTask("countdown", func(ctx context.Context, n int) (core.Iteration[int, string], error) {
		if n == 0 {
			return core.Done[int](fmt.Sprint("key ", core.InfoOf(ctx).Index)), nil
		}
		return core.AgainWith[int, string](n - 1), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", countdown, core.LoopOptions{MaxIterations: 50}, core.TaskOptions{})
	key := task("key", func(r core.LoopResult[string]) (string, error) { return r.Output, nil })
	approval := core.NewSleepingTask[int]("approval", core.TaskOptions{})
	inner := core.NewSequentialTask("inner", core.Then(twice, show), core.TaskOptions{})
	all := core.NewSequentialTask("all",
		core.Then(core.Then(core.Then(core.Then(core.Then(core.Then(parse, split), add), loop), key), approval), inner), core.TaskOptions{})
	tasks := []core.Definition{all, parse, twice, show, split, add, countdown, loop, key, approval, inner}
	inWorld(t, tasks, func(w *world) {
		h := enqueue(w, all, "4") // 4 -> (8, 10) -> 18 -> 19 iterations
		for w.get(h.ID()).Family == nil || w.get(h.ID()).Family.Step < 5 {
			time.Sleep(time.Second)
		}
		if _, err := core.Wakeup(w.ctx, w.client, approval, "key 18", 7); err != nil {
			w.Fatal(err)
		}
		if got := wait(w, h); got != "<14>" {
			w.Errorf("output %q", got)
		}
	})
}

func TestBadSequencesAreRefused(t *testing.T) {
	t.Parallel()
	sleeper := core.NewSleepingTask[core.Iteration[string, int]]("sleeper", core.TaskOptions{})
	var none *core.Task[int, string]
	many := core.Then(twice, twice)
	for range 1000 {
		many = core.Then(many, twice)
	}
	for want, tasks := range map[string][]core.Definition{
		"its step 1, task \"twice\", is not registered": {chain, parse, show},
		"its step 1 is nil":                             {core.NewSequentialTask("nil", core.Then(twice, none), core.TaskOptions{}), twice},
		"its step 0 is nil":                             {core.NewSequentialTask[int, int]("nil", nil, core.TaskOptions{})},
		"it has 1002 steps":                             {core.NewSequentialTask("many", many, core.TaskOptions{}), twice},
		"MaxIterations is 0":                            {core.NewLoopingTask("loop", poll, core.LoopOptions{}, core.TaskOptions{}), poll},
		"its iteration task is nil":                     {core.NewLoopingTask[int, int]("loop", nil, core.LoopOptions{MaxIterations: 1}, core.TaskOptions{})},
		"its iteration task \"sleeper\" sleeps":         {core.NewLoopingTask("loop", sleeper, core.LoopOptions{MaxIterations: 1}, core.TaskOptions{}), sleeper},
	} {
		_, err := core.NewRegistry(tasks...)
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// poll is an iteration that is done at a given time.
var poll = core.NewTask("poll", func(_ context.Context, until time.Time) (core.Iteration[time.Time, string], error) {
	if time.Now().Before(until) {
		return core.Again[time.Time, string](), nil
	}
	return core.Done[time.Time]("there"), nil
}, core.TaskOptions{})

func TestALoopPollsWithASleepInBetween(t *testing.T) {
	loop := core.NewLoopingTask("loop", poll, core.LoopOptions{MaxIterations: 100, Sleep: time.Minute}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, poll}, func(w *world) {
		start := time.Now()
		got := wait(w, enqueue(w, loop, start.Add(10*time.Minute-30*time.Second)))
		if diff := cmp.Diff(core.LoopResult[string]{Succeeded: true, Output: "there", Iterations: 11}, got); diff != "" {
			w.Error(diff)
		}
		if took := time.Since(start); took < 10*time.Minute || took > 10*time.Minute+10*time.Second {
			w.Errorf("took %s", took)
		}
	})
}

func TestALoopThatIsNeverDoneDoesNotSucceed(t *testing.T) {
	var waits []int
	loop := core.NewLoopingTask("loop", poll, core.LoopOptions{MaxIterations: 4, SleepFor: func(i int) time.Duration {
		waits = append(waits, i)
		return time.Duration(i) * time.Second
	}}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, poll}, func(w *world) {
		start := time.Now()
		got := wait(w, enqueue(w, loop, start.Add(time.Hour)))
		if diff := cmp.Diff(core.LoopResult[string]{Iterations: 4}, got); diff != "" {
			w.Error(diff)
		}
		if took := time.Since(start); took < 6*time.Second || took > 8*time.Second || !cmp.Equal(waits, []int{1, 2, 3}) {
			w.Errorf("took %s, waits %v", took, waits)
		}
	})
}

func TestAnIterationThatFailsEndsTheLoop(t *testing.T) {
	boom := core.NewTask("boom", func(context.Context, int) (core.Iteration[int, int], error) {
		return core.Iteration[int, int]{}, errors.New("boom")
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	loop := core.NewLoopingTask("loop", boom, core.LoopOptions{MaxIterations: 4}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, boom}, func(w *world) {
		_, err := enqueue(w, loop, 1).Wait(w.ctx)
		var failed *core.ExecutionError
		if !errors.As(err, &failed) || failed.Status != core.StatusFailed || !strings.Contains(err.Error(), "step 0") {
			w.Errorf("error %v", err)
		}
	})
}

func TestALongLoopKeepsItsRecordSmall(t *testing.T) {
	down := core.NewTask("down", func(_ context.Context, n int) (core.Iteration[int, int], error) {
		if n == 0 {
			return core.Done[int](1), nil
		}
		return core.AgainWith[int, int](n - 1), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", down, core.LoopOptions{MaxIterations: 5000}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, down}, func(w *world) {
		h := enqueue(w, loop, 3000)
		if got := wait(w, h); got.Iterations != 3001 {
			w.Errorf("%+v", got)
		}
		f := w.get(h.ID()).Family
		if len(f.Manifest.Data) > 200 || len(f.Counted) > 0 {
			w.Errorf("manifest of %d bytes, %d counted", len(f.Manifest.Data), len(f.Counted))
		}
	})
}

// A sweep runs nothing, so what it commits to must be there for others at once. Its steps once waited, unborn, for room
// that a sweep never has, until its invocation ended.
func TestAStepThatASweepCommitsToIsReadyAtOnce(t *testing.T) {
	letter := core.NewSequentialTask("letter", core.Then(approval, parse), core.TaskOptions{})
	inIdleWorld(t, []core.Definition{letter, approval, parse}, func(w *world) {
		h := enqueue(w, letter, "order 17")
		starter := w.engine().NewExecutor(core.ExecutorOptions{})
		if _, err := starter.StartReady(w.ctx, 10); err != nil {
			w.Fatal(err)
		}
		starter.Flush()
		if _, err := wakeup(w, "order 17", "42"); err != nil {
			w.Fatal(err)
		}
		sweeper := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
		defer sweeper.Shutdown(w.ctx)
		if _, err := sweeper.ProcessChildren(w.ctx, 10); err != nil {
			w.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		children, err := w.client.Children(w.ctx, h.ID())
		if err != nil || len(children) != 2 || children[1].Status != core.StatusReady {
			w.Fatalf("a moment later there are %d steps, error %v", len(children), err)
		}
		starter = w.engine().NewExecutor(core.ExecutorOptions{})
		if _, err := starter.StartReady(w.ctx, 10); err != nil {
			w.Fatal(err)
		}
		starter.Flush()
		if got := wait(w, h); got != 42 {
			w.Errorf("output %d", got)
		}
	})
}

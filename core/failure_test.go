package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// declined is the data of a failure.
type declined struct {
	Cents int    `json:"cents"`
	Bank  string `json:"bank"`
}

// leafTask returns a task that fails with what fail makes of its input.
func leafTask(fail func(context.Context) error) *core.Task[string, string] {
	return core.NewTask("leaf", func(ctx context.Context, in string) (string, error) { return in, fail(ctx) }, core.TaskOptions{})
}

// above returns five parents of every kind above a task, the last one first.
func above(leaf *core.Task[string, string]) (*core.Task[string, string], []core.Definition) {
	all := []core.Definition{leaf}
	up := func(t *core.Task[string, string]) *core.Task[string, string] {
		all = append(all, t)
		return t
	}
	only := func(below *core.Task[string, string]) func(context.Context, string) (string, []core.Child, error) {
		return func(_ context.Context, in string) (string, []core.Child, error) {
			return in, []core.Child{below.Child(in)}, nil
		}
	}
	level1 := up(core.NewSequentialTask[string, string]("level_1", leaf, core.TaskOptions{}))
	level2 := up(core.NewParentTaskWithFinalize("level_2", only(level1), func(_ context.Context, r core.Results[string]) (string, error) {
		out, err := level1.Result(r.Children[0])
		if err != nil {
			return "", fmt.Errorf("the finalizer of level 2: %w", err)
		}
		return out, nil
	}, core.TaskOptions{}))
	finalize3 := core.NewTask("finalize_3", func(_ context.Context, r core.Results[string]) (string, error) {
		return level2.Result(r.Children[0])
	}, core.TaskOptions{})
	all = append(all, finalize3)
	level3 := up(core.NewParentTaskWithFinalizeTask("level_3", only(level2), finalize3, core.TaskOptions{}))
	iteration := core.NewParentTaskWithFinalize("iteration", only(level3), func(_ context.Context, r core.Results[string]) (core.Iteration[string, string], error) {
		out, err := level3.Result(r.Children[0])
		return core.Done[string](out), err
	}, core.TaskOptions{})
	level4 := core.NewLoopingTask("level_4", iteration, core.LoopOptions{MaxIterations: 3}, core.TaskOptions{})
	all = append(all, iteration, level4)
	level5 := up(core.NewParentTaskWithFinalize("level_5",
		func(_ context.Context, in string) (string, []core.Child, error) {
			return in, []core.Child{level4.Child(in)}, nil
		},
		func(_ context.Context, r core.Results[string]) (string, error) {
			out, err := level4.Result(r.Children[0])
			return out.Output, err
		}, core.TaskOptions{}))
	return level5, all
}

func TestACauseItsCodeAndDataSurviveFiveParents(t *testing.T) {
	long := strings.Repeat("the bank said no, and ", 50)
	for name, c := range map[string]struct {
		fail    func(context.Context) error
		code    core.FailureCode
		message string // of the root
	}{
		"a plain error": {func(context.Context) error { return errors.New("no card") }, core.CodeFailed,
			"no card (the finalizer of level 2: step 0)"},
		"Fail": {func(context.Context) error {
			return core.Fail("card_declined", errors.New("no card"), declined{17, "B"})
		}, "card_declined",
			"no card (the finalizer of level 2: step 0)"},
		"a long text": {func(context.Context) error { return core.Fail("card_declined", errors.New(long), declined{17, "B"}) }, "card_declined",
			long[:197] + "…"},
		"a timeout": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, core.CodeTimedOut,
			"context deadline exceeded (the finalizer of level 2: step 0)"},
		"a panic": {func(context.Context) error { panic("no card") }, core.CodePanicked,
			"panic: no card (the finalizer of level 2: step 0)"},
	} {
		t.Run(name, func(t *testing.T) {
			root, tasks := above(leafTask(c.fail))
			inWorld(t, tasks, func(w *world) {
				h := enqueue(w, root, "x")
				_, err := h.Wait(w.ctx)
				var failed *core.ExecutionError
				if !errors.As(err, &failed) || failed.Status != core.StatusFinalizeFailed || failed.Failure.Code != c.code {
					w.Fatalf("error %v", err)
				}
				if failed.Failure.Message != c.message || !strings.HasPrefix(err.Error(), c.message+" [") {
					w.Errorf("message %q, want %q; error %v", failed.Failure.Message, c.message, err)
				}
				e := w.get(h.ID())
				if e.Failure.Code != c.code || e.Failure.Message != c.message {
					w.Errorf("record %+v", e.Failure)
				}
				var data declined
				switch fail := new(core.FailError); {
				case !errors.As(err, &fail):
					if c.code == "card_declined" {
						w.Errorf("there is no FailError in %v", err)
					}
				case fail.Code != string(c.code) || fail.Error() != c.message || !fail.HasData():
					w.Errorf("FailError %+v", fail)
				default:
					if err := fail.Decode(&data); err != nil || data != (declined{17, "B"}) {
						w.Errorf("data %+v, error %v", data, err)
					}
				}
				w.checkChain(e, failed.Failure.Chain(),
					"level_4", "iteration", "level_3", "finalize_3", "level_2", "level_1", "leaf")
				w.settle()
			})
		})
	}
}

// checkChain holds a chain against the records that it names.
func (w *world) checkChain(root *core.Execution, chain []core.Cause, tasks ...string) {
	w.Helper()
	var got []string
	for _, c := range chain {
		got = append(got, c.TaskID)
		e := w.get(c.ExecutionID)
		if e.TaskID != c.TaskID || e.RootID != root.ID || e.Failure.Code != c.Code || e.Failure.Message != c.Message || c.LeftOut != 0 {
			w.Errorf("cause %+v, and the record of %s says %s %q", c, e.TaskID, e.Failure.Code, e.Failure.Message)
		}
	}
	if diff := cmp.Diff(tasks, got); diff != "" {
		w.Errorf("the chain differs (-want +got):\n%s", diff)
	}
}

func TestSentinelsTellWhatHappenedAtTheTopAndBelow(t *testing.T) {
	slow := core.NewTask("slow", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, core.TaskOptions{Timeout: time.Second})
	bounded := core.NewTask("bounded", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, core.TaskOptions{Timeout: time.Hour, StartToFinish: time.Second})
	panics := core.NewTask("panics", func(context.Context, int) (int, error) { panic("no") }, core.TaskOptions{})
	big := core.NewTask("big", func(context.Context, int) (string, error) { return strings.Repeat("x", 2<<20), nil }, core.TaskOptions{})
	picky := core.NewTask("picky", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{})
	text := core.NewTask("text", func(context.Context, int) (string, error) { return "no key", nil }, core.TaskOptions{})
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{Timeout: time.Minute})
	signal := core.NewSequentialTask("signal", core.Then(text, sleeper), core.TaskOptions{})
	own := core.NewTask("own", func(context.Context, int) (int, error) { return 0, core.ErrCancelled }, core.TaskOptions{})
	all := []core.Definition{slow, bounded, panics, big, picky, text, sleeper, signal, own}
	wrap := func(id string, t interface {
		core.Definition
		ID() string
		Child(int) core.Child
	}) *core.Task[int, int] {
		p := core.NewParentTaskWithFinalize(id, func(context.Context, int) (int, []core.Child, error) { return 0, []core.Child{t.Child(1)}, nil },
			func(_ context.Context, r core.Results[int]) (int, error) {
				if r.Children[0].Failure == nil {
					return 0, nil
				}
				return 0, fmt.Errorf("wrapped: %w", r.Children[0].Failure)
			}, core.TaskOptions{})
		all = append(all, p)
		return p
	}
	sentinels := []error{
		core.ErrAttemptTimedOut, core.ErrStartToFinish, core.ErrCancelled, core.ErrPanicked, core.ErrInvalid, core.ErrTooLarge,
		core.ErrScheduleToStart, core.ErrCrashed, core.ErrUnknownTask, core.ErrNotFound,
	}
	cases := map[*core.Task[int, int]][]error{
		wrap("of_slow", slow): {core.ErrAttemptTimedOut}, wrap("of_bounded", bounded): {core.ErrStartToFinish},
		wrap("of_panics", panics): {core.ErrPanicked}, wrap("of_big", big): {core.ErrInvalid, core.ErrTooLarge},
		wrap("of_signal", signal): {core.ErrAttemptTimedOut}, wrap("of_own", own): nil,
		slow: {core.ErrAttemptTimedOut}, bounded: {core.ErrStartToFinish},
	}
	inWorld(t, all, func(w *world) {
		for task, want := range cases {
			_, err := enqueue(w, task, 1).Wait(w.ctx)
			var got []error
			for _, s := range sentinels {
				if errors.Is(err, s) {
					got = append(got, s)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				w.Errorf("%s: %v matches %v, want %v", task.ID(), err, got, want)
			}
			var failed *core.ExecutionError
			if !errors.As(err, &failed) {
				w.Fatal(err)
			}
			if status := failed.Status; strings.HasPrefix(task.ID(), "of_") && status != core.StatusFinalizeFailed {
				w.Errorf("%s is %s: that a child timed out does not make its parent do so", task.ID(), status)
			}
		}
		h := enqueueWith(w, picky, 1, core.EnqueueOptions{Delay: time.Hour})
		if err := h.Cancel(w.ctx, "too late"); err != nil {
			w.Fatal(err)
		}
		if _, err := h.Wait(w.ctx); !errors.Is(err, core.ErrCancelled) || !strings.HasPrefix(err.Error(), "too late") {
			w.Errorf("error %v", err)
		}
		w.settle()
	})
}

func TestATaskChangesTheCodeOnTheWayUpAndTheChainTellsTheOthers(t *testing.T) {
	leaf := leafTask(func(context.Context) error {
		return core.Fail("card_declined", errors.New("no card"), declined{17, "B"})
	})
	parent := core.NewParentTaskWithFinalize("parent",
		func(_ context.Context, in string) (string, []core.Child, error) {
			return in, []core.Child{leaf.Child(in)}, nil
		},
		func(_ context.Context, r core.Results[string]) (string, error) {
			_, err := leaf.Result(r.Children[0])
			var fail *core.FailError
			if !errors.As(err, &fail) || fail.Code != "card_declined" {
				return "", nil
			}
			return "", core.Fail("order_rejected", fmt.Errorf("the order is rejected: %w", fail), "for ever")
		}, core.TaskOptions{})
	root := core.NewSequentialTask[string, string]("root", parent, core.TaskOptions{})
	inWorld(t, []core.Definition{leaf, parent, root}, func(w *world) {
		h := enqueue(w, root, "x")
		_, err := h.Wait(w.ctx)
		var fail *core.FailError
		var data string
		if !errors.As(err, &fail) || fail.Code != "order_rejected" || fail.Decode(&data) != nil || data != "for ever" {
			w.Errorf("FailError %+v, data %q", fail, data)
		}
		var failed *core.ExecutionError
		if !errors.As(err, &failed) || failed.Failure.Message != "no card (step 0: the order is rejected)" {
			w.Fatalf("error %v", err)
		}
		chain := failed.Failure.Chain()
		w.checkChain(w.get(h.ID()), chain, "parent", "leaf")
		if chain[0].Code != "order_rejected" || chain[1].Code != "card_declined" {
			w.Errorf("chain %+v", chain)
		}
	})
}

func TestAChainOfManyParentsIsBounded(t *testing.T) {
	var nested *core.Task[int, int]
	nested = core.NewParentTaskWithFinalize("nested", func(_ context.Context, n int) (int, []core.Child, error) {
		if n == 0 {
			return 0, nil, core.Fail("deep", errors.New("the bottom"), 42)
		}
		return n, []core.Child{nested.Child(n - 1)}, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		_, err := nested.Result(r.Children[0])
		return 0, fmt.Errorf("level %d: %w", r.Output, err)
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{nested}, func(w *world) {
		h := enqueue(w, nested, 200)
		_, err := h.Wait(w.ctx)
		var failed *core.ExecutionError
		if !errors.As(err, &failed) || failed.Failure.Code != "deep" || !strings.HasPrefix(err.Error(), "the bottom (level 200: level 199: ") {
			w.Fatalf("error %v", err)
		}
		chain := failed.Failure.Chain()
		if len(chain) != 64 || chain[31].LeftOut != 200-64 || chain[0].Message[:len("the bottom (level 199")] != "the bottom (level 199" ||
			chain[63].Message != "the bottom" || chain[62].Message != "the bottom (level 1)" {
			w.Errorf("%d causes: %+v", len(chain), chain)
		}
		left := 0
		for _, c := range chain {
			left += c.LeftOut
		}
		if n := len(w.get(h.ID()).Failure.Causes.Data); n > 20_000 || left != 136 {
			w.Errorf("the chain takes %d bytes, %d are left out", n, left)
		}
	})
}

func TestAWakeupsFailureKeepsItsCodeAndData(t *testing.T) {
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{})
	root := core.NewSequentialTask[string, int]("root", sleeper, core.TaskOptions{})
	inWorld(t, []core.Definition{sleeper, root}, func(w *world) {
		for _, early := range []bool{true, false} {
			key := fmt.Sprint("early ", early)
			send := func() {
				if _, err := core.WakeupWithError(w.ctx, w.client, sleeper, key, core.Fail("refused", errors.New("no"), 17)); err != nil {
					w.Fatal(err)
				}
			}
			if early {
				send()
			}
			h := enqueue(w, root, key)
			if !early {
				time.Sleep(time.Minute)
				send()
			}
			_, err := h.Wait(w.ctx)
			var fail *core.FailError
			var data int
			if !errors.As(err, &fail) || fail.Code != "refused" || fail.Decode(&data) != nil || data != 17 || !strings.HasPrefix(err.Error(), "no (step 0)") {
				w.Errorf("%s: error %v, FailError %+v", key, err, fail)
			}
		}
	})
}

func TestAFinalizerReadsWhatTheStepsOfAFailedSequenceReturned(t *testing.T) {
	inner := core.NewParentTask("inner", halves, core.TaskOptions{})
	numbers := task("numbers", func(s string) ([]int, error) { return []int{2, 3, 4}, nil })
	fails := task("fails", func(r core.Results[string]) (int, error) {
		return 0, core.Fail("x", errors.New("boom"), len(r.Children))
	})
	never := task("never", func(n int) (int, error) { return n, nil })
	steps := core.NewSequentialTask("steps", core.Then(core.Then(core.Then(numbers, inner), fails), never), core.TaskOptions{})
	seen := func(ctx context.Context, all []core.ChildResult, err error) (string, error) {
		if err != nil {
			return "", err
		}
		var text []string
		for _, c := range all {
			text = append(text, fmt.Sprintf("%s %s", c.TaskID, c.Status))
		}
		list, err := numbers.Result(all[0])
		if err != nil {
			return "", err
		}
		results, err := inner.Result(all[1])
		if err != nil {
			return "", err
		}
		below, err := all[1].Children(ctx)
		if err != nil || len(below) != 3 || len(results.Children) != 3 {
			return "", fmt.Errorf("%d children, error %w", len(below), err)
		}
		first, err := half.Result(below[0])
		if none, err := below[0].Children(ctx); err != nil || none != nil {
			return "", fmt.Errorf("a child without children has %d, error %w", len(none), err)
		}
		return fmt.Sprintf("%s: %v, half of it %d", strings.Join(text, ", "), list, first), err
	}
	const want = "numbers completed, inner completed, fails failed: [2 3 4], half of it 1"
	run := func(_ context.Context, in string) (string, []core.Child, error) {
		return in, []core.Child{steps.Child(in)}, nil
	}
	finalize := func(ctx context.Context, r core.Results[string]) (string, error) {
		all, err := r.Children[0].Children(ctx)
		return seen(ctx, all, err)
	}
	finalizeTask := core.NewTask("finalize_task", finalize, core.TaskOptions{})
	function := core.NewParentTaskWithFinalize("function", run, finalize, core.TaskOptions{})
	withTask := core.NewParentTaskWithFinalizeTask("with_task", run, finalizeTask, core.TaskOptions{})
	inWorld(t, []core.Definition{half, inner, numbers, fails, never, steps, finalizeTask, function, withTask}, func(w *world) {
		for _, root := range []*core.Task[string, string]{function, withTask} {
			if got := wait(w, enqueue(w, root, "x")); got != want {
				w.Errorf("%s: %s", root.ID(), got)
			}
		}
		_, err := enqueue(w, steps, "x").Wait(w.ctx)
		var failed *core.ExecutionError
		if !errors.As(fmt.Errorf("wrapped: %w", err), &failed) {
			w.Fatal(err)
		}
		all, err := failed.Children(w.ctx)
		if got, err := seen(w.ctx, all, err); err != nil || got != want {
			w.Errorf("after Wait: %s, error %v", got, err)
		}
		var again core.ChildResult
		data, err := json.Marshal(all[2])
		if err == nil {
			err = json.Unmarshal(data, &again)
		}
		if err != nil {
			w.Fatal(err)
		}
		if _, err := again.Children(w.ctx); !errors.Is(err, core.ErrInvalid) {
			w.Errorf("children of a copy: %v", err)
		}
		_, err = fails.Result(again)
		var fail *core.FailError
		var n int
		if !errors.As(err, &fail) || fail.Code != "x" || fail.Decode(&n) != nil || n != 3 {
			w.Errorf("from JSON %s: %+v, %d", data, fail, n)
		}
	})
}

func TestTheChainIsInTheJSONOfAChild(t *testing.T) {
	leaf := leafTask(func(context.Context) error {
		return core.Fail("card_declined", errors.New("no card"), declined{17, "B"})
	})
	mid := core.NewSequentialTask[string, string]("mid", leaf, core.TaskOptions{})
	root := core.NewParentTask("root", func(_ context.Context, in string) (string, []core.Child, error) {
		return in, []core.Child{mid.Child(in)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{leaf, mid, root}, func(w *world) {
		h := enqueue(w, root, "x")
		child := wait(w, h).Children[0]
		data, err := json.Marshal(child)
		if err != nil {
			w.Fatal(err)
		}
		chain := child.Failure.Chain()
		want := fmt.Sprintf(`{"execution_id":%q,"task_id":"mid","status":"failed","failure":{"code":"card_declined","message":"no card (step 0)",`+
			`"data":{"cents":17,"bank":"B"},"chain":[{"task_id":"leaf","execution_id":%q,"code":"card_declined","message":"no card"}]}}`,
			child.ExecutionID, chain[0].ExecutionID)
		if string(data) != want {
			w.Errorf("got  %s\nwant %s", data, want)
		}
		var again core.ChildResult
		if err := json.Unmarshal(data, &again); err != nil || !cmp.Equal(again.Failure.Chain(), chain) {
			w.Errorf("again %+v, error %v", again.Failure, err)
		}
	})
}

// A store may keep data and chains beside the records; they are read when they are asked for.
func TestAFailureIsReadWhereverTheStoreKeepsIt(t *testing.T) {
	for name, data := range map[string]any{"little data": 42, "much data": strings.Repeat("x", 5000)} {
		t.Run(name, func(t *testing.T) {
			root, tasks := above(leafTask(func(context.Context) error { return core.Fail("x", errors.New("no"), data) }))
			inIdleWorld(t, tasks, func(w *world) {
				w.store = memstore.New(memstore.Options{Inline: 16})
				w.config.Store = w.store
				var err error
				if w.client, err = core.NewClient(w.store, core.ClientOptions{}); err != nil {
					w.Fatal(err)
				}
				stop := w.start()
				defer stop()
				h := enqueue(w, root, "x")
				_, err = h.Wait(w.ctx)
				var failed *core.ExecutionError
				var fail *core.FailError
				if !errors.As(err, &failed) || !errors.As(err, &fail) || fail.Code != "x" || !fail.HasData() || len(failed.Failure.Chain()) != 7 {
					w.Fatalf("%v, FailError %+v", err, fail)
				}
				e := w.get(h.ID())
				if e.Failure.Chain() != nil {
					w.Error("the store keeps everything in the record: the test shows nothing")
				}
				if err := w.client.LoadCauses(w.ctx, e); err != nil || len(e.Failure.Chain()) != 7 {
					w.Errorf("chain %v, error %v", e.Failure.Chain(), err)
				}
			})
		})
	}
}

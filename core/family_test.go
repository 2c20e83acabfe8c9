package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// half fails for odd numbers.
var half = core.NewTask("half", func(_ context.Context, n int) (int, error) {
	if n%2 == 1 {
		return 0, fmt.Errorf("%d is odd", n)
	}
	return n / 2, nil
}, core.TaskOptions{})

func halves(_ context.Context, numbers []int) (string, []core.Child, error) {
	children := make([]core.Child, len(numbers))
	for i, n := range numbers {
		children[i] = half.Child(n)
	}
	return fmt.Sprint(len(numbers), " numbers"), children, nil
}

// sum adds up the halves of the even numbers and names the odd ones.
func sum(_ context.Context, r core.Results[string]) (string, error) {
	total, odd := 0, []string{}
	for _, child := range r.Children {
		n, err := half.Result(child)
		if err != nil {
			odd = append(odd, child.Failure.Message)
			continue
		}
		total += n
	}
	return fmt.Sprintf("%s: %d, not %q", r.Output, total, odd), nil
}

const halvesOf1246 = `4 numbers: 6, not ["1 is odd"]`

func TestAParentWithoutFinalizeKeepsAllChildrensResultsInOrder(t *testing.T) {
	parent := core.NewParentTask("parent", halves, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, half}, func(w *world) {
		h := enqueue(w, parent, []int{1, 2, 4, 6})
		got := wait(w, h)
		if text, err := sum(w.ctx, got); err != nil || text != halvesOf1246 || got.Children[0].Status != core.StatusFailed {
			w.Errorf("%s, error %v", text, err)
		}
		for i, child := range got.Children {
			if id := w.get(h.ID()).ChildID(i); child.ExecutionID != id {
				w.Errorf("child %d is %s, want %s", i, child.ExecutionID, id)
			}
		}
		output, done, err := w.client.ResultJSON(w.ctx, w.get(h.ID()))
		if err != nil || !done {
			w.Fatal(err)
		}
		var again core.Results[string]
		if err := json.Unmarshal(output, &again); err != nil {
			w.Fatal(err)
		}
		if text, err := sum(w.ctx, again); err != nil || text != halvesOf1246 {
			w.Errorf("from JSON %s: %s, error %v", output, text, err)
		}
	})
}

func TestAFinalizeFunctionMakesTheParentsOutput(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, half}, func(w *world) {
		h := enqueue(w, parent, []int{1, 2, 4, 6})
		if got := wait(w, h); got != halvesOf1246 {
			w.Error(got)
		}
		if e := w.get(h.ID()); e.ActiveChildren() != 0 || e.Family.Processing != core.ProcessingProcessed {
			w.Errorf("family %+v", e.Family)
		}
	})
}

func TestAFinalizeTaskMakesTheParentsOutputAndIsRetried(t *testing.T) {
	var attempts atomic.Int32
	finalize := core.NewTask("finalize", func(ctx context.Context, r core.Results[string]) (string, error) {
		if attempts.Add(1) == 1 {
			return "", errors.New("once")
		}
		return sum(ctx, r)
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	parent := core.NewParentTaskWithFinalizeTask("parent", halves, finalize, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, half, finalize}, func(w *world) {
		h := enqueue(w, parent, []int{1, 2, 4, 6})
		if got := wait(w, h); got != halvesOf1246 || attempts.Load() != 2 {
			w.Errorf("%s in %d attempts", got, attempts.Load())
		}
		children, err := w.client.Children(w.ctx, h.ID())
		if err != nil || len(children) != 5 || children[4].TaskID != "finalize" || children[4].RootID != h.ID() {
			w.Errorf("children %v, error %v", children, err)
		}
	})
}

func TestAFinalizeThatFails(t *testing.T) {
	boom := func(context.Context, core.Results[string]) (string, error) { return "", errors.New("boom") }
	panics := func(context.Context, core.Results[string]) (string, error) { panic("boom") }
	slow := func(ctx context.Context, _ core.Results[string]) (string, error) {
		<-ctx.Done()
		return "", errors.New("boom")
	}
	task := core.NewTask("finalize", boom, core.TaskOptions{})
	for name, c := range map[string]struct {
		parent *core.Task[[]int, string]
		code   core.FailureCode
	}{
		"a function's error":   {core.NewParentTaskWithFinalize("parent", halves, boom, core.TaskOptions{}), core.CodeFailed},
		"a function's panic":   {core.NewParentTaskWithFinalize("parent", halves, panics, core.TaskOptions{}), core.CodePanicked},
		"a function's timeout": {core.NewParentTaskWithFinalize("parent", halves, slow, core.TaskOptions{}), core.CodeTimedOut},
		"a task's error":       {core.NewParentTaskWithFinalizeTask("parent", halves, task, core.TaskOptions{}), core.CodeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []core.Definition{c.parent, half, task}, func(w *world) {
				_, err := enqueue(w, c.parent, []int{2}).Wait(w.ctx)
				var ended *core.ExecutionError
				if !errors.As(err, &ended) || ended.Status != core.StatusFinalizeFailed || ended.Failure.Code != c.code ||
					!strings.Contains(ended.Failure.Message, "boom") {
					w.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestFamiliesNest(t *testing.T) {
	inner := core.NewParentTask("inner", halves, core.TaskOptions{})
	finalize := core.NewParentTask("finalize", func(_ context.Context, r core.Results[int]) (string, []core.Child, error) {
		text := ""
		for _, child := range r.Children {
			results, err := inner.Result(child)
			if err != nil {
				return "", nil, err
			}
			text += results.Output + ";"
		}
		return text, []core.Child{half.Child(8)}, nil
	}, core.TaskOptions{})
	outer := core.NewParentTaskWithFinalizeTask("outer", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = inner.Child(make([]int, i))
		}
		return n, children, nil
	}, finalize, core.TaskOptions{})
	inWorld(t, []core.Definition{outer, inner, finalize, half}, func(w *world) {
		h := enqueue(w, outer, 3)
		got := wait(w, h)
		if got.Output != "0 numbers;1 numbers;2 numbers;" {
			w.Errorf("output %q", got.Output)
		}
		if n, err := half.Result(got.Children[0]); err != nil || n != 4 {
			w.Errorf("child of the finalize: %d, error %v", n, err)
		}
		w.store.Each(func(e *core.Execution) {
			if e.RootID != h.ID() {
				w.Errorf("root of %s is %s, want %s", e.ID, e.RootID, h.ID())
			}
		})
	})
}

func TestAParentWithNoChildrenGoesOn(t *testing.T) {
	none := core.NewParentTask("none", halves, core.TaskOptions{})
	function := core.NewParentTaskWithFinalize("function", halves, sum, core.TaskOptions{})
	inWorld(t, []core.Definition{none, function, half}, func(w *world) {
		if got := wait(w, enqueue(w, none, nil)); got.Output != "0 numbers" || len(got.Children) != 0 {
			w.Errorf("%+v", got)
		}
		if got := wait(w, enqueue(w, function, nil)); got != `0 numbers: 0, not []` {
			w.Error(got)
		}
	})
}

func TestChildrenThatBreakARuleFailTheParentForGood(t *testing.T) {
	stranger := core.NewTask("stranger", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{})
	text := core.NewTask("text", func(context.Context, string) (int, error) { return 0, nil }, core.TaskOptions{})
	for name, c := range map[string]struct {
		children []core.Child
		says     string
	}{
		"unregistered": {[]core.Child{stranger.Child(1)}, `child 0 of task parent: unknown task "stranger"`},
		"chosen id":    {[]core.Child{half.ChildWith(1, core.EnqueueOptions{ID: "mine"})}, `its id "mine" was chosen`},
		"bad option":   {[]core.Child{half.Child(2), half.ChildWith(1, core.EnqueueOptions{Delay: -1})}, "child 1 of task parent: invalid options"},
		"too large":    {[]core.Child{text.Child(strings.Repeat("x", 2<<20))}, "too large"},
		"too many":     {make([]core.Child, 10_001), "10001 children, the limit is 10000"},
		"not made":     {make([]core.Child, 1), "it was not made by Task.Child"},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
				runs++
				return 0, c.children, nil
			}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})
			inWorld(t, []core.Definition{parent, half, text}, func(w *world) {
				_, err := enqueue(w, parent, 0).Wait(w.ctx)
				var ended *core.ExecutionError
				if !errors.As(err, &ended) || ended.Failure.Code != core.CodeInvalid || !strings.Contains(ended.Failure.Message, c.says) || runs != 1 {
					w.Errorf("after %d runs: %v", runs, err)
				}
				if n := w.store.Len(); n != 1 {
					w.Errorf("%d executions exist, want the parent alone", n)
				}
			})
		})
	}
}

func TestWideFamiliesAreCountedWhole(t *testing.T) {
	for _, n := range []int{core.CountDirect, core.CountDirect + 1, 3 * core.CountBucket, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
			inWorld(t, []core.Definition{parent, half}, func(w *world) {
				numbers := make([]int, n)
				for i := range numbers {
					numbers[i] = 2
				}
				if got, want := wait(w, enqueue(w, parent, numbers)), fmt.Sprintf("%d numbers: %d, not []", n, n); got != want {
					w.Errorf("%s, want %s", got, want)
				}
			})
		})
	}
}

// sleeper runs until its context ends.
var sleeper = core.NewTask("sleeper", func(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}, core.TaskOptions{Timeout: time.Hour})

func TestCancelEndsWhateverIsUnfinishedBelow(t *testing.T) {
	var causes atomic.Int32
	told := core.NewTask("told", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), core.ErrCancelled) {
			causes.Add(1)
		}
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: time.Hour})
	inner := core.NewParentTask("inner", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{told.Child(0), told.ChildWith(0, core.EnqueueOptions{Delay: time.Hour}), half.Child(2)}, nil
	}, core.TaskOptions{})
	outer := core.NewParentTask("outer", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{inner.Child(0), told.Child(0)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{outer, inner, told, half}, func(w *world) {
		h := enqueue(w, outer, 0)
		time.Sleep(10 * time.Second)
		if err := h.Cancel(w.ctx, "changed my mind"); err != nil {
			w.Fatal(err)
		}
		statuses := map[string]int{}
		w.store.Each(func(e *core.Execution) { statuses[e.TaskID+" "+string(e.Status)]++ })
		want := map[string]int{"outer cancelled": 1, "inner cancelled": 1, "told cancelled": 3, "half completed": 1}
		if diff := cmp.Diff(want, statuses); diff != "" {
			w.Error(diff)
		}
		time.Sleep(2 * time.Second)
		if n := causes.Load(); n != 2 {
			w.Errorf("%d running tasks were told within 2s, want 2", n)
		}
		if err := h.Cancel(w.ctx, "again"); !errors.Is(err, core.ErrFinished) {
			w.Errorf("cancelling again: %v", err)
		}
		if e := w.get(h.ID()); e.Failure.Message != "changed my mind" {
			w.Errorf("failure %q", e.Failure.Message)
		}
	})
}

func TestACancelledFinalizeFunctionIsTold(t *testing.T) {
	var told atomic.Bool
	parent := core.NewParentTaskWithFinalize("parent", halves, func(ctx context.Context, _ core.Results[string]) (int, error) {
		<-ctx.Done()
		told.Store(errors.Is(context.Cause(ctx), core.ErrCancelled))
		return 0, nil
	}, core.TaskOptions{Timeout: time.Hour})
	inWorld(t, []core.Definition{parent, half}, func(w *world) {
		h := enqueue(w, parent, []int{2})
		time.Sleep(10 * time.Second)
		if err := h.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if !told.Load() {
			w.Error("the finalize function was not told")
		}
	})
}

// The tests below let an executor die between two writes and a fresh engine repair what it left.

func TestAChildWhoseExecutorDiedBeforeItToldTheParent(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h := enqueue(w, parent, []int{2})
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		w.config.Concurrency = 1
		p := w.claim(h.ID())
		p = w.update(p, core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"1 numbers"`)}, Nonce: "n", Size: 1,
			Manifest: manifest(t, core.Spec{TaskID: "half", Input: []byte("2"), Timeout: time.Second}), CheckAt: time.Now(),
		})
		if _, err := x.ProcessChildren(w.ctx, 10); err != nil {
			t.Fatal(err)
		}
		child := w.claim(p.ChildID(0))
		w.update(child, core.Succeed{ExecutorID: "dead", Output: core.Payload{Data: []byte("1")}})
		x.Flush()
		stop := w.start()
		if got := wait(w, h); got != "1 numbers: 1, not []" {
			t.Error(got)
		}
		stop()
		w.checkClosed()
	})
}

func manifest(t *testing.T, specs ...core.Spec) core.Payload {
	t.Helper()
	data, err := core.EncodeManifest(specs)
	if err != nil {
		t.Fatal(err)
	}
	return core.Payload{Data: data}
}

// commit makes a parent that is committed to two children of which none exists.
func (w *world) commit(id string) *core.Execution {
	w.Helper()
	return w.update(w.claim(id), core.CommitChildren{
		ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"2 numbers"`)}, Nonce: "n", Size: 2,
		Manifest: manifest(w.T,
			core.Spec{TaskID: "half", Input: []byte("2"), Timeout: time.Second},
			core.Spec{TaskID: "half", Input: []byte("3"), Timeout: time.Second}),
		CheckAt: time.Now().Add(10 * time.Second),
	})
}

func TestAParentWhoseExecutorDiedBeforeItPutTheChildrenIn(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h := enqueue(w, parent, []int{2, 3})
		w.commit(h.ID())
		begun := time.Now()
		stop := w.start()
		if got := wait(w, h); got != `2 numbers: 1, not ["3 is odd"]` {
			t.Error(got)
		}
		if took := time.Since(begun); took > 12*time.Second {
			t.Errorf("repaired after %s, want the spawn check's 10s", took)
		}
		stop()
		w.checkClosed()
	})
}

func TestCancellingAParentWhoseChildrenDoNotExistYet(t *testing.T) {
	parent := core.NewParentTask("parent", halves, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h := enqueue(w, parent, []int{2, 3})
		p := w.commit(h.ID())
		if err := h.Cancel(w.ctx, ""); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			child := w.get(p.ChildID(i))
			if child.Status != core.StatusCancelled || child.CloseStatus != core.CloseClosed {
				t.Errorf("child %d is %s, %s", i, child.Status, child.CloseStatus)
			}
			late := core.NewExecution(p.ChildID(i), core.Spec{TaskID: "half", Timeout: time.Second}, time.Now())
			if err := w.store.Insert(w.ctx, []*core.Execution{late})[0]; !errors.Is(err, core.ErrAlreadyExists) {
				t.Errorf("a late insert of child %d: %v", i, err)
			}
		}
		stop := w.start()
		w.settle()
		stop()
		w.checkClosed()
	})
}

func TestAFinalizeFunctionWhoseExecutorDied(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h := enqueue(w, parent, nil)
		p := w.update(w.claim(h.ID()), core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"0 numbers"`)}, Nonce: "n",
		})
		w.update(p, core.ClaimChildren{ExecutorID: "dead", ExpiresAt: time.Now().Add(35 * time.Second)})
		stop := w.start()
		if got := wait(w, h); got != "0 numbers: 0, not []" {
			t.Error(got)
		}
		if e := w.get(h.ID()); e.Family.Recoveries != 1 {
			t.Errorf("%d recoveries", e.Family.Recoveries)
		}
		stop()
		w.checkClosed()
	})
}

// A sweep's lease on finished children is for what tasks may take as they are declared; a finalize function that was given
// more time by its enqueue, or that began late under that lease, was once called again by others while it ran.
func TestAFinalizeFunctionRunsUnderALeaseForAllItsTime(t *testing.T) {
	var calls atomic.Int32
	parent := core.NewParentTaskWithFinalize("parent", halves, func(context.Context, core.Results[string]) (string, error) {
		calls.Add(1)
		time.Sleep(50 * time.Second)
		return "done", nil
	}, core.TaskOptions{Timeout: 10 * time.Second})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h, err := parent.EnqueueWith(w.ctx, w.client, nil, core.EnqueueOptions{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		w.update(w.claim(h.ID()), core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"0 numbers"`)}, Nonce: "n",
		})
		stops := []func(){w.start(), w.start()}
		if got := wait(w, h); got != "done" {
			t.Error(got)
		}
		if e := w.get(h.ID()); calls.Load() != 1 || e.Family.Recoveries != 0 {
			t.Errorf("it was called %d times, after %d recoveries", calls.Load(), e.Family.Recoveries)
		}
		for _, stop := range stops {
			stop()
		}
		w.checkClosed()
	})
}

func TestAFinalizeTaskWhoseParentsExecutorDiedBeforeItWasPutIn(t *testing.T) {
	finalize := core.NewTask("finalize", sum, core.TaskOptions{})
	parent := core.NewParentTaskWithFinalizeTask("parent", halves, finalize, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half, finalize})
		h := enqueue(w, parent, nil)
		p := w.update(w.claim(h.ID()), core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"0 numbers"`)}, Nonce: "n",
		})
		w.update(p, core.CommitFinalize{ExecutorID: "dead", TaskID: "finalize", CheckAt: time.Now().Add(10 * time.Second)})
		stop := w.start()
		if got := wait(w, h); got != "0 numbers: 0, not []" {
			t.Error(got)
		}
		stop()
		w.checkClosed()
	})
}

func TestAFailedParentOfWhichChildrenAreLeft(t *testing.T) {
	// A crash in the finalize's claim fails the parent; here it is a parent that failed while a child ran.
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{sleeper.Child(0)}, nil
	}, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, sleeper})
		h := enqueue(w, parent, 0)
		stop := w.start()
		time.Sleep(5 * time.Second)
		p := w.get(h.ID())
		w.update(p, core.Cancel{Reason: "by somebody who died right after it"})
		w.settle()
		if child := w.get(p.ChildID(0)); child.Status != core.StatusCancelled {
			t.Errorf("the child is %s", child.Status)
		}
		stop()
		w.checkClosed()
	})
}

// halfway claims parents and fails all the same, as a store does of which one shard did not answer.
type halfway struct{ core.Store }

func (s halfway) ClaimChildrenFinished(ctx context.Context, c core.Claim) (core.Swept, error) {
	swept, err := s.Store.ClaimChildrenFinished(ctx, c)
	return swept, errors.Join(err, errors.New("a shard did not answer"))
}

// Parents that a sweep had claimed before it failed were once left to the end of their lease.
func TestParentsThatAFailingSweepClaimedGoOn(t *testing.T) {
	parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{parent, half})
		h := enqueue(w, parent, nil)
		w.update(w.claim(h.ID()), core.CommitChildren{
			ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"0 numbers"`)}, Nonce: "n",
		})
		w.config.Store = halfway{w.store}
		x := w.engine().NewExecutor(core.ExecutorOptions{SweepOnly: true})
		if _, err := x.ProcessChildren(w.ctx, 10); err == nil || !strings.Contains(err.Error(), "a shard did not answer") {
			t.Errorf("error %v", err)
		}
		x.Flush()
		if e := w.get(h.ID()); e.Status != core.StatusCompleted {
			t.Errorf("the parent is %s", e.Status)
		}
		w.checkClosed()
	})
}

// The finalize execution of a parent of no children is made without a manifest, which there is none of: closing such a
// parent, cancelled before that execution was put, once failed for ever.
func TestACancelledParentOfNoChildrenIsClosedThoughItsFinalizeIsNotPut(t *testing.T) {
	t.Parallel()
	finalize := core.NewTask("finalize", func(_ context.Context, r core.Results[int]) (int, error) { return r.Output, nil }, core.TaskOptions{})
	parent := core.NewParentTaskWithFinalizeTask("parent", func(_ context.Context, n int) (int, []core.Child, error) {
		return n, nil, nil
	}, finalize, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, finalize}, func(w *world) {
		h := enqueue(w, parent, 1)
		e := w.update(w.claim(h.ID()), core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte("1")}, Nonce: "n"})
		e = w.update(e, core.CommitFinalize{TaskID: "finalize", CheckAt: time.Now().Add(10 * time.Second)})
		if err := h.Cancel(w.ctx, "no"); err != nil {
			t.Fatal(err)
		}
		stop := w.start()
		w.settle()
		stop()
		if f := w.get(e.ChildID(core.FinalizeIndex)); f.Status != core.StatusCancelled {
			t.Errorf("the finalize execution is %s", f.Status)
		}
		w.checkClosed()
	})
}

package core_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// version starts an engine of another version of the program, which has other tasks, on the world's store.
func (w *world) version(tasks ...core.Definition) (stop func()) {
	w.Helper()
	registry, err := core.NewRegistry(tasks...)
	if err != nil {
		w.Fatal(err)
	}
	other := *w
	other.config.Registry = registry
	return other.start()
}

func TestAStepWhoseTaskIsUnknownIsLeftToAnExecutorThatKnowsIt(t *testing.T) {
	text := func(id string, opts core.TaskOptions) *core.Task[string, string] {
		return core.NewTask(id, func(_ context.Context, s string) (string, error) { return s + "." + id, nil }, opts)
	}
	first, ask, last := text("first", core.TaskOptions{Delay: time.Minute}), core.NewSleepingTask[string]("ask", core.TaskOptions{}), text("last", core.TaskOptions{})
	newChain := core.NewSequentialTask("chain", core.Then(core.Then(first, ask), last), core.TaskOptions{})
	newTasks := []core.Definition{newChain, first, ask, last}
	for name, oldTasks := range map[string][]core.Definition{
		"the chain was shorter":      {core.NewSequentialTask("chain", core.Then(first, last), core.TaskOptions{}), first, last},
		"the chain is new":           {first, last},
		"the chain was a plain task": {text("chain", core.TaskOptions{}), first, last},
	} {
		t.Run(name, func(t *testing.T) {
			inIdleWorld(t, newTasks, func(w *world) {
				h := enqueue(w, newChain, "k")
				stop := w.version(newTasks...)
				time.Sleep(30 * time.Second)
				stop()
				stop = w.version(oldTasks...)
				time.Sleep(10 * time.Minute)
				stop()
				if e := w.get(h.ID()); e.Status != core.StatusWaitingForChildren || w.get(e.ChildID(0)).Status != core.StatusCompleted {
					w.Fatalf("after the old version it is %s, %v", e.Status, e.Failure)
				}
				defer w.version(newTasks...)()
				w.settle()
				if _, err := core.Wakeup(w.ctx, w.client, ask, "k.first", "asked"); err != nil {
					w.Fatal(err)
				}
				if got := wait(w, h); got != "asked.last" {
					w.Error(got)
				}
			})
		})
	}
}

func TestAStepThatNobodyKnowsEndsItsSequence(t *testing.T) {
	first := core.NewTask("first", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{Delay: time.Minute})
	last := core.NewTask("last", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(first, last), core.TaskOptions{})
	inIdleWorld(t, []core.Definition{chain, first, last}, func(w *world) {
		h := enqueue(w, chain, "x")
		stop := w.start()
		time.Sleep(30 * time.Second)
		stop()
		defer w.version(core.NewSequentialTask("chain", first, core.TaskOptions{}), first)()
		time.Sleep(4 * time.Hour)
		if e := w.get(h.ID()); e.Status != core.StatusFailed || e.Failure.Code != core.CodeNotFound {
			w.Errorf("it is %s, %v", e.Status, e.Failure)
		}
	})
}

func TestAFinalizeTaskThatIsUnknownIsLeftToAnExecutorThatKnowsIt(t *testing.T) {
	tries := 0
	finalize := core.NewTask("finalize", func(_ context.Context, r core.Results[string]) (string, error) {
		if tries++; tries < 3 {
			return "", errors.New("once more")
		}
		return r.Output, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})
	parent := core.NewParentTaskWithFinalizeTask("parent", halves, finalize, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, half, finalize}, func(w *world) {
		h := enqueue(w, parent, []int{2})
		e := w.claim(h.ID())
		e = w.update(e, core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"out"`)}, Nonce: core.NewNonce()})
		w.update(e, core.CommitFinalize{ExecutorID: "dead", TaskID: "finalize", CheckAt: time.Now()})
		stop := w.version(core.NewParentTask("parent", halves, core.TaskOptions{}), half)
		time.Sleep(10 * time.Minute)
		stop()
		defer w.start()()
		if got := wait(w, h); got != "out" {
			w.Error(got)
		}
	})
}

func TestAFinalizeTaskThatNobodyKnowsEndsItsParent(t *testing.T) {
	finalize := core.NewTask("finalize", func(_ context.Context, r core.Results[string]) (string, error) { return r.Output, nil }, core.TaskOptions{})
	parent := core.NewParentTaskWithFinalizeTask("parent", halves, finalize, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, half, finalize}, func(w *world) {
		h := enqueue(w, parent, []int{2})
		e := w.claim(h.ID())
		e = w.update(e, core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`"out"`)}, Nonce: core.NewNonce()})
		w.update(e, core.CommitFinalize{ExecutorID: "dead", TaskID: "finalize", CheckAt: time.Now()})
		defer w.version(half)()
		time.Sleep(4 * time.Hour)
		if e := w.get(h.ID()); e.Status != core.StatusFinalizeFailed || e.Failure.Code != core.CodeNotFound {
			w.Errorf("it is %s, %v", e.Status, e.Failure)
		}
	})
}

func TestAValueThatOnlyAnotherVersionDecodesIsLeftToIt(t *testing.T) {
	type newInput struct{ N string } // was a number
	opts := core.TaskOptions{}
	newTask := core.NewTask("task", func(_ context.Context, in newInput) (string, error) { return in.N, nil }, opts)
	newLast := core.NewTask("last", func(_ context.Context, s string) (string, error) { return s, nil }, opts)
	newChain := core.NewSequentialTask("chain", core.Then(newTask, newLast), opts)
	newFinal := core.NewParentTaskWithFinalize("final", func(context.Context, int) (newInput, []core.Child, error) {
		return newInput{"n"}, []core.Child{double.ChildWith(1, core.EnqueueOptions{Delay: time.Minute})}, nil
	}, func(_ context.Context, r core.Results[newInput]) (string, error) { return r.Output.N, nil }, opts)
	newIteration := core.NewTask("iteration", func(context.Context, int) (core.Iteration[int, newInput], error) {
		return core.Done[int](newInput{"n"}), nil
	}, core.TaskOptions{})
	newLoop := core.NewLoopingTask("loop", newIteration, core.LoopOptions{MaxIterations: 2}, opts)
	newTasks := []core.Definition{newTask, newLast, newChain, newFinal, double, newIteration, newLoop}

	type oldInput struct{ N int }
	oldTask := core.NewTask("task", func(_ context.Context, in oldInput) (string, error) { return "old", nil }, opts).Validate(func(oldInput) error { return nil })
	oldLast := core.NewTask("last", func(_ context.Context, n int) (string, error) { return "old", nil }, opts)
	oldFinal := core.NewParentTaskWithFinalize("final", func(context.Context, int) (oldInput, []core.Child, error) { return oldInput{}, nil, nil },
		func(_ context.Context, r core.Results[oldInput]) (string, error) { return "old", nil }, opts)
	inIdleWorld(t, newTasks, func(w *world) {
		plain := enqueue(w, newTask, newInput{"n"})
		chain := enqueue(w, newChain, newInput{"n"})
		loop := enqueueWith(w, newLoop, 1, core.EnqueueOptions{})
		final := enqueue(w, newFinal, 1)
		e := w.update(w.claim(final.ID()), core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`{"N":"n"}`)}, Nonce: core.NewNonce()})
		_ = e
		stop := w.version(oldTask, oldLast, oldFinal, double)
		time.Sleep(10 * time.Minute)
		stop()
		for _, id := range []string{plain.ID(), chain.ID(), final.ID(), loop.ID()} {
			if e := w.get(id); e.Status.Finished() {
				w.Errorf("the old version ended %s: %s, %v", e.TaskID, e.Status, e.Failure)
			}
		}
		stop = w.version(newTasks...)
		for _, h := range []*core.Handle[string]{plain, chain, final} {
			if got := wait(w, h); got != "n" {
				w.Error(got)
			}
		}
		if got := wait(w, loop); got.Output.N != "n" {
			w.Errorf("%+v", got)
		}
		stop()
		// What nobody decodes ends after the limit.
		lost := enqueue(w, newTask, newInput{"n"})
		defer w.version(oldTask)()
		time.Sleep(4 * time.Hour)
		if e := w.get(lost.ID()); e.Status != core.StatusFailed || e.Failure.Code != core.CodeInvalid || e.Attempts != 1 {
			w.Errorf("it is %s after %d attempts: %v", e.Status, e.Attempts, e.Failure)
		}
	})
}

func TestAReadyRecordOfASignalFailsAndCallsNothing(t *testing.T) {
	inIdleWorld(t, []core.Definition{approval}, func(w *world) {
		e := core.NewExecution("x", core.Spec{TaskID: "approval", Timeout: time.Second, Input: []byte(`"k"`)}, time.Now())
		e.Nonce = core.NewNonce()
		if err := w.store.Insert(w.ctx, []*core.Execution{e})[0]; err != nil {
			w.Fatal(err)
		}
		defer w.start()()
		time.Sleep(4 * time.Hour) // the task may be another one in another version of the program
		if e := w.get("x"); e.Status != core.StatusFailed || e.Failure.Code != core.CodeInvalid {
			w.Errorf("it is %s, %v", e.Status, e.Failure)
		}
	})
}

// The executor that claimed a sequence committed it to its own version's steps, even when the input was another version's.
func TestASequenceWhoseInputOnlyAnotherVersionDecodesIsLeftToIt(t *testing.T) {
	type newInput struct{ N string }
	opts := core.TaskOptions{}
	newFirst := core.NewTask("new_first", func(_ context.Context, in newInput) (string, error) { return in.N, nil }, opts)
	newChain := core.NewSequentialTask[newInput, string]("chain", newFirst, opts)
	outer := core.NewSequentialTask[newInput, string]("outer", newChain, opts)
	family := core.NewParentTask("family", func(_ context.Context, in newInput) (int, []core.Child, error) {
		return 0, []core.Child{newChain.ChildWith(in, core.EnqueueOptions{Delay: time.Minute})}, nil
	}, opts)
	newTasks := []core.Definition{newFirst, newChain, outer, family}
	oldFirst := core.NewTask("old_first", func(context.Context, int) (string, error) { return "old", nil }, opts)
	ask := core.NewSleepingTask[string]("ask", opts)
	for name, oldTasks := range map[string][]core.Definition{
		"its first step was another one": {oldFirst, core.NewSequentialTask[int, string]("chain", oldFirst, opts)},
		"its first step slept":           {ask, core.NewSequentialTask[string, string]("chain", ask, opts)},
	} {
		t.Run(name, func(t *testing.T) {
			inIdleWorld(t, newTasks, func(w *world) {
				of := enqueue(w, family, newInput{"n"})
				stop := w.start()
				time.Sleep(time.Second)
				stop()
				plain, in := enqueue(w, newChain, newInput{"n"}), enqueue(w, outer, newInput{"n"})
				stop = w.version(oldTasks...)
				time.Sleep(10 * time.Minute)
				stop()
				defer w.start()()
				for _, h := range []*core.Handle[string]{plain, in} {
					if got := wait(w, h); got != "n" {
						w.Error(got)
					}
				}
				if got, err := newChain.Result(wait(w, of).Children[0]); err != nil || got != "n" {
					w.Errorf("%s, error %v", got, err)
				}
			})
			// Where nobody decodes it, it ends.
			inIdleWorld(t, newTasks, func(w *world) {
				h := enqueue(w, newChain, newInput{"n"})
				defer w.version(oldTasks...)()
				time.Sleep(4 * time.Hour)
				if e := w.get(h.ID()); e.Status != core.StatusFailed || e.Failure.Code != core.CodeInvalid {
					w.Errorf("it is %s: %v", e.Status, e.Failure)
				}
			})
		})
	}
}

// An id may be that of a task of another kind in another version. A task that slept there once failed what it could not
// run, and a plain one completed a family without its finalizer.
func TestATaskOfAnotherKindIsLeftToTheVersionWhoseItIs(t *testing.T) {
	opts := core.TaskOptions{}
	leaf := core.NewTask("leaf", func(_ context.Context, s string) (string, error) { return s + ".leaf", nil }, core.TaskOptions{Delay: time.Minute})
	final := core.NewParentTaskWithFinalize("task", func(_ context.Context, s string) (string, []core.Child, error) {
		return s, []core.Child{leaf.Child(s)}, nil
	}, func(_ context.Context, r core.Results[string]) (string, error) { return r.Output + ".final", nil }, opts)
	plain := core.NewTask("task", func(_ context.Context, s string) (string, error) { return s, nil }, opts)
	for name, c := range map[string]struct {
		is      *core.Task[string, string]
		old     core.Definition
		started time.Duration // for how long the new version runs first
		want    string
	}{
		"a plain task that slept":             {plain, core.NewSleepingTask[string]("task", opts), 0, "in"},
		"a parent that slept":                 {final, core.NewSleepingTask[string]("task", opts), 0, "in.final"},
		"a family of a task that was plain":   {final, plain, time.Second, "in.final"},
		"a family of a task that slept":       {final, core.NewSleepingTask[string]("task", opts), time.Second, "in.final"},
		"a family of one that was a sequence": {final, core.NewSequentialTask[string, string]("task", leaf, opts), time.Second, "in.final"},
	} {
		t.Run(name, func(t *testing.T) {
			inIdleWorld(t, []core.Definition{c.is, leaf}, func(w *world) {
				h := enqueue(w, c.is, "in")
				if c.started > 0 {
					stop := w.start()
					time.Sleep(c.started)
					stop()
				}
				stop := w.version(c.old, leaf)
				time.Sleep(10 * time.Minute)
				stop()
				if e := w.get(h.ID()); e.Status.Finished() {
					w.Errorf("the old version ended it: %s, %v", e.Status, e.Failure)
				}
				defer w.start()()
				if got := wait(w, h); got != c.want {
					w.Error(got)
				}
			})
		})
	}
}

// The executor that took a loop on encoded its state and output again, and lost the fields that its version did not know.
func TestALoopKeepsFieldsThatOnlyAnotherVersionKnows(t *testing.T) {
	type newState struct{ A, B int }
	type oldState struct{ A int }
	opts := core.TaskOptions{Delay: time.Minute}
	newIteration := core.NewTask("iteration", func(ctx context.Context, s newState) (core.Iteration[newState, newState], error) {
		if core.InfoOf(ctx).Index == 0 {
			return core.AgainWith[newState, newState](newState{s.A + 1, s.B + 2}), nil
		}
		return core.Done[newState](newState{s.A * 10, s.B * 10}), nil
	}, opts)
	newLoop := core.NewLoopingTask("loop", newIteration, core.LoopOptions{MaxIterations: 3}, core.TaskOptions{})
	oldIteration := core.NewTask("iteration", func(context.Context, oldState) (core.Iteration[oldState, oldState], error) {
		return core.Done[oldState](oldState{}), nil
	}, opts)
	oldLoop := core.NewLoopingTask("loop", oldIteration, core.LoopOptions{MaxIterations: 3}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{newIteration, newLoop}, func(w *world) {
		h := enqueue(w, newLoop, newState{})
		stop := w.start()
		time.Sleep(time.Second)
		stop()
		for i, out := range []string{`{"done":false,"next":{"A":1,"B":2},"has_next":true}`, `{"done":true,"output":{"A":10,"B":20}}`} {
			// A new executor ends the iteration and dies, an old one follows up.
			time.Sleep(time.Minute)
			iteration := w.claim(w.get(h.ID()).ChildID(i))
			w.update(iteration, core.Succeed{ExecutorID: "dead", Output: core.Payload{Data: []byte(out)}})
			stop := w.version(oldIteration, oldLoop)
			time.Sleep(50 * time.Second)
			stop()
		}
		got := wait(w, h)
		second := w.get(w.get(h.ID()).ChildID(1))
		if string(second.Input.Data) != `{"A":1,"B":2}` || got.Output != (newState{10, 20}) || got.Iterations != 2 {
			w.Errorf("the second iteration was given %s, the loop returned %+v", second.Input.Data, got)
		}
	})
}

// The lease on such a family was once renewed as if its task was known, so that the hour in which somebody might decode it
// began anew each time.
func TestAFamilyThatNobodyDecodesEndsThoughItsLeaseIsRenewed(t *testing.T) {
	type output struct{ N int }
	final := core.NewParentTaskWithFinalize("final", func(context.Context, int) (output, []core.Child, error) { return output{}, nil, nil },
		func(context.Context, core.Results[output]) (int, error) { return 1, nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{final}, func(w *world) {
		h := enqueueWith(w, final, 1, core.EnqueueOptions{Timeout: 10 * time.Minute}) // longer than leases on families are
		w.update(w.claim(h.ID()), core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte(`{"N":"n"}`)}, Nonce: core.NewNonce()})
		defer w.start()()
		time.Sleep(4 * time.Hour)
		if e := w.get(h.ID()); e.Status != core.StatusFinalizeFailed || e.Failure.Code != core.CodeInvalid {
			w.Errorf("it is %s: %v", e.Status, e.Failure)
		}
	})
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// redrive fails the test when the execution is not redriven.
func redrive[Out any](w *world, h *core.Handle[Out], task interface {
	HandleOf(*core.Client, string) *core.Handle[Out]
}) *core.Handle[Out] {
	w.Helper()
	id, err := w.client.Redrive(w.ctx, h.ID())
	if err != nil {
		w.Fatal(err)
	}
	return task.HandleOf(w.client, id)
}

func (l *ledger) ran(w *world, want map[string]int) {
	w.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.runs); diff != "" {
		w.Errorf("runs: %s", diff)
	}
}

// fan returns a task that makes a leaf of each word and completes however they end.
func (l *ledger) fan(id string, leaf *core.Task[string, string]) *core.Task[string, core.Results[string]] {
	return core.NewParentTask(id, func(_ context.Context, text string) (string, []core.Child, error) {
		var children []core.Child
		for word := range strings.FieldsSeq(text) {
			children = append(children, leaf.Child(word))
		}
		return text, children, l.run(id)
	}, core.TaskOptions{})
}

// gather returns a task that joins what leaves came to, or fails when one of them did.
func (l *ledger) gather(leaf *core.Task[string, string]) *core.Task[core.Results[string], string] {
	return core.NewTask("gather", func(_ context.Context, r core.Results[string]) (string, error) {
		if err := l.run("gather"); err != nil {
			return "", err
		}
		return strictJoin(leaf, leaf)(context.Background(), r)
	}, core.TaskOptions{})
}

func TestARedriveRunsTheItemsThatTheGatherFailedFor(t *testing.T) {
	l := newLedger("b")
	leaf := l.leaf()
	fan, gather := l.fan("fan", leaf), l.gather(leaf)
	seq := core.NewSequentialTask("seq", core.Then(fan, gather), core.TaskOptions{})
	inWorld(t, []core.Definition{seq, fan, gather, leaf}, func(w *world) {
		h := enqueue(w, seq, "a b c")
		if e := ended(w, h); e.Status != core.StatusFailed {
			w.Fatalf("first: %v", e)
		}
		w.settle()
		still := redrive(w, h, seq)
		ended(w, still)
		w.settle()
		l.ran(w, map[string]int{"fan": 2, "a": 1, "b": 2, "c": 1, "gather": 2})
		l.repair()
		mended := redrive(w, still, seq)
		if got := wait(w, mended); got != "(A B C)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"fan": 3, "a": 1, "b": 3, "c": 1, "gather": 3})
		if _, err := w.client.Redrive(w.ctx, mended.ID()); !errors.Is(err, core.ErrNotAllowed) {
			w.Errorf("redrive of what succeeded: error %v", err)
		}
	})
}

func TestARedriveRunsWhatFailedBelowCompletedParents(t *testing.T) {
	l := newLedger("b", "end")
	leaf := l.leaf()
	inner := l.fan("inner", leaf)
	// lenient completes whatever its children came to; deep has a sequence of it in a family.
	lenient := core.NewParentTaskWithFinalize("lenient", func(_ context.Context, text string) (string, []core.Child, error) {
		return text, []core.Child{inner.Child(text)}, l.run("lenient " + text)
	}, func(_ context.Context, r core.Results[string]) (string, error) { return r.Output, nil }, core.TaskOptions{})
	finalizer := core.NewTask("finalizer", func(_ context.Context, r core.Results[string]) (string, error) {
		return r.Output, l.run("finalizer " + r.Output)
	}, core.TaskOptions{})
	patient := core.NewParentTaskWithFinalizeTask("patient", func(_ context.Context, text string) (string, []core.Child, error) {
		return text, []core.Child{leaf.Child(text)}, l.run("patient " + text)
	}, finalizer, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(lenient, patient), core.TaskOptions{})
	end := core.NewTask("end", func(context.Context, core.Results[string]) (string, error) { return "end", l.run("end") }, core.TaskOptions{})
	deep := core.NewParentTask("deep", func(_ context.Context, text string) (string, []core.Child, error) {
		return "", []core.Child{chain.Child("a"), chain.Child("b")}, nil
	}, core.TaskOptions{})
	root := core.NewSequentialTask("root", core.Then(deep, end), core.TaskOptions{})
	inWorld(t, []core.Definition{root, deep, end, chain, lenient, patient, finalizer, inner, leaf}, func(w *world) {
		h := enqueue(w, root, "")
		ended(w, h)
		w.settle()
		l.repair()
		if got := wait(w, redrive(w, h, root)); got != "end" {
			w.Error(got)
		}
		l.ran(w, map[string]int{
			"lenient a": 1, "a": 2, "inner": 3, "patient a": 1, "finalizer a": 1, // a is a leaf of both steps
			"lenient b": 2, "b": 2 + 2, "patient b": 2, "finalizer b": 2,
			"end": 2,
		})
	})
}

func TestACompletedRootIsRedrivenWhenSomethingBelowItFailed(t *testing.T) {
	l := newLedger("b")
	leaf := l.leaf()
	fan := l.fan("fan", leaf)
	inWorld(t, []core.Definition{fan, leaf}, func(w *world) {
		h := enqueue(w, fan, "a b")
		if r := wait(w, h); r.Children[1].Status != core.StatusFailed {
			w.Fatalf("first: %+v", r)
		}
		w.settle()
		l.repair()
		again := redrive(w, h, fan)
		if r := wait(w, again); r.Children[1].Status != core.StatusCompleted {
			w.Errorf("redriven: %+v", r)
		}
		l.ran(w, map[string]int{"fan": 2, "a": 1, "b": 2})
		if id, err := w.client.Redrive(w.ctx, again.ID()); id != "" || !errors.Is(err, core.ErrNotAllowed) {
			w.Errorf("redrive of what succeeded: id %q, error %v", id, err)
		}
	})
}

// Children were taken over by their place alone.
func TestARedriveTakesOverChildrenInAnotherOrder(t *testing.T) {
	l := newLedger("fail")
	leaf := l.leaf()
	order := []string{"a", "fail", "b", "a", "c"}
	parent := core.NewParentTaskWithFinalize("parent", func(context.Context, string) (string, []core.Child, error) {
		var children []core.Child
		for _, word := range order {
			children = append(children, leaf.Child(word))
		}
		return "", children, nil
	}, strictJoin(leaf, leaf), core.TaskOptions{})
	inWorld(t, []core.Definition{parent, leaf}, func(w *world) {
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		l.repair()
		order = []string{"new", "c", "a", "a", "a", "fail", "b"}
		if got := wait(w, redrive(w, h, parent)); got != "(NEW C A A A FAIL B)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"new": 1, "a": 3, "b": 1, "c": 1, "fail": 2})
	})
}

func TestARedrivenSequenceTakesOverLaterStepsThatAreGivenTheSame(t *testing.T) {
	l := newLedger("b", "gather")
	leaf := l.leaf()
	// checks completes and says the same, whatever its leaf comes to.
	checks := core.NewParentTaskWithFinalize("checks", func(context.Context, string) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("b")}, nil
	}, func(context.Context, core.Results[string]) (string, error) { return "x y", nil }, core.TaskOptions{})
	next := core.NewTask("next", func(_ context.Context, in string) (string, error) { return in, l.run("next") }, core.TaskOptions{})
	fan, gather := l.fan("fan", leaf), l.gather(leaf)
	seq := core.NewSequentialTask("seq", core.Then(core.Then(core.Then(checks, next), fan), gather), core.TaskOptions{})
	inWorld(t, []core.Definition{seq, checks, next, fan, gather, leaf}, func(w *world) {
		h := enqueue(w, seq, "")
		ended(w, h)
		w.settle()
		l.repair()
		if got := wait(w, redrive(w, h, seq)); got != "(X Y)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"b": 2, "next": 1, "fan": 1, "x": 1, "y": 1, "gather": 2})
	})
}

// A parent that is given something else than before has children that are not.
func TestARedrivenSequenceTakesOverTheChildrenOfALaterStep(t *testing.T) {
	l := newLedger("b", "end")
	leaf := l.leaf()
	first := l.fan("first", leaf)
	second := core.NewParentTask("second", func(_ context.Context, r core.Results[string]) (string, []core.Child, error) {
		var children []core.Child
		for _, c := range r.Children {
			if c.Status == core.StatusCompleted {
				children = append(children, leaf.Child("charge of "+string(rune('0'+len(children)))))
			}
		}
		return "", children, nil
	}, core.TaskOptions{})
	end := core.NewTask("end", func(context.Context, core.Results[string]) (string, error) { return "end", l.run("end") }, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(core.Then(first, second), end), core.TaskOptions{})
	inWorld(t, []core.Definition{seq, first, second, end, leaf}, func(w *world) {
		h := enqueue(w, seq, "a b c")
		ended(w, h)
		w.settle()
		l.repair()
		if got := wait(w, redrive(w, h, seq)); got != "end" {
			w.Error(got)
		}
		l.ran(w, map[string]int{
			"first": 2, "a": 1, "b": 2, "c": 1, "charge of 0": 1, "charge of 1": 1, "charge of 2": 1, "end": 2,
		})
	})
}

func TestARedrivenLoopTakesOverTheIterationsBehindOneThatDidNotSucceed(t *testing.T) {
	l := newLedger("item 4", "last")
	leaf := l.leaf()
	batch := core.NewParentTaskWithFinalize("batch", func(_ context.Context, n int) (int, []core.Child, error) {
		item := fmt.Sprint("item ", n)
		if n == 0 {
			item = "last"
		}
		return n, []core.Child{leaf.Child(item), leaf.Child("also " + item)}, nil
	}, func(_ context.Context, r core.Results[int]) (core.Iteration[int, string], error) {
		if r.Output > 0 {
			return core.AgainWith[int, string](r.Output - 1), nil
		}
		out, err := leaf.Result(r.Children[0])
		return core.Done[int](out), err
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", batch, core.LoopOptions{MaxIterations: 9}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, batch, leaf}, func(w *world) {
		h := enqueue(w, loop, 5)
		ended(w, h)
		w.settle()
		still := redrive(w, h, loop)
		ended(w, still)
		w.settle()
		l.repair()
		got := wait(w, redrive(w, still, loop))
		if diff := cmp.Diff(core.LoopResult[string]{Succeeded: true, Output: "LAST", Iterations: 6}, got); diff != "" {
			w.Error(diff)
		}
		want := map[string]int{"item 4": 3, "last": 3}
		for _, item := range []string{"item 5", "item 3", "item 2", "item 1"} {
			want[item] = 1
		}
		for _, item := range []string{"item 5", "item 4", "item 3", "item 2", "item 1", "last"} {
			want["also "+item] = 1
		}
		l.ran(w, want)
	})
}

// A finalize execution of several steps began again, whatever its steps had come to.
func TestARedrivenFinalizeTakesOverWhatSucceededInIt(t *testing.T) {
	l := newLedger("end", "b")
	leaf := l.leaf()
	gather := core.NewTask("gather", func(_ context.Context, r core.Results[string]) (string, error) {
		return fmt.Sprint(len(r.Children)), l.run("gather")
	}, core.TaskOptions{})
	mail := core.NewTask("mail", func(_ context.Context, n string) (string, error) { return "mailed " + n, l.run("mail") }, core.TaskOptions{})
	end := core.NewTask("end", func(_ context.Context, in string) (string, error) { return in, l.run("end") }, core.TaskOptions{})
	steps := core.NewSequentialTask("steps", core.Then(core.Then(gather, mail), end), core.TaskOptions{})
	family := core.NewParentTaskWithFinalize("family", func(_ context.Context, r core.Results[string]) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("a"), leaf.Child("b")}, nil
	}, strictJoin(leaf, leaf), core.TaskOptions{})
	run := func(context.Context, string) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("child")}, nil
	}
	withSteps := core.NewParentTaskWithFinalizeTask("with_steps", run, steps, core.TaskOptions{})
	withFamily := core.NewParentTaskWithFinalizeTask("with_family", run, family, core.TaskOptions{})
	inWorld(t, []core.Definition{withSteps, withFamily, steps, family, gather, mail, end, leaf}, func(w *world) {
		one, two := enqueue(w, withSteps, ""), enqueue(w, withFamily, "")
		ended(w, one)
		ended(w, two)
		w.settle()
		l.repair()
		if got := wait(w, redrive(w, one, withSteps)); got != "mailed 1" {
			w.Error(got)
		}
		if got := wait(w, redrive(w, two, withFamily)); got != "(A B)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"child": 2, "gather": 2, "mail": 1, "end": 2, "a": 1, "b": 2})
	})
}

// A redrive that ended before it had children made the next one run all of them again.
func TestARedriveOfOneThatCameToNothingTakesOverWhatWasDoneBefore(t *testing.T) {
	for name, cancelled := range map[string]bool{"its code failed": false, "it was cancelled": true} {
		t.Run(name, func(t *testing.T) {
			l := newLedger("b")
			leaf := l.leaf()
			fan, gather := l.fan("fan", leaf), l.gather(leaf)
			seq := core.NewSequentialTask("seq", core.Then(fan, gather), core.TaskOptions{})
			root := core.NewParentTaskWithFinalize("root", func(_ context.Context, text string) (string, []core.Child, error) {
				return "", []core.Child{seq.Child(text), leaf.Child("beside")}, l.run("root")
			}, strictJoin(leaf, seq), core.TaskOptions{})
			inIdleWorld(t, []core.Definition{root, seq, fan, gather, leaf}, func(w *world) {
				stop := w.start()
				h := enqueue(w, root, "a b c")
				ended(w, h)
				w.settle()
				l.repair()
				l.broken["root"] = true
				want := map[string]int{"root": 4, "fan": 2, "gather": 2, "a": 1, "b": 2, "c": 1, "beside": 1}
				if cancelled {
					stop()
					want["root"] = 2
				}
				for range 2 {
					h = redrive(w, h, root)
					if cancelled {
						if err := h.Cancel(w.ctx, ""); err != nil {
							w.Fatal(err)
						}
					}
					ended(w, h)
					w.settle()
				}
				l.repair()
				if cancelled {
					stop = w.start()
				}
				defer func() { stop() }()
				if got := wait(w, redrive(w, h, root)); got != "((A B C) BESIDE)" {
					w.Error(got)
				}
				l.ran(w, want)
			})
		})
	}
}

// The steps, and the finalizer's children, that the redrive before did not get to are those of the one before that.
func TestARedriveOfOneThatDidNotGetAsFarTakesOverWhatWasDoneBefore(t *testing.T) {
	l := newLedger("b", "end")
	leaf := l.leaf()
	checks := core.NewParentTaskWithFinalize("checks", func(context.Context, string) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("b")}, l.run("checks")
	}, func(context.Context, core.Results[string]) (string, error) { return "x", nil }, core.TaskOptions{})
	next := core.NewTask("next", func(_ context.Context, in string) (string, error) { return in, l.run("next") }, core.TaskOptions{})
	end := core.NewTask("end", func(_ context.Context, in string) (string, error) { return in, l.run("end") }, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(core.Then(checks, next), end), core.TaskOptions{})

	mails := core.NewParentTaskWithFinalize("mails", func(context.Context, core.Results[string]) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("mail"), leaf.Child("end")}, nil
	}, strictJoin(leaf, leaf), core.TaskOptions{})
	family := core.NewParentTaskWithFinalizeTask("family", func(context.Context, string) (string, []core.Child, error) {
		return "", []core.Child{leaf.Child("child")}, l.run("family")
	}, mails, core.TaskOptions{})
	inWorld(t, []core.Definition{seq, checks, next, end, family, mails, leaf}, func(w *world) {
		h, f := enqueue(w, seq, ""), enqueue(w, family, "")
		ended(w, h)
		ended(w, f)
		w.settle()
		l.repair()
		l.broken["checks"], l.broken["family"] = true, true
		h, f = redrive(w, h, seq), redrive(w, f, family)
		ended(w, h)
		ended(w, f)
		w.settle()
		l.repair()
		if got := wait(w, redrive(w, h, seq)); got != "x" {
			w.Error(got)
		}
		if got := wait(w, redrive(w, f, family)); got != "(MAIL END)" {
			w.Error(got)
		}
		// Both have an end, which failed once.
		l.ran(w, map[string]int{"checks": 3, "b": 2, "next": 1, "end": 4, "family": 3, "child": 1, "mail": 1})
	})
}

// childForEach returns a parent with a child for each word that words has when it runs. Its finalizer joins their outputs.
func childForEach(words *string, child *core.Task[string, string]) *core.Task[string, string] {
	return core.NewParentTaskWithFinalize("parent", func(context.Context, string) (string, []core.Child, error) {
		var children []core.Child
		for word := range strings.FieldsSeq(*words) {
			children = append(children, child.Child(word))
		}
		return "", children, nil
	}, strictJoin(child, child), core.TaskOptions{})
}

// What one redrive left out, as its code was wrong, ran again in the next.
func TestARedriveTakesOverWhatTheOneBeforeLeftOut(t *testing.T) {
	l := newLedger("fail")
	leaf := l.leaf()
	words := "a b fail a c"
	parent := childForEach(&words, leaf)
	inWorld(t, []core.Definition{parent, leaf}, func(w *world) {
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		for _, words = range []string{"fail b d", "fail"} {
			h = redrive(w, h, parent)
			ended(w, h)
			w.settle()
		}
		l.repair()
		words = "a a a b fail c d"
		if got := wait(w, redrive(w, h, parent)); got != "(A A A B FAIL C D)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"a": 3, "b": 1, "c": 1, "d": 1, "fail": 4})
	})
}

// The first of two equal children failed, and only one is wanted now: it ran although the other one had succeeded.
func TestARedriveWithFewerEqualChildrenTakesOverThoseThatSucceeded(t *testing.T) {
	l := newLedger()
	leaf := core.NewTask("leaf", func(ctx context.Context, name string) (string, error) {
		if err := l.run(name); err != nil || core.InfoOf(ctx).Index == 0 {
			return "", errors.New("the first fails")
		}
		return strings.ToUpper(name), nil
	}, core.TaskOptions{})
	words := "a a a"
	parent := childForEach(&words, leaf)
	inWorld(t, []core.Definition{parent, leaf}, func(w *world) {
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		words = "a a"
		if got := wait(w, redrive(w, h, parent)); got != "(A A)" {
			w.Error(got)
		}
		l.ran(w, map[string]int{"a": 3})
	})
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// ledger counts what runs, and fails what it is told to.
type ledger struct {
	mu     sync.Mutex
	runs   map[string]int
	broken map[string]bool
}

func newLedger(broken ...string) *ledger {
	l := &ledger{runs: map[string]int{}, broken: map[string]bool{}}
	for _, b := range broken {
		l.broken[b] = true
	}
	return l
}

func (l *ledger) run(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[name]++
	if l.broken[name] {
		return fmt.Errorf("%s is broken", name)
	}
	return nil
}

func (l *ledger) repair() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = map[string]bool{}
}

// leaf is a task that the ledger knows.
func (l *ledger) leaf() *core.Task[string, string] {
	return core.NewTask("leaf", func(_ context.Context, name string) (string, error) {
		return strings.ToUpper(name), l.run(name)
	}, core.TaskOptions{})
}

// strict is a finalize that fails when a child did.
func strictJoin(leaf, branch *core.Task[string, string]) func(context.Context, core.Results[string]) (string, error) {
	return func(_ context.Context, r core.Results[string]) (string, error) {
		var out []string
		for _, c := range r.Children {
			task := leaf
			if c.TaskID == branch.ID() {
				task = branch
			}
			s, err := task.Result(c)
			if err != nil {
				return "", err
			}
			out = append(out, s)
		}
		return "(" + strings.Join(out, " ") + ")", nil
	}
}

// trees returns a task that makes a branch of "a b (c d)": a leaf for each word, a branch for each list.
func (l *ledger) trees() (branch, leaf *core.Task[string, string]) {
	leaf = l.leaf()
	branch = core.NewParentTaskWithFinalize("branch", func(_ context.Context, text string) (string, []core.Child, error) {
		var children []core.Child
		for _, part := range splitList(text) {
			if strings.HasPrefix(part, "(") {
				children = append(children, branch.Child(part[1:len(part)-1]))
			} else {
				children = append(children, leaf.Child(part))
			}
		}
		return text, children, l.run(text)
	}, func(ctx context.Context, r core.Results[string]) (string, error) {
		return strictJoin(leaf, branch)(ctx, r)
	}, core.TaskOptions{})
	return branch, leaf
}

// splitList splits at the blanks outside parentheses.
func splitList(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return r == ' ' && depth == 0
	})
}

func TestARedrivenTreeRunsOnlyWhatDidNotComplete(t *testing.T) {
	l := newLedger("d", "f")
	branch, leaf := l.trees()
	inWorld(t, []core.Definition{branch, leaf}, func(w *world) {
		h := enqueue(w, branch, "a (b (c d)) (e) f")
		if e := ended(w, h); e.Status != core.StatusFinalizeFailed {
			w.Errorf("first: %v", e)
		}
		w.settle()
		l.repair()
		old := w.get(h.ID())
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		again, err := w.client.Redrive(w.ctx, h.ID())
		if again != id || !errors.Is(err, core.ErrAlreadyExists) {
			w.Errorf("second redrive: id %s, error %v", again, err)
		}
		if got := wait(w, branch.HandleOf(w.client, id)); got != "(A (B (C D)) (E) F)" {
			w.Error(got)
		}
		want := map[string]int{
			"a (b (c d)) (e) f": 2, "b (c d)": 2, "c d": 2, "e": 1 + 1, // the leaf e and its branch have one name
			"a": 1, "b": 1, "c": 1, "d": 2, "f": 2,
		}
		if diff := cmp.Diff(want, l.runs); diff != "" {
			w.Error(diff)
		}
		if diff := cmp.Diff(old, w.get(h.ID())); diff != "" {
			w.Errorf("the old execution changed: %s", diff)
		}
		named, err := w.client.RedrivenAs(w.ctx, h.ID())
		if err != nil || named.ID != id || named.RedriveOf != h.ID() {
			w.Errorf("redriven as %+v, error %v", named, err)
		}
		tree, err := w.client.Tree(w.ctx, id)
		if err != nil {
			w.Fatal(err)
		}
		born := 0
		tree.Walk(func(_ int, e *core.Execution) {
			if e.OutputOf != "" {
				born++
			}
		})
		if born != 4 { // a, b, c and the branch of e
			w.Errorf("%d born completed", born)
		}
	})
}

// It named an execution that Get did not find any more, until the database deleted it.
func TestWhatRedroveAnExecutionIsGoneWithItsRetention(t *testing.T) {
	l := newLedger("b")
	branch, leaf := l.trees()
	inIdleWorld(t, []core.Definition{branch, leaf}, func(w *world) {
		w.store = memstore.New(memstore.Options{Retention: time.Minute})
		w.config.Store = w.store
		var err error
		if w.client, err = core.NewClient(w.store, core.ClientOptions{}); err != nil {
			w.Fatal(err)
		}
		stop := w.start()
		defer stop()
		h := enqueue(w, branch, "b")
		ended(w, h)
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		ended(w, branch.HandleOf(w.client, id))
		w.settle()
		time.Sleep(2 * time.Minute)
		if _, err := w.client.Get(w.ctx, id); !errors.Is(err, core.ErrNotFound) {
			w.Errorf("it is there: %v", err)
		}
		if named, err := w.client.RedrivenAs(w.ctx, h.ID()); named != nil || err != nil {
			w.Errorf("redriven as %v, error %v", named, err)
		}
	})
}

func TestARedriveOfARedriveReusesBoth(t *testing.T) {
	l := newLedger("b", "c")
	branch, leaf := l.trees()
	inWorld(t, []core.Definition{branch, leaf}, func(w *world) {
		h := enqueue(w, branch, "a b c")
		ended(w, h)
		w.settle()
		l.broken = map[string]bool{"c": true}
		second, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		ended(w, branch.HandleOf(w.client, second))
		w.settle()
		l.repair()
		third, err := w.client.Redrive(w.ctx, second)
		if err != nil {
			w.Fatal(err)
		}
		if got := wait(w, branch.HandleOf(w.client, third)); got != "(A B C)" {
			w.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"a b c": 3, "a": 1, "b": 2, "c": 3}, l.runs); diff != "" {
			w.Error(diff)
		}
	})
}

func TestARedrivenFamilyOfManyIsCountedInBuckets(t *testing.T) {
	l := newLedger("x")
	branch, leaf := l.trees()
	inWorld(t, []core.Definition{branch, leaf}, func(w *world) {
		words := slices.Repeat([]string{"a"}, 600)
		words[300] = "x"
		h := enqueue(w, branch, strings.Join(words, " "))
		ended(w, h)
		w.settle()
		l.repair()
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		wait(w, branch.HandleOf(w.client, id))
		if l.runs["a"] != 599 || l.runs["x"] != 2 {
			w.Errorf("a ran %d times, x %d times", l.runs["a"], l.runs["x"])
		}
	})
}

func TestARedrivenSequenceGoesOnAtTheStepThatFailed(t *testing.T) {
	l := newLedger("three")
	step := func(id string) *core.Task[string, string] {
		return core.NewTask(id, func(_ context.Context, in string) (string, error) { return in + " " + id, l.run(id) }, core.TaskOptions{})
	}
	one, two, three, four := step("one"), step("two"), step("three"), step("four")
	seq := core.NewSequentialTask("seq", core.Then(core.Then(core.Then(one, two), three), four), core.TaskOptions{})
	inWorld(t, []core.Definition{seq, one, two, three, four}, func(w *world) {
		h := enqueue(w, seq, "go")
		ended(w, h)
		w.settle()
		l.repair()
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		if got := wait(w, seq.HandleOf(w.client, id)); got != "go one two three four" {
			w.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"one": 1, "two": 1, "three": 2, "four": 1}, l.runs); diff != "" {
			w.Error(diff)
		}
		children, err := w.client.Children(w.ctx, id)
		if err != nil || len(children) != 4 || children[0].OutputOf == "" || children[2].OutputOf != "" {
			w.Errorf("children %v, error %v", children, err)
		}
	})
}

func TestARedrivenLoopGoesOnAtTheIterationThatFailed(t *testing.T) {
	l := newLedger("2")
	down := core.NewTask("down", func(_ context.Context, n int) (core.Iteration[int, string], error) {
		if err := l.run(fmt.Sprint(n)); err != nil {
			return core.Iteration[int, string]{}, err
		}
		if n == 0 {
			return core.Done[int]("liftoff"), nil
		}
		return core.AgainWith[int, string](n - 1), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", down, core.LoopOptions{MaxIterations: 6}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, down}, func(w *world) {
		h := enqueue(w, loop, 5)
		ended(w, h)
		w.settle()
		l.repair()
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		if diff := cmp.Diff(core.LoopResult[string]{Succeeded: true, Output: "liftoff", Iterations: 6}, wait(w, loop.HandleOf(w.client, id))); diff != "" {
			w.Error(diff)
		}
		if diff := cmp.Diff(map[string]int{"5": 1, "4": 1, "3": 1, "2": 2, "1": 1, "0": 1}, l.runs); diff != "" {
			w.Error(diff)
		}
	})
}

func TestARedrivenSleeperSleepsAgainUnderItsKey(t *testing.T) {
	failing := core.NewParentTaskWithFinalize("failing", func(_ context.Context, key string) (int, []core.Child, error) {
		return 0, []core.Child{approval.Child(key + " 1"), approval.Child(key + " 2")}, nil
	}, func(_ context.Context, r core.Results[int]) (string, error) {
		a, err := approval.Result(r.Children[0])
		if err != nil {
			return "", err
		}
		b, err := approval.Result(r.Children[1])
		return a + b, err
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{approval, failing}, func(w *world) {
		h := enqueue(w, failing, "k")
		time.Sleep(time.Minute)
		if _, err := wakeup(w, "k 1", "yes"); err != nil {
			w.Fatal(err)
		}
		ended(w, h) // k 2 times out
		w.settle()
		id, err := w.client.Redrive(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := wakeup(w, "k 1", "other"); !errors.Is(err, core.ErrFinished) {
			w.Errorf("what was woken: error %v", err)
		}
		if _, err := wakeup(w, "k 2", "!"); err != nil {
			w.Fatal(err)
		}
		if got := wait(w, failing.HandleOf(w.client, id)); got != "yes!" {
			w.Error(got)
		}
	})
}

func TestWhatCannotBeRedrivenIsRefused(t *testing.T) {
	l := newLedger("b")
	branch, leaf := l.trees()
	inWorld(t, []core.Definition{branch, leaf, approval}, func(w *world) {
		done := enqueue(w, leaf, "a")
		wait(w, done)
		h := enqueue(w, branch, "a b")
		ended(w, h)
		sleeper := enqueue(w, approval, "k")
		ended(w, sleeper)
		running := enqueueWith(w, leaf, "z", core.EnqueueOptions{Delay: time.Hour})
		for name, c := range map[string]struct {
			id   string
			want error
		}{
			"completed":  {done.ID(), core.ErrNotAllowed},
			"unfinished": {running.ID(), core.ErrNotAllowed},
			"child":      {w.get(h.ID()).ChildID(1), core.ErrInvalid},
			"sleeper":    {sleeper.ID(), core.ErrInvalid},
			"unknown":    {"nobody", core.ErrNotFound},
		} {
			if id, err := w.client.Redrive(w.ctx, c.id); id != "" || !errors.Is(err, c.want) {
				w.Errorf("%s: id %q, error %v", name, id, err)
			}
		}
		if e, err := w.client.RedrivenAs(w.ctx, h.ID()); e != nil || err != nil {
			w.Errorf("not redriven, but as %v, error %v", e, err)
		}
		wait(w, running)
	})
}

func TestAListingIsRedriven(t *testing.T) {
	l := newLedger("b", "d")
	branch, leaf := l.trees()
	inWorld(t, []core.Definition{branch, leaf}, func(w *world) {
		var failed []string
		for _, text := range []string{"a", "a b", "c", "c d", "d"} {
			h := enqueue(w, branch, text)
			if _, err := h.Wait(w.ctx); err != nil {
				failed = append(failed, h.ID())
			}
			time.Sleep(time.Minute)
		}
		running := enqueueWith(w, branch, "z", core.EnqueueOptions{Delay: time.Hour})
		if _, err := w.client.Redrive(w.ctx, failed[1]); err != nil { // c d, which fails once more
			w.Fatal(err)
		}
		w.settle()
		l.repair()
		var got []string
		for r, err := range w.client.RedriveAll(w.ctx, core.Listing{TaskID: "branch", Limit: 2}) {
			if err != nil {
				w.Fatal(err)
			}
			again := errors.Is(r.Err, core.ErrAlreadyExists)
			if r.Err != nil && !again {
				w.Error(r.Err)
			}
			if !again {
				wait(w, branch.HandleOf(w.client, r.NewID))
			}
			got = append(got, fmt.Sprint(r.ID, again))
		}
		want := []string{
			fmt.Sprint(core.RedriveID(failed[1]), false), fmt.Sprint(failed[2], false), fmt.Sprint(failed[1], true), fmt.Sprint(failed[0], false),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			w.Error(diff)
		}
		wait(w, running)
	})
}

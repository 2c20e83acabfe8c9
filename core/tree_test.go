package core_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// recursive returns a task that has width children of its own kind, down to depth 0, and adds up how many there
// are.
func recursive(width int) *core.Task[int, int] {
	var tree *core.Task[int, int]
	tree = core.NewParentTaskWithFinalize("tree", func(_ context.Context, depth int) (int, []core.Child, error) {
		if depth == 0 {
			return 0, nil, nil
		}
		children := make([]core.Child, width)
		for i := range children {
			children[i] = tree.Child(depth - 1)
		}
		return depth, children, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		total := 1
		for _, c := range r.Children {
			n, err := tree.Result(c)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}, core.TaskOptions{})
	return tree
}

func TestATreeOfDepthOneHundred(t *testing.T) {
	tree := recursive(1)
	inWorld(t, []core.Definition{tree}, func(w *world) {
		h := enqueue(w, tree, 100)
		if got := wait(w, h); got != 101 {
			w.Errorf("%d executions", got)
		}
		node, err := w.client.Tree(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		deepest, n := 0, 0
		node.Walk(func(depth int, e *core.Execution) {
			deepest, n = max(deepest, depth), n+1
			if e.RootID != h.ID() {
				w.Errorf("execution %s has the root %s", e.ID, e.RootID)
			}
		})
		if deepest != 100 || n != 101 {
			w.Errorf("depth %d, %d executions", deepest, n)
		}
	})
}

func TestATreeOfTenThousand(t *testing.T) {
	tree := recursive(10)
	inWorld(t, []core.Definition{tree}, func(w *world) {
		if got := wait(w, enqueue(w, tree, 4)); got != 11_111 {
			w.Errorf("%d executions", got)
		}
	})
}

func TestATreeOfDefaultOutputsIsReadToItsLeaves(t *testing.T) {
	var tree *core.Task[int, core.Results[int]]
	tree = core.NewParentTask("tree", func(_ context.Context, depth int) (int, []core.Child, error) {
		if depth == 0 {
			return 0, []core.Child{double.Child(21)}, nil
		}
		return depth, []core.Child{tree.Child(depth - 1)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{tree, double}, func(w *world) {
		r := wait(w, enqueue(w, tree, 100))
		for depth := 100; depth > 0; depth-- {
			if r.Output != depth {
				w.Fatalf("output %d at depth %d", r.Output, depth)
			}
			var err error
			if r, err = tree.Result(r.Children[0]); err != nil {
				w.Fatal(err)
			}
		}
		if n, err := double.Result(r.Children[0]); n != 42 || err != nil {
			w.Errorf("leaf %d, error %v", n, err)
		}
	})
}

func TestCancellingATreeEndsAllOfIt(t *testing.T) {
	var started chan struct{}
	forever := core.NewTask("forever", func(ctx context.Context, _ int) (int, error) {
		started <- struct{}{}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), core.ErrCancelled) {
			return 0, errors.New("not cancelled")
		}
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: time.Hour})
	approve := core.NewSleepingTask[int]("approve", core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(double, forever), core.TaskOptions{})
	loop := core.NewLoopingTask("loop", poll, core.LoopOptions{MaxIterations: 1000, Sleep: time.Minute}, core.TaskOptions{})
	var tree *core.Task[int, core.Results[int]]
	tree = core.NewParentTask("tree", func(ctx context.Context, depth int) (int, []core.Child, error) {
		if depth == 0 {
			return 0, []core.Child{
				forever.Child(1), seq.Child(1), loop.Child(time.Now().Add(time.Hour)),
				approve.Child(core.InfoOf(ctx).ExecutionID), double.ChildWith(1, core.EnqueueOptions{Delay: time.Hour}),
			}, nil
		}
		return depth, []core.Child{tree.Child(depth - 1), tree.Child(depth - 1)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{tree, forever, approve, seq, loop, double, poll}, func(w *world) {
		started = make(chan struct{}, 1000) // one of the bubble: a wait for it lets time pass
		h := enqueue(w, tree, 3)
		for range 16 { // 8 leaves of the tree, two that run in each
			<-started
		}
		time.Sleep(10 * time.Second)
		cancelled := time.Now()
		if err := h.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		for !w.closed() {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(cancelled); took > 2*time.Second {
			w.Errorf("all was over after %s", took)
		}
		node, err := w.client.Tree(w.ctx, h.ID())
		if err != nil {
			w.Fatal(err)
		}
		n := map[core.Status]int{}
		node.Walk(func(_ int, e *core.Execution) { n[e.Status]++ })
		// 15 of the tree, 40 leaves, 8 second steps, 8 iterations; 16 finished before: a step and an iteration each.
		if n[core.StatusCancelled]+n[core.StatusCompleted] != 15+40+8+8+8+8 || n[core.StatusCompleted] != 16 {
			w.Errorf("statuses %v", n)
		}
		if err := h.Cancel(w.ctx, ""); !errors.Is(err, core.ErrFinished) {
			w.Errorf("cancelled twice: error %v", err)
		}
	})
}

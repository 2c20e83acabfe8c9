package core_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
)

// A pass with a negative limit panicked where it would have started attempts.
func TestAPassWithALimitBelowOneDoesNothing(t *testing.T) {
	t.Parallel()
	task := core.NewTask("task", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{task}, func(w *world) {
		h := enqueue(w, task, 1)
		x := w.engine().NewExecutor(core.ExecutorOptions{})
		for name, pass := range map[string]func(context.Context, int) (core.Result, error){
			"StartReady": x.StartReady, "ProcessChildren": x.ProcessChildren, "CloseFinished": x.CloseFinished,
			"ExpireTimeouts": x.ExpireTimeouts, "ProcessCancellations": x.ProcessCancellations,
		} {
			for _, limit := range []int{0, -1, math.MinInt} {
				if result, err := pass(w.ctx, limit); err != nil || result.Done != 0 {
					t.Errorf("%s with the limit %d: %+v, error %v", name, limit, result, err)
				}
			}
		}
		if e := w.get(h.ID()); e.Status != core.StatusReady {
			t.Errorf("it is %s", e.Status)
		}
		if result, err := x.StartReady(w.ctx, 1); err != nil || result.Done != 1 {
			t.Errorf("with room for all: %+v, error %v", result, err)
		}
		x.Flush()
		wait(w, h)
	})
}

// A client's answer about an id that nothing can have depended on the store.
func TestAnIdThatNothingCanHaveIsInvalid(t *testing.T) {
	t.Parallel()
	task := core.NewTask("task", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{task}, func(w *world) {
		for _, id := range []string{"", strings.Repeat("x", 3000), "\xff"} {
			_, get := w.client.Get(w.ctx, id)
			_, many := w.client.GetMany(w.ctx, []string{"some", id})
			_, children := w.client.Children(w.ctx, id)
			_, tree := w.client.Tree(w.ctx, id)
			_, waited := task.HandleOf(w.client, id).Wait(w.ctx)
			for i, err := range []error{get, many, children, tree, waited, w.client.Cancel(w.ctx, id, "why")} {
				if !errors.Is(err, core.ErrInvalid) {
					t.Errorf("call %d about %.10q: %v", i, id, err)
				}
			}
		}
	})
}

func TestARecordHasTheTaskOfItsRoot(t *testing.T) {
	t.Parallel()
	for name, rootTask := range map[string]string{"short": "root", "long": strings.Repeat("r", 100)} {
		t.Run(name, func(t *testing.T) {
			leaf := core.NewTask("leaf", func(ctx context.Context, _ int) (string, error) {
				return core.InfoOf(ctx).RootTaskID, nil
			}, core.TaskOptions{})
			middle := core.NewParentTask("middle", func(context.Context, int) (int, []core.Child, error) {
				return 0, []core.Child{leaf.Child(1)}, nil
			}, core.TaskOptions{})
			root := core.NewParentTask(rootTask, func(context.Context, int) (int, []core.Child, error) {
				return 0, []core.Child{middle.Child(1)}, nil
			}, core.TaskOptions{})
			inWorld(t, []core.Definition{leaf, middle, root}, func(w *world) {
				h := enqueue(w, root, 1)
				wait(w, h)
				below := map[string]string{}
				w.store.Each(func(e *core.Execution) { below[e.TaskID] = e.RootTaskID })
				furthest := rootTask
				if len(rootTask) > 64 { // it is left out of records that have to stay within 1 KB
					furthest = ""
				}
				if below[rootTask] != rootTask || below["middle"] != rootTask || below["leaf"] != furthest {
					w.Errorf("root tasks %q", below)
				}
				middles, err := w.client.Children(w.ctx, h.ID())
				if err != nil {
					w.Fatal(err)
				}
				leaves, err := w.client.Children(w.ctx, middles[0].ID)
				if err != nil {
					w.Fatal(err)
				}
				if out, _, err := w.client.ResultJSON(w.ctx, leaves[0]); err != nil || string(out) != `"`+furthest+`"` {
					w.Errorf("the code was told %s, error %v", out, err)
				}
			})
		})
	}
}

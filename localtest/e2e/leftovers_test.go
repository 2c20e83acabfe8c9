package e2e

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/e2e/gated"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// gone is an executor that died.
const gone = "gone"

// leftovers puts records as executors leave them that die in the middle of their work, two of each kind, for every sweep to
// find: attempts whose lease is over, parents that lack children, a parent whose last child dies once too often,
// cancelled parents and cancelled code that nobody was told of.
func leftovers(t *testing.T, s *stack.Stack) {
	t.Helper()
	past := core.Millis(time.Now().Add(-time.Hour))
	next := func(e *core.Execution, ev core.Event) *core.Execution {
		t.Helper()
		after, err := core.Transition(e, ev, past)
		if err != nil {
			t.Fatal(err)
		}
		return after
	}
	running := func(task string, input any) *core.Execution {
		data, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		e := core.NewExecution(core.NewID(), core.Spec{TaskID: task, Input: data, Timeout: 5 * time.Second}, past)
		return next(e, core.StartAttempt{ExecutorID: gone, Left: time.Hour, Leeway: time.Second})
	}
	parent := func(task string, input any, children ...core.Spec) *core.Execution {
		manifest, err := core.EncodeManifest(children)
		if err != nil {
			t.Fatal(err)
		}
		return next(running(task, input), core.CommitChildren{
			ExecutorID: gone, RunOutput: core.Payload{Data: []byte(`1`)}, Nonce: core.NewNonce(), Size: len(children),
			Manifest: core.Payload{Data: manifest}, CheckAt: past,
		})
	}
	box := core.Spec{TaskID: "pack_box", Input: []byte(`0`), Timeout: 5 * time.Second}
	item := core.Spec{TaskID: "reserve_item", Input: []byte(`"lamp"`), Timeout: 5 * time.Second}
	var records []*core.Execution
	for range 2 {
		dying := parent("shipment", []string{"lamp"}, item)
		child := core.NewExecution(dying.ChildID(0), item, past)
		child.RootID, child.Parent = dying.ID, &core.Parent{ID: dying.ID, TaskID: dying.TaskID, Siblings: 1}
		child = next(child, core.StartAttempt{ExecutorID: gone, Left: time.Hour, Leeway: time.Second})
		child.Recoveries = 5
		records = append(records, dying, child,
			running("reserve_item", "lamp"),
			parent("pack_box", 1, box, box),
			next(parent("pack_box", 1, box, box), core.Cancel{Reason: "why"}),
			next(running("reserve_item", "lamp"), core.Cancel{Reason: "why"}))
	}
	for i, err := range s.Watch.Insert(t.Context(), records) {
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

// sweep invokes each sweep until the leftovers are gone.
func sweep(t *testing.T, s *stack.Stack) {
	t.Helper()
	// Three rounds do it, unless the machine is so slow that an attempt begins too late and is given back.
	for round := 0; round < 3 || round < 100 && queued(t, s) != ""; round++ {
		for _, name := range []string{stack.Cancellation, stack.Timeouts, stack.Close, stack.ProcessChildren, stack.StartReady} {
			if r, err := s.Lambda.Invoke(t.Context(), name, []byte("{}")); err != nil || r.FunctionError != "" {
				t.Fatalf("%s: %s, error %v", name, r.Payload, err)
			}
		}
	}
	emptyQueues(t, s)
}

// finalizeSlowly leaves a parent whose children are all counted and whose finalize function takes longer than executors wait
// before they look for cancellations.
func finalizeSlowly(t *testing.T, s *stack.Stack, client *core.Client) {
	t.Helper()
	h, err := gated.Fold.Enqueue(t.Context(), client, 1500)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Watch.Get(t.Context(), []string{h.ID()}, core.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	spec := core.Spec{TaskID: "short", Input: []byte(`1500`), Timeout: 5 * time.Second}
	manifest, err := core.EncodeManifest([]core.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	e := found[0]
	write := func(ev core.Event) {
		t.Helper()
		after, err := core.Transition(e, ev, now)
		if err != nil {
			t.Fatal(err)
		}
		after.Nonce = core.NewNonce()
		if err := s.Watch.Update(t.Context(), []core.Update{{Before: e, After: after}})[0]; err != nil {
			t.Fatal(err)
		}
		e = after
	}
	write(core.StartAttempt{ExecutorID: gone, Left: time.Hour, Leeway: time.Second})
	write(core.CommitChildren{
		ExecutorID: gone, RunOutput: core.Payload{Data: []byte(`1500`)}, Nonce: core.NewNonce(), Size: 1,
		Manifest: core.Payload{Data: manifest}, CheckAt: now,
	})
	child := core.NewExecution(e.ChildID(0), spec, now)
	child.RootID, child.Parent = e.ID, &core.Parent{ID: e.ID, TaskID: e.TaskID, Siblings: 1}
	for _, ev := range []core.Event{
		core.StartAttempt{ExecutorID: gone, Left: time.Hour, Leeway: time.Second},
		core.Succeed{ExecutorID: gone, Output: core.Payload{Data: []byte(`1500`)}},
	} {
		if child, err = core.Transition(child, ev, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Watch.Insert(t.Context(), []*core.Execution{child})[0]; err != nil {
		t.Fatal(err)
	}
	write(core.CountChildren{Units: []int{0}})
	if r, err := s.Lambda.Invoke(t.Context(), stack.ProcessChildren, []byte("{}")); err != nil || r.FunctionError != "" {
		t.Fatalf("%s: %s, error %v", stack.ProcessChildren, r.Payload, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if out, err := h.Wait(ctx); err != nil || out != 1500 {
		t.Errorf("output %d, error %v", out, err)
	}
}

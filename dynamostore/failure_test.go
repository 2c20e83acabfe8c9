package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// failingTree returns a task above depth levels, in turn a sequence and a parent with a finalize function, above one
// that fails.
func failingTree(depth int, fail func() error) (*core.Task[string, string], []core.Definition) {
	t := core.NewTask("charge_card", func(_ context.Context, s string) (string, error) { return s, fail() }, core.TaskOptions{})
	all := []core.Definition{t}
	for i := range depth {
		below, id := t, fmt.Sprintf("some_task_of_level_%d", i+1)
		if i%2 == 0 {
			t = core.NewSequentialTask[string, string](id, below, core.TaskOptions{})
		} else {
			t = core.NewParentTaskWithFinalize(id,
				func(_ context.Context, s string) (string, []core.Child, error) {
					return s, []core.Child{below.Child(s)}, nil
				},
				func(_ context.Context, r core.Results[string]) (string, error) { return below.Result(r.Children[0]) }, core.TaskOptions{})
		}
		all = append(all, t)
	}
	return t, all
}

// runTree runs a task to its end and returns its tree.
func runTree(t *testing.T, s *TestStore, task *core.Task[string, string], all []core.Definition) (*core.Client, *core.Node) {
	t.Helper()
	registry, err := core.NewRegistry(all...)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: s, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(s, core.ClientOptions{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	h, err := task.Enqueue(t.Context(), client, "order-17")
	if err != nil {
		t.Fatal(err)
	}
	x := engine.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(time.Hour)})
	defer x.Flush()
	for !one(t, s, h.ID()).Status.Finished() {
		if _, err := x.Repeat(t.Context(), core.LoopStartReady, time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := client.Tree(t.Context(), h.ID())
	if err != nil {
		t.Fatal(err)
	}
	return client, tree
}

// So it costs nothing; of a deeper tree each parent takes a unit or two more.
func TestTheChainOfAFailureSixLevelsBelowStaysInTheRecord(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{})
	for _, depth := range []int{6, 20} {
		task, all := failingTree(depth, func() error { return errors.New("the card of the customer was declined by the bank: code 51") })
		client, tree := runTree(t, s, task, all)
		tree.Walk(func(level int, e *core.Execution) {
			size := itemSize(s.encode(e))
			if inline := depth-level <= 6; size > unit || inline && e.Failure.Causes.Ref != "" {
				t.Errorf("%s: %d bytes, its chain is in %q", e.TaskID, size, e.Failure.Causes.Ref)
			}
		})
		root := tree.Execution
		if err := client.LoadCauses(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		chain := root.Failure.Chain()
		if len(chain) != depth || chain[depth-1].TaskID != "charge_card" {
			t.Errorf("chain %+v", chain)
		}
		if depth == 20 && root.Failure.Causes.Ref == "" {
			t.Error("the chain of 20 is in the record: the test shows nothing")
		}
	}
}

func TestParentsShareTheDataOfAFailure(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{})
	data := make([]string, 150) // does not fit a record
	for i := range data {
		data[i] = core.NewNonce()
	}
	task, all := failingTree(1, func() error { return core.Fail("card_declined", errors.New("no"), data) })
	client, tree := runTree(t, s, task, all)
	root, leaf := tree.Execution, tree.Children[0].Execution
	if ref := root.Failure.Data.Ref; ref == "" || ref != leaf.Failure.Data.Ref {
		t.Errorf("data of the root is in %q, of the leaf in %q", ref, leaf.Failure.Data.Ref)
	}
	_, err := task.HandleOf(client, root.ID).Wait(t.Context())
	var fail *core.FailError
	var got []string
	if !errors.As(err, &fail) || fail.Code != "card_declined" || fail.Decode(&got) != nil || !slices.Equal(got, data) {
		t.Errorf("error %v, data %q", err, got)
	}
	// What is gone does not keep anybody from hearing of the rest.
	if err := s.Delete(t.Context(), leaf.ID); err != nil {
		t.Fatal(err)
	}
	_, err = task.HandleOf(client, root.ID).Wait(t.Context())
	if !errors.As(err, &fail) || fail.Code != "card_declined" || fail.HasData() || len(fail.Error()) == 0 {
		t.Errorf("without the data: %v, FailError %+v", err, fail)
	}
}

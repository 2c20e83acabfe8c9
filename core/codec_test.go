package core_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// nest is a list in a list in a list, n deep.
func nest(n int) []any {
	var v []any
	for range n - 1 {
		v = []any{v}
	}
	return v
}

func TestAValueThatCouldNotBeReadAgainIsNotEncoded(t *testing.T) {
	if _, err := (core.JSON{}).Encode(nest(10_000)); err == nil || !strings.Contains(err.Error(), "nested more than 9000 deep") {
		t.Errorf("error %v", err)
	}
	quoted := strings.Repeat(`[{\"`, 50_000) // brackets in a text nest nothing
	for name, v := range map[string]any{"deep": nest(9000), "wide": make([][]int, 50_000), "quoted": quoted} {
		data, err := core.JSON{}.Encode(v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var again any
		if err := (core.JSON{}).Decode(data, &again); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := core.NewTask("deep", func(_ context.Context, n int) ([]any, error) { return nest(n), nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{deep}, func(w *world) {
		_, err := enqueue(w, deep, 10_000).Wait(w.ctx)
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Failure.Code != core.CodeInvalid {
			w.Errorf("error %v", err)
		}
		if got := wait(w, enqueue(w, deep, 5000)); len(got) != 1 {
			w.Errorf("%d", len(got))
		}
	})
}

func TestTheJSONOfADeepChainOfParents(t *testing.T) {
	const depth = 3500
	var parent *core.Task[int, core.Results[string]]
	leaf := core.NewTask("leaf", func(context.Context, int) (string, error) { return "<leaf>", nil }, core.TaskOptions{})
	parent = core.NewParentTask("parent", func(_ context.Context, n int) (string, []core.Child, error) {
		if n == 1 {
			return "", []core.Child{leaf.Child(0)}, nil
		}
		return fmt.Sprint(n), []core.Child{parent.Child(n - 1)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, leaf}, func(w *world) {
		h := enqueue(w, parent, depth)
		for !w.get(h.ID()).Status.Finished() {
			time.Sleep(time.Second)
		}
		output, done, err := w.client.ResultJSON(w.ctx, w.get(h.ID()))
		if err != nil || !done || !bytes.Contains(output, []byte(`"<leaf>"`)) || bytes.Count(output, []byte(`"children"`)) != depth {
			w.Errorf("%d bytes, done %t, error %v", len(output), done, err)
		}
		again, _, err := w.client.ResultJSON(w.ctx, w.get(w.get(h.ID()).ChildID(0)))
		if err != nil || !bytes.Contains(output, again) {
			w.Errorf("the part is not in the whole; error %v", err)
		}
		if shallow, _, err := w.client.ResultJSON(w.ctx, w.get(childAt(w, h.ID(), depth-2))); err != nil || !json.Valid(shallow) {
			w.Errorf("%s, error %v", shallow, err)
		}
	})
}

// childAt returns the id of the only child of the only child..., so many levels down.
func childAt(w *world, id string, levels int) string {
	for range levels {
		id = w.get(id).ChildID(0)
	}
	return id
}

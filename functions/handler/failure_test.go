package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// The store keeps data and chains beside the records: get, tree and list tell them all the same.
func TestAnswersTellTheCodeTheDataAndTheChainOfAFailure(t *testing.T) {
	t.Parallel()
	charge := core.NewTask("charge", func(context.Context, int) (int, error) {
		return 0, core.Fail("card_declined", errors.New("no card"), map[string]int{"cents": 17})
	}, core.TaskOptions{})
	order := core.NewSequentialTask[int, int]("order", charge, core.TaskOptions{})
	tasks, err := core.NewRegistry(charge, order)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: memstore.New(memstore.Options{Inline: 8}), Registry: tasks})
	if err != nil {
		t.Fatal(err)
	}
	client, err := engine.NewClient(core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = engine.Run(ctx) }()
	defer func() { stop(); <-ended }()
	h, err := order.EnqueueWith(t.Context(), client, 1, core.EnqueueOptions{ID: "order-17"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(t.Context()); err == nil {
		t.Fatal("it completed")
	}
	for _, action := range []string{"get", "tree", "list"} {
		event := fmt.Sprintf(`{"action":%q,"execution_id":"order-17"}`, action)
		if action == "list" {
			event = `{"action":"list"}`
		}
		r, err := answer(t.Context(), client, "", json.RawMessage(event))
		if err != nil {
			t.Fatal(err)
		}
		if action == "list" {
			r = r.Executions[0]
		}
		text, err := json.Marshal(r.Failure)
		if err != nil {
			t.Fatal(err)
		}
		const begins = `{"code":"card_declined","message":"no card (step 0)","data":{"cents":17},"chain":[{"task":"charge","execution_id":"c.`
		if !strings.HasPrefix(string(text), begins) || !strings.HasSuffix(string(text), `","code":"card_declined","message":"no card"}]}`) {
			t.Errorf("%s: %s", action, text)
		}
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestGetTellsAFailureOnceWithItsDataAndWhatLedToIt(t *testing.T) {
	long := strings.Repeat("the bank said no, and ", 20)
	for name, c := range map[string]struct {
		err    error
		rows   []string // C and D stand for the ids of the sequence and of the leaf
		detail string
	}{
		"a code and data": {core.Fail("card_declined", errors.New("no card"), map[string]int{"cents": 17}), []string{
			"failure card_declined: no card (step 0)",
			`data {"cents":17}`,
			"because of steps C card_declined",
			"because of charge D card_declined: no card",
		}, ""},
		"a long text": {errors.New(long), []string{
			"failure failed, as told below", "because of steps C failed", "because of charge D failed",
		}, long},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				charge := core.NewTask("charge", func(context.Context, int) (int, error) { return 0, c.err }, core.TaskOptions{})
				steps := core.NewSequentialTask[int, int]("steps", charge, core.TaskOptions{})
				order := core.NewParentTaskWithFinalize("order",
					func(_ context.Context, n int) (int, []core.Child, error) { return n, []core.Child{steps.Child(n)}, nil },
					func(_ context.Context, r core.Results[int]) (int, error) { return steps.Result(r.Children[0]) }, core.TaskOptions{})
				registry, err := core.NewRegistry(charge, steps, order)
				if err != nil {
					t.Fatal(err)
				}
				engine, err := core.NewEngine(core.Config{Store: memstore.New(memstore.Options{Inline: 10}), Registry: registry})
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
				h, err := order.Enqueue(t.Context(), client, 1)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.Wait(t.Context()); err == nil {
					t.Fatal("it completed")
				}
				e, err := client.Get(t.Context(), h.ID())
				if err != nil {
					t.Fatal(err)
				}
				r, err := whole(t.Context(), client, e, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				chain := r.Failure.Chain
				ids := strings.NewReplacer(chain[0].ExecutionID, "C", chain[1].ExecutionID, "D")
				var got []string
				for _, row := range r.Failure.rows() {
					got = append(got, ids.Replace(fmt.Sprint(row[0].text, " ", row[1].text)))
				}
				if diff := cmp.Diff(c.rows, got); diff != "" || r.Failure.Detail != c.detail {
					t.Errorf("rows (-want +got):\n%s\ndetail %q", diff, r.Failure.Detail)
				}
			})
		})
	}
}

package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/perdure-dev/perdure/core"
)

// Declined is what a caller has to know of a card that was declined.
type Declined struct {
	Bank  string `json:"bank"`
	Cents int    `json:"cents"`
}

// A failure's code and data are read again wherever it arrives, here two levels above the task that failed.
func ExampleFail() {
	charge := core.NewTask("charge", func(_ context.Context, cents int) (string, error) {
		err := errors.New("the card has expired")
		return "", core.NonRetryable(core.Fail("card_declined", err, Declined{Bank: "B", Cents: cents}))
	}, core.TaskOptions{})
	pay := core.NewSequentialTask[int, string]("pay", charge, core.TaskOptions{})
	order := core.NewParentTaskWithFinalize("order",
		func(_ context.Context, cents int) (int, []core.Child, error) {
			return cents, []core.Child{pay.Child(cents)}, nil
		},
		func(_ context.Context, r core.Results[int]) (string, error) {
			receipt, err := pay.Result(r.Children[0])
			if err != nil {
				return "", fmt.Errorf("order of %d cents: %w", r.Output, err) // with its cause, code and data
			}
			return receipt, nil
		}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		_, err := must(order.Enqueue(ctx, c, 400)).Wait(ctx)
		var fail *core.FailError
		if errors.As(err, &fail) && fail.Code == "card_declined" {
			var declined Declined
			if err := fail.Decode(&declined); err != nil {
				fmt.Println(err)
			}
			fmt.Println(fail, declined)
		}
		var failed *core.ExecutionError
		if errors.As(err, &failed) {
			for _, cause := range failed.Failure.Chain() { // from the top down to where it began
				fmt.Printf("%s: %s: %s\n", cause.TaskID, cause.Code, cause.Message)
			}
		}
	}, charge, pay, order)
	// Output:
	// the card has expired (order of 400 cents: step 0) {B 400}
	// pay: card_declined: the card has expired (step 0)
	// charge: card_declined: the card has expired
}

// Sentinels tell what happened to an execution, or below it.
func ExampleExecutionError() {
	approval := core.NewSleepingTask[int]("approval", core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(approval.Enqueue(ctx, c, "order 17"))
		if err := h.Cancel(ctx, "the customer has left"); err != nil {
			fmt.Println(err)
		}
		_, err := h.Wait(ctx)
		fmt.Println(errors.Is(err, core.ErrCancelled), errors.Is(err, core.ErrAttemptTimedOut))
	}, approval)
	// Output: true false
}

// A finalizer that runs because a step failed reads what the steps before it returned.
func ExampleChildResult_Children() {
	ship := core.NewTask("ship", func(context.Context, string) (string, error) {
		return "", errors.New("the carrier does not deliver there")
	}, core.TaskOptions{})
	fulfil := core.NewSequentialTask("fulfil", core.Then(reserve, ship), core.TaskOptions{})
	order := core.NewParentTaskWithFinalize("order",
		func(_ context.Context, item string) (string, []core.Child, error) {
			return item, []core.Child{fulfil.Child(item)}, nil
		},
		func(ctx context.Context, r core.Results[string]) (string, error) {
			steps, err := r.Children[0].Children(ctx)
			if err != nil {
				return "", err
			}
			for _, step := range steps {
				if step.TaskID != reserve.ID() || step.Status != core.StatusCompleted {
					continue
				}
				reserved, err := reserve.Result(step)
				if err != nil {
					return "", err
				}
				return "take back: " + reserved, nil
			}
			return "nothing to take back", nil
		}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(order.Enqueue(ctx, c, "lamp")).Wait(ctx)))
	}, reserve, ship, fulfil, order)
	// Output: take back: lamp reserved
}

package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Order is what a customer wants.
type Order struct {
	ID    string   `json:"id"`
	Items []string `json:"items"`
	// FailOnce makes reserving an item fail in the first attempt, to see a retry.
	FailOnce bool `json:"fail_once,omitempty"`
}

// Reserved is an order whose items are reserved.
type Reserved struct {
	Order Order `json:"order"`
	Cents int   `json:"cents"`
}

// Payment is what the bank's webhook says.
type Payment struct {
	Reference string `json:"reference"`
	Cents     int    `json:"cents"`
}

// soldOut is never in stock.
const soldOut = "unicorn"

// ReserveItem reserves one item, and returns its price in cents. A plain task: what is wrong for good says so, the
// rest is tried again.
var ReserveItem = core.NewTask("reserve_item", reserveItem, core.TaskOptions{
	Timeout: 5 * time.Second,
	Retry:   core.RetryPolicy{MaxAttempts: 3, BaseDelay: 50 * time.Millisecond},
})

func reserveItem(ctx context.Context, item string) (int, error) {
	switch info := core.InfoOf(ctx); {
	case item == soldOut:
		return 0, core.NonRetryable(errors.New("out of stock"))
	case item == "flaky" && info.Attempt == 1:
		return 0, core.RetryAfter(errors.New("the warehouse is busy"), 20*time.Millisecond)
	}
	return 100 * len(item), nil
}

// ReserveOrder reserves all items at once and adds up: a parent with parallel children and a finalize function, which
// sees those that failed too.
var ReserveOrder = core.NewParentTaskWithFinalize("reserve_order",
	func(_ context.Context, o Order) (Order, []core.Child, error) {
		children := make([]core.Child, len(o.Items))
		for i, item := range o.Items {
			children[i] = ReserveItem.Child(item)
		}
		return o, children, nil
	},
	func(_ context.Context, r core.Results[Order]) (Reserved, error) {
		sum := Reserved{Order: r.Output}
		for i, child := range r.Children {
			cents, err := ReserveItem.Result(child)
			if err != nil {
				return sum, fmt.Errorf("%s: %w", r.Output.Items[i], err)
			}
			sum.Cents += cents
		}
		return sum, nil
	},
	core.TaskOptions{Timeout: 5 * time.Second})

// AwaitPayment sleeps until the bank's webhook wakes it with the order's payment. It costs nothing meanwhile.
var AwaitPayment = core.NewSleepingTask[Payment]("await_payment", core.TaskOptions{Timeout: time.Hour})

// PaymentKey turns a reserved order into the key of its payment.
var PaymentKey = core.NewTask("payment_key", func(_ context.Context, r Reserved) (string, error) { return r.Order.ID, nil },
	core.TaskOptions{Timeout: 5 * time.Second})

// Receipt is the last step of an order.
var Receipt = core.NewTask("receipt", func(_ context.Context, p Payment) (string, error) {
	return fmt.Sprintf("paid %d.%02d by %s", p.Cents/100, p.Cents%100, p.Reference), nil
}, core.TaskOptions{Timeout: 5 * time.Second})

// PlaceOrder is a whole order: a sequential task whose steps are of several kinds.
var PlaceOrder = core.NewSequentialTask("place_order",
	core.Then(core.Then(core.Then(ReserveOrder, PaymentKey), AwaitPayment), Receipt), core.TaskOptions{})

// TrackParcel asks for a parcel until it has arrived: a looping task.
var TrackParcel = core.NewLoopingTask("track_parcel", AskCarrier,
	core.LoopOptions{MaxIterations: 5, Sleep: 50 * time.Millisecond}, core.TaskOptions{})

// AskCarrier is one iteration of TrackParcel. The parcel arrives at the iteration whose number is the input.
var AskCarrier = core.NewTask("ask_carrier", func(ctx context.Context, arrives int) (core.Iteration[int, string], error) {
	if core.InfoOf(ctx).Index < arrives {
		return core.Again[int, string](), nil
	}
	return core.Done[int]("arrived"), nil
}, core.TaskOptions{Timeout: 5 * time.Second})

// PackBox packs a box of boxes: a recursive parent whose output, as that of any parent without a finalize, is all that
// is below it.
var PackBox = newPackBox()

func newPackBox() *core.Task[int, core.Results[string]] {
	var pack *core.Task[int, core.Results[string]]
	pack = core.NewParentTask("pack_box", func(_ context.Context, depth int) (string, []core.Child, error) {
		if depth <= 0 {
			return "wrapped", nil, nil
		}
		return "box", []core.Child{pack.Child(depth - 1)}, nil
	}, core.TaskOptions{Timeout: 5 * time.Second})
	return pack
}

// Shipment is a parent whose finalize is a parent itself: labels are printed once all is packed.
var Shipment = core.NewParentTaskWithFinalizeTask("shipment",
	func(_ context.Context, items []string) (int, []core.Child, error) {
		children := make([]core.Child, len(items))
		for i, item := range items {
			children[i] = ReserveItem.Child(item)
		}
		return len(items), children, nil
	}, PrintLabels, core.TaskOptions{Timeout: 5 * time.Second})

// PrintLabels prints a label for each item that could be had.
var PrintLabels = core.NewParentTaskWithFinalize("print_labels",
	func(_ context.Context, r core.Results[int]) (int, []core.Child, error) {
		var children []core.Child
		for _, item := range r.Children {
			if item.Status == core.StatusCompleted {
				children = append(children, PrintLabel.Child(item.ExecutionID))
			}
		}
		return len(r.Children), children, nil
	},
	func(_ context.Context, r core.Results[int]) (string, error) {
		return fmt.Sprintf("%d of %d labels", len(r.Children), r.Output), nil
	}, core.TaskOptions{Timeout: 5 * time.Second})

// PrintLabel prints one label.
var PrintLabel = core.NewTask("print_label", func(_ context.Context, id string) (string, error) { return "label of " + id, nil },
	core.TaskOptions{Timeout: 5 * time.Second})

// Slow works for as many milliseconds as its input says, or until it is told to stop.
var Slow = core.NewTask("slow", func(ctx context.Context, ms int) (string, error) {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return "done", nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}, core.TaskOptions{Timeout: 20 * time.Second})

// Crash panics.
var Crash = core.NewTask("crash", func(_ context.Context, why string) (string, error) { panic(why) },
	core.TaskOptions{Timeout: 5 * time.Second})

// Checked takes positive numbers only, which is found out before anything is written.
var Checked = core.NewTask("checked", func(_ context.Context, n int) (int, error) { return n, nil },
	core.TaskOptions{Timeout: 5 * time.Second}).Validate(func(n int) error {
	if n <= 0 {
		return fmt.Errorf("it is %d, must be positive", n)
	}
	return nil
})

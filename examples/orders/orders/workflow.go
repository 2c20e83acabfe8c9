package orders

import (
	"context"
	"errors"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Workflow has the shop's tasks. An order is this tree:
//
//	place_order
//	├── fulfil_order                in sequence, each step on what the one before it came to
//	│   ├── screen_order
//	│   ├── reserve_stock           a child for each line, at once
//	│   │   ├── reserve_line
//	│   │   └── reserve_line ...
//	│   ├── collect_payment
//	│   │   └── await_payment       sleeps until the bank's webhook wakes it, or nobody paid in time
//	│   ├── capture_payment         with retries
//	│   └── ship_order
//	└── settle_order                place_order's finalize: when a step failed, it takes back what was done
//	    ├── release_line ...
//	    └── refund_payment
type Workflow struct {
	Shop *Shop

	Place        *core.Task[Order, Outcome]
	AwaitPayment *core.Task[string, Payment]
	DailyReport  *core.Task[time.Time, Report]
	SendVoucher  *core.Task[Voucher, string]

	all []core.Definition
}

// Registry returns all tasks.
func (w *Workflow) Registry() (*core.Registry, error) { return core.NewRegistry(w.all...) }

// Reservation is an order whose goods are reserved.
type Reservation struct {
	Order Order `json:"order"`
	Cents int   `json:"cents"`
}

// PaidOrder is an order that its customer has paid for.
type PaidOrder struct {
	Order   Order   `json:"order"`
	Payment Payment `json:"payment"`
}

// Shipment is a parcel on its way.
type Shipment struct {
	Tracking string `json:"tracking"`
}

// Outcome is what became of an order.
type Outcome struct {
	Order    string `json:"order"`
	Status   Status `json:"status"`
	Reason   Reason `json:"reason,omitempty"` // for the customer
	Cause    string `json:"cause,omitempty"`  // for the shop: the failure of the step that did not complete
	Tracking string `json:"tracking,omitempty"`
	Released int    `json:"released,omitempty"` // lines whose goods went back on the shelf
	Refunded int    `json:"refunded,omitempty"` // cents
	// Trouble is what could not be taken back, for a person to look at.
	Trouble []string `json:"trouble,omitempty"`
}

// short is for tasks that make a few requests. Throttling and networks mend themselves within some tries.
var short = core.TaskOptions{
	Timeout: 10 * time.Second,
	Retry:   core.RetryPolicy{MaxAttempts: 5, BaseDelay: 200 * time.Millisecond, Multiplier: 2, MaxDelay: 10 * time.Second, Jitter: 0.2},
}

// NewWorkflow returns the tasks of a shop.
func NewWorkflow(s *Shop) *Workflow {
	w := &Workflow{Shop: s}
	add := func(d core.Definition) { w.all = append(w.all, d) }

	screen := core.NewTask("screen_order", s.screen, short)
	reserveLine := core.NewTask("reserve_line", s.reserveLine, short)
	reserve := core.NewParentTaskWithFinalize("reserve_stock",
		func(_ context.Context, o Order) (Order, []core.Child, error) {
			return o, forEachLine(o, reserveLine), nil
		},
		func(_ context.Context, r core.Results[Order]) (Reservation, error) {
			sum := Reservation{Order: r.Output}
			for _, child := range r.Children {
				cents, err := reserveLine.Result(child)
				if err != nil {
					return sum, err
				}
				sum.Cents += cents
			}
			return sum, nil
		}, short)
	w.AwaitPayment = core.NewSleepingTask[Payment]("await_payment", core.TaskOptions{})
	collect := core.NewParentTaskWithFinalize("collect_payment",
		func(ctx context.Context, r Reservation) (Reservation, []core.Child, error) {
			if err := s.set(ctx, r.Order.ID, AwaitingPayment, item{"cents": number(r.Cents)}); err != nil {
				return r, nil, err
			}
			return r, []core.Child{
				w.AwaitPayment.ChildWith(PaymentKey(r.Order.ID), core.EnqueueOptions{Timeout: r.Order.payWithin()}),
			}, nil
		},
		func(_ context.Context, r core.Results[Reservation]) (PaidOrder, error) {
			payment, err := w.AwaitPayment.Result(r.Children[0])
			order := r.Output.Order
			switch {
			case errors.Is(err, core.ErrAttemptTimedOut):
				return PaidOrder{}, Refuse(NotPaidInTime, err)
			case err != nil: // also woken with a refusal, which the API does when its customer cancels
				return PaidOrder{}, err
			case payment.Cents != r.Output.Cents:
				return PaidOrder{}, Refuse(WrongPayment, nil)
			}
			return PaidOrder{order, payment}, nil
		}, short)
	capturePayment := core.NewTask("capture_payment", s.capture, short)
	ship := core.NewTask("ship_order", s.ship, short)
	fulfil := core.NewSequentialTask("fulfil_order",
		core.Then(core.Then(core.Then(core.Then(screen, reserve), collect), capturePayment), ship), core.TaskOptions{})

	settle := w.newSettle(fulfil, add)
	w.Place = core.NewParentTaskWithFinalizeTask("place_order",
		func(_ context.Context, o Order) (Order, []core.Child, error) {
			return o, []core.Child{fulfil.Child(o)}, nil
		},
		settle, short).Validate(Order.Validate)

	w.DailyReport = core.NewTask("daily_report", s.report, short)
	w.SendVoucher = core.NewTask("send_voucher", s.sendVoucher, short).Validate(Voucher.validate)
	for _, d := range []core.Definition{
		screen, reserveLine, reserve, w.AwaitPayment, collect, capturePayment, ship, fulfil, settle, w.Place, w.DailyReport, w.SendVoucher,
	} {
		add(d)
	}
	return w
}

// forEachLine returns a child for each line of an order.
func forEachLine[Out any](o Order, t *core.Task[OrderLine, Out]) []core.Child {
	children := make([]core.Child, len(o.Lines))
	for i, l := range o.Lines {
		children[i] = t.Child(OrderLine{Order: o.ID, Index: i, Line: l})
	}
	return children
}

// screen refuses customers that the shop does not serve.
func (s *Shop) screen(_ context.Context, o Order) (Order, error) {
	if o.Customer == "mallory" {
		return o, Refuse(NotServed, nil)
	}
	return o, nil
}

// capture takes the money that the customer's bank holds for the order.
func (s *Shop) capture(ctx context.Context, o PaidOrder) (PaidOrder, error) {
	var captured struct{}
	err := s.providers.post(ctx, "/bank/captures", core.InfoOf(ctx).ExecutionID, o.Payment, &captured)
	switch {
	case errors.Is(err, errRefused):
		return o, Refuse(PaymentRefused, err)
	case err != nil:
		return o, err
	}
	return o, s.set(ctx, o.Order.ID, Paid, nil)
}

// ship hands the parcel to the carrier.
func (s *Shop) ship(ctx context.Context, o PaidOrder) (Shipment, error) {
	parcel := Shipment{Tracking: "make-believe"}
	err := s.providers.post(ctx, "/carrier/parcels", core.InfoOf(ctx).ExecutionID, o.Order, &parcel)
	switch {
	case errors.Is(err, errRefused):
		return parcel, Refuse(NotDelivered, err)
	case err != nil:
		return parcel, err
	}
	return parcel, s.set(ctx, o.Order.ID, Shipped, item{"tracking": text(parcel.Tracking)})
}

package orders

import (
	"context"
	"fmt"

	"github.com/perdure-dev/perdure/core"
)

// newSettle returns the task that ends an order. When fulfil did not complete, whatever its steps may have done is
// taken back, one child for each of them: each has retries of its own, and each finds out by itself whether there is
// anything to take back, since a step that failed may have done its work all the same.
func (w *Workflow) newSettle(fulfil *core.Task[Order, Shipment], add func(core.Definition)) *core.Task[core.Results[Order], Outcome] {
	s := w.Shop
	releaseLine := core.NewTask("release_line", s.releaseLine, short)
	refund := core.NewTask("refund_payment", s.refund, short)
	add(releaseLine)
	add(refund)
	return core.NewParentTaskWithFinalize("settle_order",
		func(ctx context.Context, r core.Results[Order]) (Outcome, []core.Child, error) {
			o := r.Output
			shipment, err := fulfil.Result(r.Children[0])
			if err == nil {
				return Outcome{Order: o.ID, Status: Shipped, Tracking: shipment.Tracking}, nil, nil
			}
			outcome := Outcome{Order: o.ID, Status: Cancelled, Reason: reasonOf(err), Cause: r.Children[0].Failure.Message}
			if err := s.set(ctx, o.ID, Cancelled, item{"reason": text(string(outcome.Reason))}); err != nil {
				return outcome, nil, err
			}
			return outcome, append(forEachLine(o, releaseLine), refund.Child(o.ID)), nil
		},
		func(_ context.Context, r core.Results[Outcome]) (Outcome, error) {
			outcome := r.Output
			for _, child := range r.Children {
				switch child.TaskID {
				case releaseLine.ID():
					if taken, err := releaseLine.Result(child); err == nil && taken {
						outcome.Released++
					}
				case refund.ID():
					if cents, err := refund.Result(child); err == nil {
						outcome.Refunded = cents
					}
				}
				if child.Status != core.StatusCompleted {
					outcome.Trouble = append(outcome.Trouble, fmt.Sprintf("%s %s: %s", child.TaskID, child.ExecutionID, child.Failure.Message))
				}
			}
			return outcome, nil
		}, short)
}

// refund gives back what was captured for an order and sees to it that nothing is captured later. It returns how many
// cents that were.
func (s *Shop) refund(ctx context.Context, order string) (int, error) {
	var refunded struct {
		Cents int `json:"cents"`
	}
	err := s.providers.post(ctx, "/bank/refunds", core.InfoOf(ctx).ExecutionID, map[string]string{"order": order}, &refunded)
	return refunded.Cents, err
}

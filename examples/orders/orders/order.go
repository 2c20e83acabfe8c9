// Package orders is the shop's workflow: its tasks, and the table that they keep orders and stock in.
package orders

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Order is what a customer wants.
type Order struct {
	// ID is 1 to 40 letters, digits, '-' and '_'; whoever sends the order again sends the same.
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Country  string `json:"country"`
	Lines    []Line `json:"lines"`
	// PayWithinSeconds is how long the goods stay reserved without a payment. Default a day.
	PayWithinSeconds int `json:"pay_within_seconds,omitempty"`
}

// Line is a number of things of one kind.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// Payment is what the bank says a customer has paid.
type Payment struct {
	Order     string `json:"order"`
	Reference string `json:"reference"`
	Cents     int    `json:"cents"`
}

// Status is how far an order is.
type Status string

// The statuses of an order, in their order; each order ends shipped or cancelled.
const (
	Received        Status = "received"
	AwaitingPayment Status = "awaiting_payment"
	Paid            Status = "paid"
	Shipped         Status = "shipped"
	Cancelled       Status = "cancelled"
)

const (
	maxLines       = 50
	maxQuantity    = 1000
	maxWaitSeconds = 7 * 24 * 60 * 60
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

// Validate returns all that is wrong with an order.
func (o Order) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !idPattern.MatchString(o.ID) {
		wrong("id is %q: it must match %s", o.ID, idPattern)
	}
	if o.Customer == "" || len(o.Customer) > 100 {
		wrong("customer has %d bytes: it must have 1 to 100", len(o.Customer))
	}
	if len(o.Lines) < 1 || len(o.Lines) > maxLines {
		wrong("lines has %d: it must have 1 to %d", len(o.Lines), maxLines)
	}
	for i, l := range o.Lines {
		if !idPattern.MatchString(l.SKU) {
			wrong("lines[%d].sku is %q: it must match %s", i, l.SKU, idPattern)
		}
		if l.Quantity < 1 || l.Quantity > maxQuantity {
			wrong("lines[%d].quantity is %d: it must be 1 to %d", i, l.Quantity, maxQuantity)
		}
	}
	if o.PayWithinSeconds < 0 || o.PayWithinSeconds > maxWaitSeconds { // in seconds: as a Duration it may overflow
		wrong("pay_within_seconds is %d: it must be 0 to %d", o.PayWithinSeconds, maxWaitSeconds)
	}
	return errors.Join(errs...)
}

func (o Order) payWithin() time.Duration {
	if o.PayWithinSeconds == 0 {
		return 24 * time.Hour
	}
	return time.Duration(o.PayWithinSeconds) * time.Second
}

// ExecutionID returns the id of the execution that sees to an order.
func ExecutionID(order string) string { return "order-" + order }

// PaymentKey returns the key that wakes the task which waits for an order's payment.
func PaymentKey(order string) string { return "payment of order " + order }

// Reason is why an order is cancelled, in words for its customer. What a failed execution says of itself is for whoever
// looks after the shop: it may say what is none of the customer's business.
type Reason string

// The reasons that are the same for all orders.
const (
	ByCustomer     Reason = "cancelled by the customer"
	NotPaidInTime  Reason = "not paid in time"
	PaymentRefused Reason = "payment refused"
	WrongPayment   Reason = "what was paid is not what the order costs"
	NotServed      Reason = "the shop does not serve the customer"
	NotDelivered   Reason = "the carrier does not deliver there"
	OurFault       Reason = "something went wrong in the shop"
)

// refusal is the code of an order that is refused; the data is the reason.
const refusal = "order_refused"

// Refuse returns the error of an order that cannot be fulfilled: the task that found out ends at once, and its reason
// arrives where the order is settled. It has the cause where there is one.
func Refuse(why Reason, cause error) error {
	err := errors.New(string(why))
	if cause != nil {
		err = fmt.Errorf("%s: %w", why, cause)
	}
	return core.NonRetryable(core.Fail(refusal, err, why))
}

// reasonOf returns the reason of a refusal; OurFault for any other error.
func reasonOf(err error) Reason {
	var refused *core.FailError
	if !errors.As(err, &refused) || refused.Code != refusal {
		return OurFault
	}
	var why Reason
	if err := refused.Decode(&why); err != nil {
		return OurFault
	}
	return why
}

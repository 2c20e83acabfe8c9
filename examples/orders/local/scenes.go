package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/functions/handler"
)

// scene is something that happens to the shop. Its error is what should have been otherwise.
type scene struct {
	title string
	play  func(ctx context.Context, v *visitor) error
}

// scenes are independent of each other: each has orders and goods of its own.
var scenes = []scene{
	{"an order is placed, paid for and shipped; the bank is busy at first", paidAndShipped},
	{"the same order comes twice, another one with its id once", submittedTwice},
	{"orders that are wrong are refused, and nothing is written", wrongOrders},
	{"webhooks that are wrong wake nobody", wrongWebhooks},
	{"one line of an order is out of stock: the other goes back on the shelf", outOfStock},
	{"nobody pays: the goods go back on the shelf", nobodyPays},
	{"the customer cancels", customerCancels},
	{"the shop does not serve a customer", notServed},
	{"the bank refuses the payment: the goods go back on the shelf", bankRefuses},
	{"the bank is down for too long: the customer hears no more than that", bankIsDown},
	{"the carrier refuses the parcel: the payment is refunded", carrierRefuses},
	{"orders come by queue, some twice, one of them broken", byQueue},
	{"the nightly schedule enqueues a report, twice for the same night", nightlyReport},
	{"a Python function enqueues a voucher by invoking the enqueue function", pythonVoucher},
}

func order(id, sku string, quantity int) orders.Order {
	return orders.Order{ID: id, Customer: "ada", Country: "UK", Lines: []orders.Line{{SKU: sku, Quantity: quantity}}}
}

func paidAndShipped(ctx context.Context, v *visitor) error {
	o := order("17", "lamp", 2)
	o.Lines = append(o.Lines, orders.Line{SKU: "desk", Quantity: 1})
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.AwaitingPayment); err != nil {
		return err
	}
	if err := v.pay(ctx, o.ID, 24900, http.StatusOK); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.Shipped); err != nil {
		return err
	}
	if err := v.tree(ctx, o.ID); err != nil {
		return err
	}
	return v.booked(o.ID, books{Captured: 24900, Parcels: 1})
}

func submittedTwice(ctx context.Context, v *visitor) error {
	o := order("twice", "chair", 1)
	const times = 5
	errs := make([]error, times)
	var group sync.WaitGroup
	for i := range times {
		group.Go(func() { errs[i] = v.place(ctx, o, http.StatusAccepted) })
	}
	group.Wait()
	other := o
	other.Customer = "bob"
	if err := errors.Join(append(errs, v.place(ctx, other, http.StatusConflict))...); err != nil {
		return err
	}
	// Paid before or after it waits for that: both are right.
	if err := v.pay(ctx, o.ID, 8900, http.StatusOK); err != nil {
		return err
	}
	if err := v.pay(ctx, o.ID, 8900, http.StatusOK); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.Shipped); err != nil {
		return err
	}
	return v.booked(o.ID, books{Captured: 8900, Parcels: 1})
}

func wrongOrders(ctx context.Context, v *visitor) error {
	for _, body := range []string{
		`{"id":"bad-1","customer":"ada","lines":[{"sku":"lamp","quantity":1}]`,
		`{"id":"bad-1","customer":"ada","lines":[]}`,
		`{"id":"bad-1","customer":"ada","lines":[{"sku":"lamp","quantity":0}]}`,
		`{"id":"bad-1","customer":"ada","lines":[{"sku":"lamp","quantity":1}],"discount":100}`,
		`{"id":"../bad","customer":"ada","lines":[{"sku":"lamp","quantity":1}]}`,
		`{"id":"bad-1","customer":"","lines":[{"sku":"lamp","quantity":1}],"pay_within_seconds":-1}`,
	} {
		if err := v.http(ctx, http.MethodPost, "/orders", body, nil, http.StatusBadRequest); err != nil {
			return err
		}
	}
	for _, r := range []struct{ method, path string }{
		{http.MethodGet, "/orders/bad-1"}, {http.MethodDelete, "/orders/bad-1"}, {http.MethodGet, "/nothing"},
	} {
		if err := v.http(ctx, r.method, r.path, "", nil, http.StatusNotFound); err != nil {
			return err
		}
	}
	answer, err := v.request(ctx, handler.Request{Action: "get", ExecutionID: orders.ExecutionID("bad-1")})
	if err == nil && (answer.Error == nil || answer.Error.Code != handler.CodeNotFound) {
		err = fmt.Errorf("a refused order has an execution: %+v", answer)
	}
	return err
}

func wrongWebhooks(ctx context.Context, v *visitor) error {
	o := order("forged", "lamp", 1)
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.AwaitingPayment); err != nil {
		return err
	}
	now := time.Now()
	for _, w := range []struct {
		why, secret, body string
		at                time.Time
		status            int
	}{
		{"another secret", "guessed", `{"order":"forged","reference":"r","cents":2500}`, now, http.StatusUnauthorized},
		{"recorded an hour ago", secret, `{"order":"forged","reference":"r","cents":2500}`, now.Add(-time.Hour), http.StatusUnauthorized},
		{"not JSON", secret, `forged`, now, http.StatusBadRequest},
		{"an order that nobody placed", secret, `{"order":"nobodys","reference":"r","cents":1}`, now, http.StatusNotFound},
	} {
		v.say("a webhook: %s", w.why)
		if err := v.webhook(ctx, w.secret, w.body, w.at, w.status); err != nil {
			return err
		}
	}
	if err := v.until(ctx, o.ID, orders.AwaitingPayment); err != nil {
		return err
	}
	v.say("then one with too little in it")
	if err := v.pay(ctx, o.ID, 1, http.StatusOK); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.Cancelled); err != nil {
		return err
	}
	return errors.Join(v.told(ctx, o.ID, orders.WrongPayment), v.booked(o.ID, books{}))
}

func outOfStock(ctx context.Context, v *visitor) error {
	o := order("scarce", "mirror", 3)
	o.Lines = append(o.Lines, orders.Line{SKU: "unicorn", Quantity: 1})
	if err := v.app.shop.Stock(ctx, "mirror", 10, 100); err != nil {
		return err
	}
	if err := v.app.shop.Stock(ctx, "unicorn", 0, 100); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	return v.cancelled(ctx, o, `1 of "unicorn" are not in stock`, "mirror", 10, books{})
}

func nobodyPays(ctx context.Context, v *visitor) error {
	o := order("unpaid", "rug", 4)
	o.PayWithinSeconds = 1
	if err := v.app.shop.Stock(ctx, "rug", 4, 100); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.cancelled(ctx, o, orders.NotPaidInTime, "rug", 4, books{}); err != nil {
		return err
	}
	v.say("a payment that comes now is refused")
	return v.pay(ctx, o.ID, 400, http.StatusConflict)
}

func customerCancels(ctx context.Context, v *visitor) error {
	o := order("regret", "vase", 1)
	if err := v.app.shop.Stock(ctx, "vase", 1, 100); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.http(ctx, http.MethodDelete, "/orders/"+o.ID, "", nil, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.cancelled(ctx, o, orders.ByCustomer, "vase", 1, books{}); err != nil {
		return err
	}
	return v.http(ctx, http.MethodDelete, "/orders/"+o.ID, "", nil, http.StatusConflict)
}

func notServed(ctx context.Context, v *visitor) error {
	o := order("unserved", "mug", 1)
	o.Customer = "mallory"
	if err := v.app.shop.Stock(ctx, "mug", 1, 100); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	return v.cancelled(ctx, o, orders.NotServed, "mug", 1, books{})
}

func bankRefuses(ctx context.Context, v *visitor) error {
	return v.unpayable(ctx, broke, "sofa", orders.PaymentRefused)
}
func bankIsDown(ctx context.Context, v *visitor) error {
	return v.unpayable(ctx, down, "clock", orders.OurFault)
}

// unpayable plays an order that the bank takes no payment for.
func (v *visitor) unpayable(ctx context.Context, id, sku string, why orders.Reason) error {
	o := order(id, sku, 1)
	if err := v.app.shop.Stock(ctx, sku, 1, 300); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.pay(ctx, o.ID, 300, http.StatusOK); err != nil {
		return err
	}
	return v.cancelled(ctx, o, why, sku, 1, books{})
}

func carrierRefuses(ctx context.Context, v *visitor) error {
	o := order("far", "globe", 2)
	o.Country = "Atlantis"
	if err := v.app.shop.Stock(ctx, "globe", 2, 700); err != nil {
		return err
	}
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	if err := v.until(ctx, o.ID, orders.AwaitingPayment); err != nil {
		return err
	}
	if err := v.pay(ctx, o.ID, 1400, http.StatusOK); err != nil {
		return err
	}
	return v.cancelled(ctx, o, orders.NotDelivered, "globe", 2, books{Captured: 1400, Refunded: 1400})
}

func byQueue(ctx context.Context, v *visitor) error {
	messages := map[string]string{
		"message-1": `{"id":"pos-1","customer":"till 1","country":"UK","lines":[{"sku":"lamp","quantity":1}]}`,
		"message-2": `{"customer":"till 2","country":"UK","lines":[{"sku":"lamp","quantity":1}]}`,
		"message-3": `{"customer":"till 3"`,
	}
	for n := range 2 { // any message may be delivered again
		dead, err := v.app.deliver(ctx, messages)
		if err != nil {
			return err
		}
		v.say("delivery %d of 3 messages: with the dead letters in the end: %s", n+1, strings.Join(dead, ", "))
		if len(dead) != 1 || dead[0] != "message-3" {
			return fmt.Errorf("dead letters: %v, want message-3 alone", dead)
		}
	}
	for _, id := range []string{"pos-1", "message-2"} {
		if err := v.pay(ctx, id, 2500, http.StatusOK); err != nil {
			return err
		}
		if err := v.until(ctx, id, orders.Shipped); err != nil {
			return err
		}
		if err := v.booked(id, books{Captured: 2500, Parcels: 1}); err != nil {
			return err
		}
	}
	return nil
}

func nightlyReport(ctx context.Context, v *visitor) error {
	// Tonight's, which is about today.
	night := time.Now().UTC().AddDate(0, 0, 1).Truncate(24 * time.Hour).Add(5 * time.Minute).Format(time.RFC3339)
	event := strings.ReplaceAll(v.app.nightly(), "<aws.scheduler.scheduled-time>", night)
	o := order("reported", "lamp", 1)
	if err := v.place(ctx, o, http.StatusAccepted); err != nil {
		return err
	}
	var ids []string
	for range 2 {
		answer, err := v.raw(ctx, event)
		if err != nil {
			return err
		}
		v.say("the schedule's event: execution %s", answer.ExecutionID)
		ids = append(ids, answer.ExecutionID)
	}
	if ids[0] != ids[1] {
		return fmt.Errorf("two reports for one night: %v", ids)
	}
	output, err := v.output(ctx, ids[0])
	if err == nil && !strings.Contains(output, `"orders":`) {
		err = fmt.Errorf("the report is %s", output)
	}
	return err
}

func pythonVoucher(ctx context.Context, v *visitor) error {
	event := map[string]any{"customer": "ada", "campaign": "spring", "cents": 500}
	var ids []string
	for range 2 {
		var answer handler.Response
		if err := v.app.invoke(ctx, "Voucher", event, &answer); err != nil {
			return err
		}
		v.say("python answers %s", answer.ExecutionID)
		ids = append(ids, answer.ExecutionID)
	}
	if ids[0] != ids[1] {
		return fmt.Errorf("two vouchers: %v", ids)
	}
	output, err := v.output(ctx, ids[0])
	if err != nil {
		return err
	}
	if output != `"500 cents for ada"` {
		return fmt.Errorf("the voucher is %s", output)
	}
	event["cents"] = 1_000_000
	var answer handler.Response
	err = v.app.invoke(ctx, "Voucher", event, &answer)
	if err == nil || !strings.Contains(err.Error(), "Refused") || !strings.Contains(err.Error(), handler.CodeBadRequest) {
		return fmt.Errorf("a voucher over the limit: error %w", err)
	}
	v.say("too large a voucher: %v", err)
	return nil
}

// cancelled waits until an order is cancelled and checks that its customer is told why, and that all that was done for it
// was taken back.
func (v *visitor) cancelled(ctx context.Context, o orders.Order, why orders.Reason, sku string, stock int, want books) error {
	if err := v.until(ctx, o.ID, orders.Cancelled); err != nil {
		return err
	}
	if err := v.told(ctx, o.ID, why); err != nil {
		return err
	}
	output, err := v.output(ctx, orders.ExecutionID(o.ID))
	if err != nil {
		return err
	}
	v.say("settled: %s", output)
	if strings.Contains(output, "trouble") {
		return errors.New("something could not be taken back")
	}
	got, err := v.app.shop.Available(ctx, sku)
	if err == nil && got != stock {
		err = fmt.Errorf("%d of %s are on the shelf, want %d", got, sku, stock)
	}
	return errors.Join(err, v.booked(o.ID, want))
}

// finished reports whether an execution is at its end.
func finished(r handler.Response) bool { return r.Error == nil && r.Status.Finished() }

// completed returns an error unless the execution ended well.
func completed(r handler.Response) error {
	if r.Status != core.StatusCompleted {
		return fmt.Errorf("execution %s is %s: %+v", r.ExecutionID, r.Status, r.Failure)
	}
	return nil
}

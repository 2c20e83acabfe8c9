package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/examples/orders/front"
	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/functions/handler"
)

// patience bounds every wait: it is for what never comes, and long, since machines are slow at times.
const patience = 2 * time.Minute

// visitor does what customers, the bank and other programs do, says what it does, and checks the answers.
type visitor struct {
	app *app
	say func(format string, args ...any)
	// doing is told what is waited for; nil tells nobody.
	doing func(format string, args ...any)
}

// waits tells what is waited for from now on.
func (v *visitor) waits(format string, args ...any) {
	if v.doing != nil {
		v.doing("waiting "+format, args...)
	}
}

// http makes a request of the HTTP API, whose answer must have the status.
func (v *visitor) http(ctx context.Context, method, path, body string, header map[string]string, status int) error {
	_, err := v.answer(ctx, method, path, body, header, status)
	return err
}

// answer is http that returns the answer.
func (v *visitor) answer(ctx context.Context, method, path, body string, header map[string]string, status int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, v.app.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	v.say("%s %s %s -> %d %s", method, path, body, answer.StatusCode, data)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("%s %s answered %d, want %d: %s", method, path, answer.StatusCode, status, data)
	}
	return data, err
}

// told checks why the HTTP API tells the customer of an order that it is cancelled.
func (v *visitor) told(ctx context.Context, id string, want orders.Reason) error {
	data, err := v.answer(ctx, http.MethodGet, "/orders/"+id, "", nil, http.StatusOK)
	if err != nil {
		return err
	}
	var record orders.Record
	if err := json.Unmarshal(data, &record); err != nil {
		return err
	}
	if record.Status != orders.Cancelled || record.Reason != want {
		return fmt.Errorf("the customer of order %s is told %s, want that it is cancelled: %s", id, data, want)
	}
	return nil
}

func (v *visitor) place(ctx context.Context, o orders.Order, status int) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return v.http(ctx, http.MethodPost, "/orders", string(body), nil, status)
}

// pay sends what the bank sends when a customer has paid.
func (v *visitor) pay(ctx context.Context, id string, cents, status int) error {
	body, err := json.Marshal(orders.Payment{Order: id, Reference: "ref-" + id, Cents: cents})
	if err != nil {
		return err
	}
	return v.webhook(ctx, secret, string(body), time.Now(), status)
}

func (v *visitor) webhook(ctx context.Context, secret, body string, at time.Time, status int) error {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	return v.http(ctx, http.MethodPost, "/payments", body,
		map[string]string{"X-Timestamp": timestamp, "X-Signature": front.Sign(secret, timestamp, []byte(body))}, status)
}

// until waits until an order has a status; it must not end in another one.
func (v *visitor) until(ctx context.Context, id string, want orders.Status) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("order %s was not %s within %s", id, want, patience))
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		record, err := v.app.shop.Get(ctx, id)
		v.waits("until order %s is %s; it is %s", id, want, record.Status)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case record.Status == want:
			return v.http(ctx, http.MethodGet, "/orders/"+id, "", nil, http.StatusOK)
		case record.Status == orders.Shipped || record.Status == orders.Cancelled:
			return fmt.Errorf("order %s is %s, want %s: %s", id, record.Status, want, record.Reason)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// request asks the enqueue function as another Lambda would.
func (v *visitor) request(ctx context.Context, r handler.Request) (handler.Response, error) {
	return v.app.stack.Request(ctx, r)
}

// raw asks it with an event that is JSON text.
func (v *visitor) raw(ctx context.Context, event string) (handler.Response, error) {
	answer, err := v.app.stack.Request(ctx, json.RawMessage(event))
	if err == nil && answer.Error != nil {
		err = fmt.Errorf("%s: %s", answer.Error.Code, answer.Error.Message)
	}
	return answer, err
}

// output waits for the end of an execution, which must complete, and returns what it came to.
func (v *visitor) output(ctx context.Context, id string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("execution %s did not end within %s", id, patience))
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := v.request(ctx, handler.Request{Action: "get", ExecutionID: id})
		v.waits("for the end of execution %s; it is %s", id, answer.Status)
		switch {
		case err != nil:
			return "", err
		case finished(answer):
			return string(answer.Output), completed(answer)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// tree says what is below an order's execution.
func (v *visitor) tree(ctx context.Context, order string) error {
	root := orders.ExecutionID(order)
	if _, err := v.output(ctx, root); err != nil {
		return err
	}
	answer, err := v.request(ctx, handler.Request{Action: "tree", ExecutionID: root})
	if err == nil {
		v.branch(answer, "")
	}
	return err
}

// asleep waits until the task exists that waits for an order's payment. An order is awaiting its payment shortly before.
func (v *visitor) asleep(ctx context.Context, order string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing waits for the payment of order %s after %s", order, patience))
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		v.waits("until order %s sleeps until it is paid", order)
		answer, err := v.request(ctx, handler.Request{Action: "tree", ExecutionID: orders.ExecutionID(order)})
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && has(answer, "await_payment"):
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// has reports whether an execution of a task is in a tree.
func has(r handler.Response, task string) bool {
	return r.Task == task || slices.ContainsFunc(r.Children, func(child handler.Response) bool { return has(child, task) })
}

func (v *visitor) branch(r handler.Response, indent string) {
	v.say("%s%s: %s after %d attempt(s)", indent, r.Task, r.Status, r.Attempts)
	for _, child := range r.Children {
		v.branch(child, indent+"  ")
	}
}

// booked compares what bank and carrier know of an order.
func (v *visitor) booked(order string, want books) error {
	if got := v.app.world.books(order); got != want {
		return fmt.Errorf("order %s: bank and carrier have %+v, want %+v", order, got, want)
	}
	return nil
}

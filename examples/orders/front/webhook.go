package front

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/orders"
)

const (
	// leastSecret is how many bytes a secret has at least.
	leastSecret = 16
	// oldest is how old a webhook may be: one that somebody recorded cannot be played again much later.
	oldest = 5 * time.Minute
)

// CheckSecret returns an error when the secret is missing or too short to keep anybody out.
func (f *Front) CheckSecret() error {
	if len(f.secret) < leastSecret {
		return fmt.Errorf("WEBHOOK_SECRET has %d bytes: it must have at least %d", len(f.secret), leastSecret)
	}
	return nil
}

// Sign returns the signature of a webhook that is sent at a time, in Unix seconds.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Webhook hears from the bank that an order was paid for, and wakes the task that waits for it. The bank sends it
// again until it is answered with a 2xx status.
func (f *Front) Webhook(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	body, err := bodyOf(r)
	if err != nil {
		return refused(http.StatusBadRequest, "body: %v", err)
	}
	if err := f.authentic(r.Headers, body, time.Now()); err != nil {
		return refused(http.StatusUnauthorized, "%v", err)
	}
	var p orders.Payment
	if err := decode(body, &p); err != nil {
		return refused(http.StatusBadRequest, "body: %v", err)
	}
	// A wake-up that comes before its sleeper is kept for it, and so would be one for an order that never was.
	record, err := f.workflow.Shop.Get(ctx, p.Order)
	switch {
	case err != nil:
		return answerTo(err)
	case record.Status == orders.Cancelled: // nothing was captured, so the bank lets go of the money by itself
		return refused(http.StatusConflict, "order %s is cancelled: %s", p.Order, record.Reason)
	}
	handle, err := core.Wakeup(ctx, f.client.Client, f.workflow.AwaitPayment, orders.PaymentKey(p.Order), p)
	switch {
	case errors.Is(err, core.ErrFinished):
		return f.late(ctx, handle, p)
	case err != nil:
		return answerTo(err)
	}
	return response(http.StatusOK, map[string]any{"order": p.Order, "accepted": true})
}

// late answers a webhook whose payment somebody or something was faster than.
func (f *Front) late(ctx context.Context, handle *core.Handle[orders.Payment], p orders.Payment) (events.APIGatewayV2HTTPResponse, error) {
	e, err := handle.Get(ctx)
	switch {
	case errors.Is(err, core.ErrNotFound) || err == nil && e.Status == core.StatusCompleted:
		// This webhook was here before; without an execution it is kept for one that does not wait yet.
		return response(http.StatusOK, map[string]any{"order": p.Order, "accepted": true, "again": true})
	case err != nil:
		return answerTo(err)
	}
	return refused(http.StatusConflict, "order %s takes no payment any more", p.Order)
}

// authentic returns an error unless the bank signed the body lately. The signatures are compared in a time that does
// not depend on where they differ.
func (f *Front) authentic(headers map[string]string, body []byte, now time.Time) error {
	timestamp := headers["x-timestamp"]
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return errors.New("x-timestamp must be a time in Unix seconds")
	}
	want, got := Sign(f.secret, timestamp, body), headers["x-signature"]
	if !hmac.Equal([]byte(want), []byte(got)) {
		return errors.New("the signature is wrong")
	}
	if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > oldest {
		return fmt.Errorf("it was signed more than %s ago", oldest)
	}
	return nil
}

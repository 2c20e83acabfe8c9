package front

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/orders"
)

// API takes orders, tells how far they are, and cancels them.
//
//	POST   /orders        an orders.Order; 202 and its orders.Record, the same for the same order
//	GET    /orders/{id}   200 and its orders.Record
//	DELETE /orders/{id}   202 when it was not paid yet
func (f *Front) API(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	id := r.PathParameters["id"]
	switch r.RouteKey {
	case "POST /orders":
		return f.place(ctx, r)
	case "GET /orders/{id}":
		record, err := f.workflow.Shop.Get(ctx, id)
		if err != nil {
			return answerTo(err)
		}
		return response(http.StatusOK, record)
	case "DELETE /orders/{id}":
		return f.cancel(ctx, id)
	}
	return refused(http.StatusNotFound, "there is no %s", r.RouteKey)
}

func (f *Front) place(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	var o orders.Order
	body, err := bodyOf(r)
	if err == nil {
		err = decode(body, &o)
	}
	if err != nil {
		return answerTo(fmt.Errorf("%w: %w", orders.ErrInvalid, err))
	}
	record, err := f.workflow.Submit(ctx, f.client, o, time.Now())
	if err != nil {
		return answerTo(err)
	}
	answer, err := response(http.StatusAccepted, record)
	answer.Headers["Location"] = "/orders/" + o.ID
	return answer, err
}

// cancel ends the wait for the payment with an error: the workflow goes on from there and takes back what was done,
// which it would not if its execution were cancelled.
func (f *Front) cancel(ctx context.Context, id string) (events.APIGatewayV2HTTPResponse, error) {
	record, err := f.workflow.Shop.Get(ctx, id)
	switch {
	case err != nil:
		return answerTo(err)
	case record.Status != orders.Received && record.Status != orders.AwaitingPayment:
		return refused(http.StatusConflict, "order %s is %s", id, record.Status)
	}
	_, err = core.WakeupWithError(ctx, f.client.Client, f.workflow.AwaitPayment, orders.PaymentKey(id),
		orders.Refuse(orders.ByCustomer, nil))
	switch {
	case errors.Is(err, core.ErrFinished):
		return refused(http.StatusConflict, "order %s is paid or cancelled already", id)
	case err != nil:
		return answerTo(err)
	}
	return response(http.StatusAccepted, map[string]string{"id": id})
}

func bodyOf(r events.APIGatewayV2HTTPRequest) ([]byte, error) {
	if r.IsBase64Encoded {
		return base64.StdEncoding.DecodeString(r.Body)
	}
	return []byte(r.Body), nil
}

// decode reads one JSON value with no field that v does not have: a misspelt one must not be taken for a missing one.
func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the JSON value")
	}
	return nil
}

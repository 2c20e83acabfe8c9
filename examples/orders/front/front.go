// Package front is how orders, payments and messages come in: the Lambda functions that are none of the engine's.
package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/functions/handler"
)

// Front has the functions' handlers.
type Front struct {
	workflow *orders.Workflow
	client   *handler.Client
	secret   string
}

// New returns the handlers. secret is what the bank signs its webhooks with; only Webhook needs it.
func New(w *orders.Workflow, c *handler.Client, secret string) *Front { return &Front{w, c, secret} }

// response makes an answer of a value that becomes JSON.
func response(status int, v any) (events.APIGatewayV2HTTPResponse, error) {
	body, err := json.Marshal(v)
	return events.APIGatewayV2HTTPResponse{
		StatusCode: status, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(body),
	}, err
}

func refused(status int, format string, args ...any) (events.APIGatewayV2HTTPResponse, error) {
	return response(status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

// answerTo turns an error of the shop's into an answer; one that is not the caller's fault fails the invocation, which
// API Gateway answers with the status 500.
func answerTo(err error) (events.APIGatewayV2HTTPResponse, error) {
	switch {
	case errors.Is(err, orders.ErrInvalid):
		return refused(http.StatusBadRequest, "%v", err)
	case errors.Is(err, orders.ErrNotFound):
		return refused(http.StatusNotFound, "%v", err)
	case errors.Is(err, orders.ErrTaken):
		return refused(http.StatusConflict, "%v", err)
	}
	return events.APIGatewayV2HTTPResponse{}, err
}

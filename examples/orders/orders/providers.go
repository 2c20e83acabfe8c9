package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/perdure-dev/perdure/core"
)

// providers are the bank and the carrier, or make-believe ones where there is no URL.
type providers struct {
	url    string
	client *http.Client
}

func newProviders(url string) providers {
	return providers{url: url, client: &http.Client{Timeout: 5 * time.Second}}
}

// errRefused means that a provider understood what it was asked for and will not do it, however often it is asked.
var errRefused = errors.New("refused")

// post asks a provider for something, and puts its answer into out. key makes asking twice the same as asking once,
// which is what a task needs that may run twice. Errors that asking again would not mend are not retried, and a
// provider that says when to come back is believed. The error matches errRefused when the answer's status is 422.
func (p providers) post(ctx context.Context, path, key string, in, out any) error {
	if p.url == "" {
		return nil
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, bytes.NewReader(body))
	if err != nil {
		return core.NonRetryable(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	// Where the shop is traced, the context has its attempt's span, and else one that does nothing.
	ctx, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("orders").Start(ctx, "POST "+path, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	answer, err := p.client.Do(request.WithContext(ctx))
	if err != nil {
		span.SetStatus(codes.Error, "no answer")
		return err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", answer.StatusCode))
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		err := fmt.Errorf("%s answers %s", path, answer.Status)
		if seconds, bad := strconv.Atoi(answer.Header.Get("Retry-After")); bad == nil {
			return core.RetryAfter(err, time.Duration(seconds)*time.Second)
		}
		return err
	case answer.StatusCode == http.StatusUnprocessableEntity:
		return core.NonRetryable(fmt.Errorf("%s: %w: %s", path, errRefused, bytes.TrimSpace(data)))
	case answer.StatusCode >= 300:
		return core.NonRetryable(fmt.Errorf("%s answers %s: %s", path, answer.Status, bytes.TrimSpace(data)))
	}
	return json.Unmarshal(data, out)
}

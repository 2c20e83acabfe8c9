// Package tracing sends traces of the shop's executions to an OpenTelemetry collector, where the environment names one.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/otelperdure"
)

// patience is how long an invocation waits at its end for a collector to take its spans. One that does not answer costs
// each invocation that long, and the spans.
const patience = 2 * time.Second

// Options returns options for functions and clients that trace what they do when OTEL_EXPORTER_OTLP_ENDPOINT, or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, is not empty; else the zero value. The exporter speaks OTLP over HTTP, in protobuf,
// and reads the other variables of OpenTelemetry for OTLP by itself. It makes no request before there are spans.
func Options(ctx context.Context, getenv func(string) string) (handler.Options, error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return handler.Options{}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: patience / 10, MaxInterval: patience / 2, MaxElapsedTime: patience,
	}))
	if err != nil {
		return handler.Options{}, fmt.Errorf("tracing: %w", err)
	}
	self, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "orders"),
			attribute.String("faas.name", getenv("AWS_LAMBDA_FUNCTION_NAME")),
			attribute.String("faas.version", getenv("AWS_LAMBDA_FUNCTION_VERSION")),
		),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	)
	if err != nil {
		return handler.Options{}, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithIDGenerator(otelperdure.IDs{}), sdktrace.WithBatcher(exporter), sdktrace.WithResource(self),
	)
	return handler.Options{
		Observer: otelperdure.Observer(provider),
		Flush: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the collector did not take spans within %s", patience))
			defer cancel()
			if err := provider.ForceFlush(ctx); err != nil {
				if cause := context.Cause(ctx); cause != nil {
					err = cause
				}
				return fmt.Errorf("send spans: %w", err)
			}
			return nil
		},
	}, nil
}

// Flusher is what Flushed needs.
type Flusher struct {
	Flush  func(ctx context.Context) error // of handler.Options; nil flushes nothing
	Logger *slog.Logger
}

// Flushed returns a handler that sends what it observed before it returns, for functions that are none of the engine's,
// since Lambda freezes a process between invocations. What goes wrong with that is logged: it is not the caller's fault.
func Flushed[In, Out any](h func(context.Context, In) (Out, error), f Flusher) func(context.Context, In) (Out, error) {
	if f.Flush == nil {
		return h
	}
	return func(ctx context.Context, in In) (Out, error) {
		defer func() {
			if err := f.Flush(ctx); err != nil {
				f.Logger.WarnContext(ctx, "what was observed is not sent", "error", err)
			}
		}()
		return h(ctx, in)
	}
}

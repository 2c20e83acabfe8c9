// Package otelperdure traces executions with OpenTelemetry: one trace for each root execution, with all that is below it,
// across attempts, invocations and crashes, however many days it takes.
//
//	execution            a span from its creation to its end, below its parent's
//	  attempt            a span for each, with the code's own spans below it
//	  finalize           a span of a parent's finalize function
//
// The ids are derived from the executions' (see TraceID, SpanID), so no process has to be told any: each ends the spans
// of what it ended, and they fit together. An execution's span is written at its end, so a trace in the making lacks the
// spans at its top. An attempt whose executor died gets its span from whoever recovers it, with the id that it has had.
//
// # Wiring
//
// The observer goes into core.Config and core.ClientOptions, and in functions into handler.Options, with the provider's
// ForceFlush, since Lambda freezes a process between invocations:
//
//	provider := sdktrace.NewTracerProvider(
//		sdktrace.WithIDGenerator(otelperdure.IDs{}), // required
//		sdktrace.WithBatcher(exporter),              // any exporter: OTLP, stdout, ...
//	)
//	handler.StartWith(tasks.Registry, handler.Options{Observer: otelperdure.Observer(provider), Flush: provider.ForceFlush})
//
// examples/orders/tracing does so with the OTLP exporter over HTTP, and bounds the flush: a collector that does not answer
// must not hold up invocations.
//
// # Sampling
//
// Each process decides by itself what it samples, and all should come to the same end. sdktrace.AlwaysSample, the default,
// does, and so does sdktrace.TraceIDRatioBased, by the trace's id. Below sdktrace.ParentBased every child would be sampled,
// since its parent is taken to be.
package otelperdure

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/perdure-dev/perdure/core"
)

// scope names the tracer.
const scope = "github.com/perdure-dev/perdure/otelperdure"

// Keys of the spans' attributes.
const (
	keyExecution  = attribute.Key("perdure.execution_id")
	keyTask       = attribute.Key("perdure.task_id")
	keyRoot       = attribute.Key("perdure.root_id")
	keyStatus     = attribute.Key("perdure.status")
	keyAttempt    = attribute.Key("perdure.attempt")
	keyAttempts   = attribute.Key("perdure.attempts")
	keyRecoveries = attribute.Key("perdure.recoveries")
	keyOutcome    = attribute.Key("perdure.outcome")
	keyWaited     = attribute.Key("perdure.waited_ms")
	keyExecutor   = attribute.Key("perdure.executor_id")
)

// Observer returns an observer that makes spans with a provider, whose id generator must be IDs. Code is called with a
// context that has its attempt's span. Payloads are not in the spans, nor the texts of failures, which may hold what a
// task was given; their codes are.
func Observer(provider trace.TracerProvider) core.Observer {
	t := tracer{provider.Tracer(scope)}
	return core.Observer{AttemptStarted: t.attemptStarted, AttemptEnded: t.attemptEnded, Finished: t.finished, Recovered: t.recovered}
}

type tracer struct{ trace.Tracer }

// parented returns a context in which a span with the given id is made below another span of an execution's trace; below
// none for an invalid one.
func parented(ctx context.Context, e *core.Execution, id, parent trace.SpanID) context.Context {
	ctx = context.WithValue(ctx, wantedKey{}, wanted{TraceID(e.RootID), id})
	if !parent.IsValid() {
		return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: TraceID(e.RootID), SpanID: parent, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

func identity(e *core.Execution) trace.SpanStartEventOption {
	return trace.WithAttributes(keyExecution.String(e.ID), keyTask.String(e.TaskID), keyRoot.String(e.RootID))
}

func (t tracer) attemptStarted(ctx context.Context, a core.AttemptStarted) context.Context {
	e := a.Execution
	if a.Finalize {
		_, span := t.Start(parented(ctx, e, finalizeID(e), SpanID(e.ID)), e.TaskID+" finalize", identity(e))
		return trace.ContextWithSpan(ctx, span)
	}
	return trace.ContextWithSpan(ctx, t.attempt(ctx, e, e.Attempts,
		keyExecutor.String(e.ExecutorID), keyWaited.Int64(a.Waited.Milliseconds())))
}

// attempt begins the span of an execution's last attempt.
func (t tracer) attempt(ctx context.Context, e *core.Execution, number int, more ...attribute.KeyValue) trace.Span {
	_, span := t.Start(parented(ctx, e, attemptID(e), SpanID(e.ID)), e.TaskID+" attempt",
		identity(e), trace.WithTimestamp(e.StartedAt), trace.WithAttributes(append(more, keyAttempt.Int(number))...))
	return span
}

func (tracer) attemptEnded(ctx context.Context, a core.AttemptEnded) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(keyOutcome.String(string(a.Outcome)))
	fail(span, a.Failure)
	span.End()
}

func fail(span trace.Span, f *core.Failure) {
	if f != nil {
		span.SetStatus(codes.Error, string(f.Code))
	}
}

func (t tracer) finished(ctx context.Context, e *core.Execution) {
	var parent trace.SpanID
	options := []trace.SpanStartOption{identity(e), trace.WithTimestamp(e.CreatedAt), trace.WithAttributes(
		keyStatus.String(string(e.Status)), keyAttempts.Int(e.Attempts), keyRecoveries.Int(e.Recoveries),
	)}
	switch {
	case e.Parent != nil:
		parent = SpanID(e.Parent.ID)
	case e.RedriveOf != "":
		options = append(options, trace.WithLinks(trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: TraceID(e.RedriveOf), SpanID: SpanID(e.RedriveOf), TraceFlags: trace.FlagsSampled, Remote: true,
		})}))
	}
	_, span := t.Start(parented(ctx, e, SpanID(e.ID), parent), e.TaskID, options...)
	if e.Status != core.StatusCompleted {
		fail(span, e.Failure)
	}
	span.End(trace.WithTimestamp(e.FinishedAt))
}

// recovered makes the span of an attempt whose executor died before it could end it.
func (t tracer) recovered(ctx context.Context, r core.Recovered) {
	e := r.Execution
	if r.Claim != core.QueueRunning {
		return
	}
	number := e.Attempts
	if !e.Status.Finished() {
		number++ // it does not count
	}
	span := t.attempt(ctx, e, number, keyOutcome.String("lost"))
	span.SetStatus(codes.Error, "its executor was lost")
	span.End(trace.WithTimestamp(e.UpdatedAt))
}

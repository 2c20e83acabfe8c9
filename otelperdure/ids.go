package otelperdure

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/perdure-dev/perdure/core"
)

// TraceID returns the id of the trace of all executions in a tree; rootID is the id of the one at its top.
func TraceID(rootID string) trace.TraceID {
	var id trace.TraceID
	derive(id[:], "trace", rootID)
	return id
}

// SpanID returns the id of an execution's span.
func SpanID(executionID string) trace.SpanID {
	var id trace.SpanID
	derive(id[:], "execution", executionID)
	return id
}

// attemptID returns the id of the span of an attempt, which its start tells from all others of its execution.
func attemptID(e *core.Execution) trace.SpanID { return partID(e, "attempt", e.StartedAt) }

// finalizeID returns the id of the span of a call of a parent's finalize function.
func finalizeID(e *core.Execution) trace.SpanID {
	return partID(e, "finalize", e.Family.ProcessingExpiresAt)
}

func partID(e *core.Execution, what string, at time.Time) trace.SpanID {
	var id trace.SpanID
	derive(id[:], what, e.ID, strconv.FormatInt(at.UnixMilli(), 10))
	return id
}

// derive fills id with a hash of the parts, none of which has a byte 0.
func derive(id []byte, parts ...string) {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // a hash takes everything
		_, _ = h.Write([]byte{0})
	}
	copy(id, h.Sum(nil))
	id[0] |= 1 // all zeros would be no id
}

// IDs is the generator of ids that a tracer provider needs so that the executions' spans have the ids that are derived
// from theirs: sdktrace.WithIDGenerator(otelperdure.IDs{}). All other spans get random ids.
type IDs struct{}

type wantedKey struct{}

// wanted are the ids of the next span.
type wanted struct {
	trace trace.TraceID
	span  trace.SpanID
}

// NewIDs implements sdktrace.IDGenerator.
func (IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if w, ok := ctx.Value(wantedKey{}).(wanted); ok {
		return w.trace, w.span
	}
	var t trace.TraceID
	random(t[:])
	return t, IDs{}.NewSpanID(ctx, t)
}

// NewSpanID implements sdktrace.IDGenerator.
func (IDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if w, ok := ctx.Value(wantedKey{}).(wanted); ok {
		return w.span
	}
	var s trace.SpanID
	random(s[:])
	return s
}

func random(id []byte) {
	_, _ = rand.Read(id) // never fails: crypto/rand ends the process instead
	id[0] |= 1
}

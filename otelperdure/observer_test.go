package otelperdure_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
	"github.com/perdure-dev/perdure/otelperdure"
)

// traced runs a test in a world whose executors and client make spans, and returns the spans.
func traced(t *testing.T, tasks []core.Definition, test func(w *coretest.World), more ...sdktrace.TracerProviderOption) tracetest.SpanStubs {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append(more, sdktrace.WithIDGenerator(otelperdure.IDs{}), sdktrace.WithSyncer(exporter))...)
	coretest.RunWith(t, tasks, coretest.Options{
		Config: core.Config{Observer: otelperdure.Observer(provider)},
		Client: core.ClientOptions{Observer: otelperdure.Observer(provider)},
	}, test)
	return exporter.GetSpans()
}

// text returns a trace as text, a span a line below its parent's, in the order of their starts and names. The test fails on
// spans of other traces, and on parents that there are not.
func text(t *testing.T, spans tracetest.SpanStubs, rootID string) string {
	t.Helper()
	children := map[trace.SpanID][]tracetest.SpanStub{}
	known := map[trace.SpanID]bool{{}: true}
	for _, s := range spans {
		if s.SpanContext.TraceID() != otelperdure.TraceID(rootID) {
			t.Errorf("span %s is of another trace", s.Name)
		}
		if known[s.SpanContext.SpanID()] {
			t.Errorf("span %s has an id that another one has", s.Name)
		}
		known[s.SpanContext.SpanID()] = true
		children[s.Parent.SpanID()] = append(children[s.Parent.SpanID()], s)
	}
	for parent, below := range children {
		if !known[parent] {
			t.Errorf("the parent of span %s does not exist", below[0].Name)
		}
	}
	var b strings.Builder
	var write func(parent trace.SpanID, depth int)
	write = func(parent trace.SpanID, depth int) {
		below := children[parent]
		slices.SortStableFunc(below, func(a, b tracetest.SpanStub) int {
			if c := a.StartTime.Compare(b.StartTime); c != 0 {
				return c
			}
			return strings.Compare(line(a), line(b))
		})
		for _, s := range below {
			if s.EndTime.Before(s.StartTime) {
				t.Errorf("span %s ends before it starts", s.Name)
			}
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), line(s))
			write(s.SpanContext.SpanID(), depth+1)
		}
	}
	write(trace.SpanID{}, 0)
	return b.String()
}

func line(s tracetest.SpanStub) string {
	l := s.Name
	for _, key := range []attribute.Key{"perdure.status", "perdure.attempt", "perdure.outcome"} {
		for _, a := range s.Attributes {
			if a.Key == key {
				l += " " + a.Value.String()
			}
		}
	}
	if s.Status.Description != "" {
		l += ": " + s.Status.Description
	}
	return l
}

func check(t *testing.T, got, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.Trim(want, "\n\t"), "\n\t\t", "\n") + "\n"
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the trace (-want +got):\n%s", diff)
	}
}

func TestAFamilyIsOneTraceWithTheCodesOwnSpansInIt(t *testing.T) {
	t.Parallel()
	own := func(ctx context.Context, name string) {
		_, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("own").Start(ctx, name)
		span.End()
	}
	leaf := core.NewTask("leaf", func(ctx context.Context, n int) (int, error) {
		own(ctx, fmt.Sprint("query ", n))
		time.Sleep(time.Duration(n) * time.Second)
		if core.InfoOf(ctx).Attempt == 1 && n == 2 {
			return 0, errors.New("not yet")
		}
		return n, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Minute}})
	step := core.NewTask("step", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(step, step), core.TaskOptions{})
	parent := core.NewParentTaskWithFinalize("parent", func(ctx context.Context, _ int) (int, []core.Child, error) {
		own(ctx, "plan")
		return 0, []core.Child{leaf.Child(1), leaf.Child(2), seq.ChildWith(3, core.EnqueueOptions{Delay: time.Second})}, nil
	}, func(ctx context.Context, _ core.Results[int]) (int, error) {
		own(ctx, "sum up")
		return 7, nil
	}, core.TaskOptions{})
	spans := traced(t, []core.Definition{parent, leaf, seq, step}, func(w *coretest.World) {
		coretest.Wait(w, coretest.EnqueueWith(w, parent, 1, core.EnqueueOptions{ID: "family-1"}))
		w.Skip(time.Minute)
	})
	check(t, text(t, spans, "family-1"), `
		parent completed
		  leaf completed
		    leaf attempt 1 succeeded
		      query 1
		  leaf completed
		    leaf attempt 1 retried: failed
		      query 2
		    leaf attempt 2 succeeded
		      query 2
		  parent attempt 1 succeeded
		    plan
		  seq completed
		    seq attempt 1 succeeded
		    step completed
		      step attempt 1 succeeded
		    step completed
		      step attempt 1 succeeded
		  parent finalize succeeded
		    sum up`)
	for _, s := range spans {
		if s.Name == "parent" && s.SpanContext.SpanID() != otelperdure.SpanID("family-1") {
			t.Errorf("the span of family-1 has the id %s", s.SpanContext.SpanID())
		}
	}
}

func TestACrashedAttemptIsInTheTraceWithWhatItDid(t *testing.T) {
	t.Parallel()
	var w *coretest.World
	began := 0
	deadly := core.NewTask("deadly", func(ctx context.Context, _ int) (int, error) {
		_, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("own").Start(ctx, "charge")
		span.End()
		if began++; began == 1 {
			w.Crash()
		}
		return 0, nil
	}, core.TaskOptions{})
	spans := traced(t, []core.Definition{deadly}, func(world *coretest.World) {
		w = world
		coretest.Wait(w, coretest.EnqueueWith(w, deadly, 1, core.EnqueueOptions{ID: "order-17"}))
	})
	// The process that died could not have written the end of its attempt.
	spans = slices.DeleteFunc(spans, func(s tracetest.SpanStub) bool {
		return strings.Contains(line(s), string(core.AttemptUnwritten)) || strings.Contains(line(s), string(core.AttemptDropped))
	})
	check(t, text(t, spans, "order-17"), `
		deadly completed
		  deadly attempt 1 lost: its executor was lost
		    charge
		  deadly attempt 1 succeeded
		    charge`)
}

func TestSleepersCancellationsAndRedrivesAreTraced(t *testing.T) {
	t.Parallel()
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{Timeout: time.Hour})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{sleeper.Child("a"), sleeper.Child("b")}, nil
	}, core.TaskOptions{})
	var redriven string
	spans := traced(t, []core.Definition{parent, sleeper}, func(w *coretest.World) {
		h := coretest.EnqueueWith(w, parent, 1, core.EnqueueOptions{ID: "first"})
		w.Until(h, core.StatusWaitingForChildren)
		w.Skip(time.Second)
		coretest.Wake(w, sleeper, "a", 1)
		w.Cancel(h, "enough")
		id, err := w.Client().Redrive(w.Context(), "first")
		if err != nil {
			w.Fatal(err)
		}
		redriven = id
		w.Skip(time.Second)
		coretest.Wake(w, sleeper, "b", 1)
		w.Until(coretest.ID(id), core.StatusCompleted)
		w.Skip(time.Minute)
	})
	of := func(root string) (trace tracetest.SpanStubs) {
		for _, s := range spans {
			if s.SpanContext.TraceID() == otelperdure.TraceID(root) {
				trace = append(trace, s)
			}
		}
		return trace
	}
	check(t, text(t, of("first"), "first"), `
		parent cancelled: cancelled
		  parent attempt 1 succeeded
		  sleeper cancelled: cancelled
		  sleeper completed`)
	again := of(redriven)
	check(t, text(t, again, redriven), `
		parent completed
		  parent attempt 1 succeeded
		  sleeper completed`)
	for _, s := range again {
		if s.Name == "parent" && (len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != otelperdure.SpanID("first")) {
			t.Errorf("the redriven root has the links %v", s.Links)
		}
	}
}

// All processes sample the same traces, and these whole.
func TestATraceIsSampledAsAWhole(t *testing.T) {
	t.Parallel()
	leaf := core.NewTask("leaf", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{leaf.Child(1)}, nil
	}, core.TaskOptions{})
	const roots = 40
	spans := traced(t, []core.Definition{parent, leaf}, func(w *coretest.World) {
		for i := range roots {
			coretest.Wait(w, coretest.EnqueueWith(w, parent, 1, core.EnqueueOptions{ID: fmt.Sprint("root-", i)}))
		}
		w.Skip(time.Minute)
	}, sdktrace.WithSampler(sdktrace.TraceIDRatioBased(0.5)))
	traces := map[trace.TraceID]int{}
	for _, s := range spans {
		traces[s.SpanContext.TraceID()]++
	}
	for id, n := range traces {
		if n != 4 {
			t.Errorf("trace %s has %d spans, want 4", id, n)
		}
	}
	if len(traces) == 0 || len(traces) == roots {
		t.Errorf("%d of %d traces are sampled", len(traces), roots)
	}
}

func TestIDsAreDerivedAndNeverZero(t *testing.T) {
	t.Parallel()
	if otelperdure.TraceID("a") == otelperdure.TraceID("b") || otelperdure.SpanID("a") == otelperdure.SpanID("b") {
		t.Error("two executions have the same ids")
	}
	// Pinned: programs of different versions take part in one trace.
	if got := otelperdure.TraceID("order-17").String() + " " + otelperdure.SpanID("order-17").String(); got != pinned {
		t.Errorf("the ids of order-17 are %s, were %s", got, pinned)
	}
	generated, span := otelperdure.IDs{}.NewIDs(t.Context())
	if other := (otelperdure.IDs{}).NewSpanID(t.Context(), generated); !generated.IsValid() || !span.IsValid() || span == other {
		t.Errorf("generated %s, %s, %s", generated, span, other)
	}
}

const pinned = "1562908577f90d33cb8bfd06a4cb685a d7e391008c082010"

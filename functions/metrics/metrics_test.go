package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/metrics"
)

// read parses the lines as CloudWatch does: what the directives refer to, by name and dimensions. It fails the test on
// whatever the specification of the format does not allow.
func read(t *testing.T, lines string) map[string]any {
	t.Helper()
	values := map[string]any{}
	for line := range strings.Lines(lines) {
		var doc map[string]any
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		var meta struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		}
		raw, err := json.Marshal(doc["_aws"])
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&meta); err != nil || meta.Timestamp == 0 || len(meta.CloudWatchMetrics) == 0 {
			t.Fatalf("metadata %s, error %v", raw, err)
		}
		for _, d := range meta.CloudWatchMetrics {
			if d.Namespace != metrics.Namespace || len(d.Dimensions) == 0 || len(d.Metrics) == 0 || len(d.Metrics) > 100 {
				t.Errorf("directive %+v", d)
			}
			for _, m := range d.Metrics {
				i := slices.IndexFunc(metrics.Definitions(), func(def metrics.Definition) bool { return def.Name == m.Name })
				if i < 0 || metrics.Definitions()[i].Unit != m.Unit || !cmp.Equal(metrics.Definitions()[i].Dimensions, d.Dimensions) {
					t.Errorf("metric %+v with dimensions %v is not what Definitions says", m, d.Dimensions)
				}
				v, ok := doc[m.Name]
				if list, is := v.([]any); !ok || is && (len(list) == 0 || len(list) > 100) {
					t.Errorf("metric %s is %v", m.Name, v)
				}
				for _, set := range d.Dimensions {
					where := m.Name
					for _, name := range set {
						value, ok := doc[name].(string)
						if !ok || value == "" {
							t.Errorf("dimension %s is %v", name, doc[name])
						}
						where += " " + name + "=" + value
					}
					values[where] = v
				}
			}
		}
	}
	return values
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	flaky := core.NewTask("flaky", func(ctx context.Context, _ int) (int, error) {
		if core.InfoOf(ctx).Attempt < 3 {
			return 0, errors.New("not yet")
		}
		return 1, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3, BaseDelay: time.Second, Multiplier: 1}})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{flaky.Child(1), flaky.Child(2)}, nil
	}, core.TaskOptions{})
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{Timeout: time.Minute})
	var out bytes.Buffer
	g := metrics.New(&out, metrics.Options{Table: "orders", Level: "INFO"})
	g.Watch(core.LoopStartReady)
	opts := coretest.Options{Config: core.Config{Observer: g.Observer()}, Client: core.ClientOptions{Observer: g.Observer()}, NoExecutors: true}
	coretest.RunWith(t, []core.Definition{parent, flaky, sleeper}, opts, func(w *coretest.World) {
		h := coretest.Enqueue(w, parent, 1)
		w.Skip(90 * time.Second)
		w.Start()
		coretest.Wait(w, h)
		coretest.Enqueue(w, sleeper, "a")
		w.Cancel(coretest.Enqueue(w, sleeper, "b"), "")
		w.Skip(2 * time.Minute)
		g.Usage(dynamostore.Usage{Write: 2.5, Read: 0.5, Throttled: 3})
		g.Usage(dynamostore.Usage{Write: 1})
		if err := g.Flush(); err != nil {
			w.Fatal(err)
		}
	})
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
	got := read(t, out.String())
	waits, _ := got["StartLatency Table=orders"].([]any)
	ends, _ := got["Latency Table=orders"].([]any)
	delete(got, "StartLatency Table=orders")
	delete(got, "Latency Table=orders")
	want := map[string]any{
		"Started Table=orders": 7.0, "Completed Table=orders": 3.0, "Retries Table=orders": 4.0,
		"TimedOut Table=orders": 1.0, "Cancelled Table=orders": 1.0,
		"WriteUnits Table=orders": 3.5, "ReadUnits Table=orders": 0.5, "Throttles Table=orders": 3.0,
		"OldestAge Table=orders": 90_000.0, "OldestAge Table=orders Loop=start_ready": 90_000.0, "Due Table=orders Loop=start_ready": 2.0,
	}
	if age, _ := got["OldestAge Table=orders"].(float64); age > 90_000 && age < 90_100 {
		want["OldestAge Table=orders"], want["OldestAge Table=orders Loop=start_ready"] = age, age
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, out.String())
	}
	if len(waits) != 7 || slices.IndexFunc(waits, func(v any) bool { return v.(float64) >= 90_000 }) < 0 {
		t.Errorf("start latencies %v", waits)
	}
	if len(ends) != 3 { // the roots
		t.Errorf("latencies %v", ends)
	}
}

func TestWhatDidNotHappenIsNotWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := metrics.New(&out, metrics.Options{Table: "orders", Level: "ERROR"})
	if err := g.Flush(); err != nil || out.Len() != 0 {
		t.Errorf("nothing happened: error %v, %s", err, out.String())
	}
	g.Watch(core.LoopClose)
	pass := g.Observer().PassDone
	pass(t.Context(), core.PassDone{Loop: core.LoopClose, Result: core.Result{Corrupt: 2, Lost: 3}, Err: errors.New("no answer")})
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	pass(t.Context(), core.PassDone{Loop: core.LoopClose, Result: core.Result{Unseen: true}})
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	pass(t.Context(), core.PassDone{Loop: core.LoopClose})
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	failed, idle, _ := strings.Cut(out.String(), "\n")
	// A failed pass is no sign of life, nor is one that did not look; one that found nothing is.
	if diff := cmp.Diff(map[string]any{
		"FailedPasses Table=orders": 1.0, "Corrupt Table=orders": 2.0, "LostClaims Table=orders": 3.0,
	}, read(t, failed)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"OldestAge Table=orders": 0.0, "OldestAge Table=orders Loop=close": 0.0}, read(t, idle)); diff != "" {
		t.Error(diff)
	}
	// Lambda drops lines below the function's level, and those without one.
	if !strings.Contains(idle, `"level":"ERROR"`) || !strings.Contains(idle, `"timestamp":"2`) {
		t.Errorf("the line has no level or no time: %s", idle)
	}
}

func TestManyLatenciesAreThinnedOutAndKeepTheirShape(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := metrics.New(&out, metrics.Options{Table: "orders"})
	start := g.Observer().AttemptStarted
	const n = 50_000
	for i := range n {
		start(t.Context(), core.AttemptStarted{Execution: &core.Execution{}, Waited: time.Duration(i) * time.Millisecond})
	}
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	values, _ := read(t, out.String())["StartLatency Table=orders"].([]any)
	if len(values) != 100 || values[99] != float64(n-1) {
		t.Fatalf("%d values, the last %v", len(values), values[len(values)-1])
	}
	for i, v := range values {
		if want := float64(i) * n / 99; v.(float64) < want-n/50 || v.(float64) > want+n/50 {
			t.Errorf("value %d is %v, want about %v", i, v, want)
		}
	}
	if out.Len() > 4096 {
		t.Errorf("the line has %d bytes", out.Len())
	}
}

func TestEveryMetricHasANameOfItsOwnAndAUnit(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range metrics.Definitions() {
		if seen[m.Name] || !slices.Contains([]string{"Count", "Milliseconds"}, m.Unit) || strings.Contains(m.Name, " ") {
			t.Errorf("metric %+v", m)
		}
		seen[m.Name] = true
	}
	if len(seen) != 20 {
		t.Error(fmt.Sprint(len(seen), " metrics: docs/observability.md says what they cost"))
	}
}

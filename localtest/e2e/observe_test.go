package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/metrics"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// output is what the functions print, a line at a time.
type output struct {
	mu    sync.Mutex
	lines []string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

// documents returns the lines that are JSON, without the function's name before them.
func (o *output) documents(t *testing.T) []map[string]any {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []map[string]any
	for _, line := range o.lines {
		_, line, _ = strings.Cut(line, "] ")
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		all = append(all, doc)
	}
	return all
}

// sum adds a metric up over all lines.
func sum(docs []map[string]any, name string) float64 {
	total := 0.0
	for _, doc := range docs {
		switch v := doc[name].(type) {
		case float64:
			total += v
		case []any:
			total += float64(len(v))
		}
	}
	return total
}

// tickUntilFinished invokes the loops, as their schedules would, until an execution is finished, and returns its status.
func tickUntilFinished(t *testing.T, s *stack.Stack, id string) core.Status {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		for _, name := range []string{stack.StartReady, stack.ProcessChildren, stack.Close, stack.Timeouts, stack.Cancellation} {
			if result, err := s.Lambda.Invoke(t.Context(), name, []byte("{}")); err != nil || result.FunctionError != "" {
				t.Fatalf("%s: %s, error %v", name, result.Payload, err)
			}
		}
		if r := request(t, s, handler.Request{Action: "get", ExecutionID: id}); r.Status.Finished() {
			return r.Status
		}
	}
	t.Fatalf("execution %s does not end", id)
	return ""
}

func TestEveryLineAboutAnExecutionSaysWhichAndMetricsTellWhatBecameOfThem(t *testing.T) {
	t.Parallel()
	out := &output{}
	s, err := stack.Start(t.Context(), stack.Options{
		Binaries: binaries, Log: out, NoSchedules: true, Env: []string{"PERDURE_METRICS=yes", "PERDURE_LEEWAY=1", "PERDURE_LOG_LEVEL=DEBUG"},
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	defer stop()
	lost := request(t, s, json.RawMessage(`{"action":"enqueue","task":"slow","input":1,"timeout_ms":5000}`)).ExecutionID
	swept, err := s.Watch.ClaimReady(t.Context(), core.ReadyClaim{ // by an executor that dies
		Now: core.Millis(time.Now()), Limit: 1, ExecutorID: "dead", Left: time.Hour, Leeway: time.Millisecond, IDs: []string{lost},
	})
	if err != nil || len(swept.Executions) != 1 {
		t.Fatalf("claimed %v, error %v", swept.Executions, err)
	}
	retried := request(t, s, json.RawMessage(`{"action":"enqueue","task":"crash","input":"why","retry":{"max_attempts":2,"base_delay_ms":100}}`)).ExecutionID
	boxes := request(t, s, json.RawMessage(`{"action":"enqueue","task":"pack_box","input":3}`)).ExecutionID
	later := request(t, s, json.RawMessage(`{"action":"enqueue","task":"slow","input":1,"delay_ms":3600000}`)).ExecutionID
	request(t, s, handler.Request{Action: "cancel", ExecutionID: later})
	for id, want := range map[string]core.Status{lost: core.StatusCompleted, retried: core.StatusFailed, boxes: core.StatusCompleted} {
		if status := tickUntilFinished(t, s, id); status != want {
			t.Errorf("%s is %s, want %s", id, status, want)
		}
	}
	invocations := 0
	for _, stats := range s.Lambda.Stats() {
		invocations += stats.Invocations
	}
	stop()

	docs := out.documents(t)
	said, lines := map[any]int{}, 0
	for _, doc := range docs {
		if _, ok := doc["_aws"]; ok {
			lines++
		}
		if _, ok := doc["execution_id"]; !ok {
			continue
		}
		said[doc["message"]]++
		for _, key := range []string{"execution_id", "task_id", "root_id", "function", "level", "timestamp"} {
			if text, _ := doc[key].(string); text == "" {
				t.Errorf("a line about an execution has no %s: %v", key, doc)
			}
		}
		if _, ok := doc["attempt"].(float64); !ok {
			t.Errorf("a line about an execution has no attempt: %v", doc)
		}
	}
	if said["attempt failed"] != 2 || said["attempt is recovered: its executor was lost"] != 1 {
		t.Errorf("said of executions: %v", said)
	}
	for name, want := range map[string]float64{
		"Completed": 5, "Failed": 1, "Cancelled": 1, "Retries": 1, "Recoveries": 1, "Latency": 4,
	} {
		if got := sum(docs, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n := sum(docs, "Started"); n != 7 || n != sum(docs, "StartLatency") {
		t.Errorf("%v attempts started, %v latencies", n, sum(docs, "StartLatency"))
	}
	if sum(docs, "WriteUnits") < 30 || sum(docs, "ReadUnits") == 0 {
		t.Errorf("%v write units, %v read units", sum(docs, "WriteUnits"), sum(docs, "ReadUnits"))
	}
	if lines == 0 || lines > invocations {
		t.Errorf("%d lines of metrics for %d invocations", lines, invocations)
	}
}

// checkIdleMetrics fails the test unless each loop has said that nothing is due, and there is nothing else to say but what
// that consumed.
func checkIdleMetrics(t *testing.T, out *output) {
	t.Helper()
	loops := map[any]bool{}
	for _, doc := range out.documents(t) {
		if _, ok := doc["_aws"]; !ok {
			continue
		}
		if _, told := doc["OldestAge"]; told {
			loops[doc[metrics.DimensionLoop]] = true
		}
		for _, m := range metrics.Definitions() {
			v, told := doc[m.Name]
			if told && m.Name != "ReadUnits" && (m.Name != "OldestAge" || v != 0.0) {
				t.Errorf("%s is %v", m.Name, v)
			}
		}
	}
	want := core.Loops()
	for _, loop := range want {
		if !loops[string(loop)] {
			t.Errorf("loop %s gave no sign of life; these did: %v", loop, slices.Collect(maps.Keys(loops)))
		}
	}
}

package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/tracing"
)

func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestNothingIsTracedWhereTheEnvironmentNamesNoCollector(t *testing.T) {
	t.Parallel()
	for name, variables := range map[string]map[string]string{
		"not set": nil, "empty, as the template sets it": {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""},
	} {
		options, err := tracing.Options(t.Context(), environment(variables))
		if err != nil || options.Flush != nil || options.Observer.Finished != nil {
			t.Errorf("%s: options %+v, error %v", name, options, err)
		}
	}
}

// The exporter reads the process's environment, so this test cannot run beside others.
func TestACollectorThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	hangs := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(hangs) }) // before the server waits for its requests
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	options, err := tracing.Options(t.Context(), environment(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}))
	if err != nil {
		t.Fatal(err)
	}
	options.Observer.Finished(t.Context(), &core.Execution{ID: "order-17", RootID: "order-17", TaskID: "place_order", Status: core.StatusCompleted})
	// Without a bound of its own this would go on as long as the context does, which is for ever.
	err = options.Flush(context.WithoutCancel(t.Context()))
	if err == nil || !strings.Contains(err.Error(), "the collector did not take spans") {
		t.Errorf("error %v", err)
	}
}

func TestAHandlersAnswerDoesNotDependOnItsSpans(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	flushed := 0
	flusher := tracing.Flusher{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Flush:  func(context.Context) error { flushed++; return errors.New("no collector") },
	}
	answers := errors.New("a handler's own")
	out, err := tracing.Flushed(func(_ context.Context, in int) (int, error) { return in + 1, answers }, flusher)(t.Context(), 1)
	if out != 2 || !errors.Is(err, answers) || flushed != 1 || !strings.Contains(log.String(), "no collector") {
		t.Errorf("answer %d, error %v, flushed %d times, log %s", out, err, flushed, &log)
	}
	out, err = tracing.Flushed(func(_ context.Context, in int) (int, error) { return in, nil }, tracing.Flusher{})(t.Context(), 1)
	if out != 1 || err != nil {
		t.Errorf("without a flush: answer %d, error %v", out, err)
	}
}

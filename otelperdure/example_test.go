package otelperdure_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/otelperdure"
)

// The spans go to whatever exporter the provider has; otlptracehttp.New(ctx) in the place of stdouttrace sends them to a
// collector.
func ExampleObserver() {
	var out bytes.Buffer // os.Stdout, but for this example
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(&out))
	must(err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(otelperdure.IDs{}), sdktrace.WithBatcher(exporter))

	greet := core.NewTask("greet", func(_ context.Context, name string) (string, error) { return "hello, " + name, nil }, core.TaskOptions{})
	registry, err := core.NewRegistry(greet)
	must(err)
	store := memstore.New(memstore.Options{})
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Observer: otelperdure.Observer(provider)})
	must(err)
	client, err := core.NewClient(store, core.ClientOptions{Observer: otelperdure.Observer(provider)})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	h, err := greet.EnqueueWith(ctx, client, "world", core.EnqueueOptions{ID: "greeting-1"})
	must(err)
	_, err = h.Wait(ctx)
	must(err)
	stop()
	must(<-ended)
	must(provider.Shutdown(context.Background()))

	fmt.Println("trace", otelperdure.TraceID("greeting-1"))
	for dec := json.NewDecoder(&out); ; {
		var span struct {
			Name        string
			SpanContext struct{ TraceID string }
		}
		if err := dec.Decode(&span); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(span.SpanContext.TraceID, span.Name)
	}
	// Output:
	// trace 292642736edeff683b4963d4c07d0ce5
	// 292642736edeff683b4963d4c07d0ce5 greet
	// 292642736edeff683b4963d4c07d0ce5 greet attempt
}

// In Lambda functions the observer and the flush are options.
func ExampleObserver_functions() {
	exporter, err := stdouttrace.New() // or otlptracehttp.New(ctx)
	must(err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(otelperdure.IDs{}), sdktrace.WithBatcher(exporter))
	handler.StartWith(tasks.Registry, handler.Options{Observer: otelperdure.Observer(provider), Flush: provider.ForceFlush})
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

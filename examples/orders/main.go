// Command orders is every Lambda function of the shop in one program; PERDURE_FUNCTION says which one it is.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/front"
	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/examples/orders/tracing"
	"github.com/perdure-dev/perdure/functions/handler"
)

func main() {
	shop, err := orders.NewShop(context.Background(), os.Getenv)
	check(err)
	options, err := tracing.Options(context.Background(), os.Getenv)
	check(err)
	workflow := orders.NewWorkflow(shop)
	switch name := os.Getenv(handler.FunctionVariable); name {
	case "api", "webhook", "intake":
		client, err := handler.NewClient(context.Background(), workflow.Registry, options)
		check(err)
		serve(name, front.New(workflow, client, os.Getenv("WEBHOOK_SECRET")), tracing.Flusher{Flush: options.Flush, Logger: client.Logger})
	default:
		handler.StartWith(func() (*core.Registry, error) { return workflow.Registry() }, options)
	}
}

func serve(name string, f *front.Front, flusher tracing.Flusher) {
	switch name {
	case "api":
		lambda.Start(tracing.Flushed(f.API, flusher))
	case "webhook":
		check(f.CheckSecret())
		lambda.Start(tracing.Flushed(f.Webhook, flusher))
	case "intake":
		lambda.Start(tracing.Flushed(f.Intake, flusher))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

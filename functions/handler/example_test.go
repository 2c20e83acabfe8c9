package handler_test

import (
	"context"
	"fmt"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// The main function of an application that is all functions in one: PERDURE_FUNCTION says which one it is.
func ExampleStart() {
	tasks := func() (*core.Registry, error) { return core.NewRegistry(double) }
	main := func() { handler.Start(tasks) }
	_ = main
}

// What is no environment variable is an option.
func ExampleStartWith() {
	tasks := func() (*core.Registry, error) { return core.NewRegistry(double) }
	main := func() {
		handler.StartWith(tasks, handler.Options{
			Codec:     core.JSON{Strict: true},
			Configure: func(c *core.Config) { c.MaxRecoveries = 3 },
		})
	}
	_ = main
}

// A function that is none of the engine's enqueues with the types of its tasks.
func ExampleNewClient() {
	enqueue := func(ctx context.Context) error {
		client, err := handler.NewClient(ctx, nil, handler.Options{})
		if err != nil {
			return err
		}
		h, err := double.EnqueueWith(ctx, client.Client, 21, core.EnqueueOptions{Key: "double of order 17"})
		if err != nil {
			return err
		}
		fmt.Println(h.ID())
		return nil
	}
	_ = enqueue
}

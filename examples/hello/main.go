// Command hello runs one task durably, in this process.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

var greet = core.NewTask("greet", func(_ context.Context, name string) (string, error) {
	return "hello, " + name, nil
}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})

func main() {
	ctx := context.Background()
	registry, err := core.NewRegistry(greet)
	check(err)
	store := memstore.New(memstore.Options{}) // dynamostore.New(client, table, ...) on AWS
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
	check(err)
	go func() { check(engine.Run(ctx)) }() // five Lambda functions on AWS

	client, err := core.NewClient(store, core.ClientOptions{})
	check(err)
	h, err := greet.Enqueue(ctx, client, "world") // durable from here on
	check(err)
	text, err := h.Wait(ctx)
	check(err)
	fmt.Println(text)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

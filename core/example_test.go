package core_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// Two tasks: one that shouts a word, and a parent that shouts every word of a sentence in parallel.
var (
	shout = core.NewTask("shout", func(_ context.Context, word string) (string, error) {
		return strings.ToUpper(word), nil
	}, core.TaskOptions{Timeout: 10 * time.Second, Retry: core.RetryPolicy{MaxAttempts: 3}})

	shoutAll = core.NewParentTaskWithFinalize("shout_all", split, join, core.TaskOptions{})
)

func split(_ context.Context, sentence string) (int, []core.Child, error) {
	var children []core.Child
	for _, word := range strings.Fields(sentence) {
		children = append(children, shout.Child(word))
	}
	return len(children), children, nil
}

func join(_ context.Context, r core.Results[int]) (string, error) {
	var words []string
	for _, child := range r.Children {
		word, err := shout.Result(child)
		if err != nil {
			return "", err
		}
		words = append(words, word)
	}
	return strings.Join(words, " "), nil
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	registry, err := core.NewRegistry(shout, shoutAll)
	if err != nil {
		log.Fatal(err)
	}
	store := memstore.New(memstore.Options{})
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()

	client, err := core.NewClient(store, core.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	h, err := shoutAll.Enqueue(ctx, client, "nothing is ever lost")
	if err != nil {
		log.Fatal(err)
	}
	out, err := h.Wait(ctx)
	fmt.Println(out, err)
	stop()
	<-ended
	// Output: NOTHING IS EVER LOST <nil>
}

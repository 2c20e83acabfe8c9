package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/tasks"
)

// runEmbedded runs the job on the in-memory store, in this process.
func runEmbedded(ctx context.Context, p *printer, in *input) error {
	if err := os.Setenv(tasks.RootVariable, in.folder); err != nil {
		return err
	}
	registry, err := tasks.Registry()
	if err != nil {
		return err
	}
	store := memstore.New(memstore.Options{})
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Poll: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	client, err := core.NewClient(store, core.ClientOptions{})
	if err != nil {
		return err
	}
	engineCtx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(engineCtx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			p.line("%v", err)
		}
	}()

	begun := time.Now()
	roots := make([]string, len(in.files))
	for i, path := range in.files {
		h, err := tasks.CountFile.Enqueue(ctx, client, tasks.File{Path: path})
		if err != nil {
			return err
		}
		roots[i] = h.ID()
	}
	counts := tasks.Counts{}
	for i, id := range roots {
		out, err := tasks.CountFile.HandleOf(client, id).Wait(ctx)
		if err != nil {
			return err
		}
		counts.Add(out)
		p.progress(fmt.Sprintf("%d of %d files done", i+1, len(roots)))
	}
	took := time.Since(begun)
	all, err := readTree(ctx, store, roots)
	if err != nil {
		return err
	}
	return summarize(p, in, all, counts, took, nil)
}

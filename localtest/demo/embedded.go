package main

import (
	"context"
	"os"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// runEmbedded runs the job on the in-memory store, in this process.
func runEmbedded(ctx context.Context, p *progress.Printer, in *input) error {
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
			p.Line("%v", err)
		}
	}()

	begun := time.Now()
	j := newJob(store, in)
	enqueue := func(ctx context.Context) error {
		for i, f := range in.files {
			h, err := tasks.CountFile.Enqueue(ctx, client, tasks.File{Path: f, ChunkBytes: chunkBytes})
			if err != nil {
				return err
			}
			j.enqueued(i, h.ID())
		}
		return nil
	}
	if err := besides(ctx, enqueue, func(ctx context.Context) error { return j.watch(ctx, p, nil, nil) }); err != nil {
		return err
	}
	took := time.Since(begun)
	return finish(ctx, p, in, store, client, j.roots(), took, nil, &losses{})
}

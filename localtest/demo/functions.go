package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/progress"
	"github.com/perdure-dev/perdure/localtest/stack"
)

const (
	// tick is the schedules' interval; a minute on AWS, short here so that a crash is mended while one watches.
	tick = 2 * time.Second
	// leeway is how far clocks may be apart; they are all one here.
	leeway = time.Second
	// enqueuers is how many requests to the enqueue function are under way at once.
	enqueuers = 4
)

// runFunctions runs the job on the compiled functions and DynamoDB Local.
func runFunctions(ctx context.Context, p *progress.Printer, in *input, verbose bool) (err error) {
	lost := &losses{}
	if verbose {
		lost.next = os.Stderr
	}
	binaries := filepath.Join(".build", "local-"+runtime.GOARCH)
	building := p.Step("building the functions into %s", binaries)
	err = stack.Build(ctx, binaries)
	building()
	if err != nil {
		return err
	}
	starting := p.Step("starting DynamoDB Local and the functions")
	s, err := stack.Start(ctx, stack.Options{
		Binaries: binaries, Tick: tick, Log: lost, Steps: p, ExactMeter: true,
		Env: []string{
			tasks.RootVariable + "=" + in.folder,
			fmt.Sprintf("PERDURE_LEEWAY=%d", leeway/time.Second),
		},
	})
	starting()
	if err != nil {
		return err
	}
	defer func() {
		defer p.Step("stopping the functions and DynamoDB Local")()
		err = errors.Join(err, s.Close())
	}()

	begun := time.Now()
	j := newJob(s.Watch, in)
	enqueue := func(ctx context.Context) error { return enqueueAll(ctx, s, in, j) }
	err = besides(ctx, enqueue, func(ctx context.Context) error {
		units := func() string { return fmt.Sprintf("%.0f WRU", s.Meter.Total().Write) }
		return j.watch(ctx, p, units, func(t tally) error { return j.killOne(ctx, p, s, t) })
	})
	if err != nil {
		return err
	}
	took := time.Since(begun)
	client, err := core.NewClient(s.Store, core.ClientOptions{})
	if err != nil {
		return err
	}
	usage := s.Meter.Usage() // without what reading the result consumes
	return finish(ctx, p, in, s.Watch, client, j.roots(), took, &usage, lost)
}

// besides runs first in a goroutine while second runs. The error of either ends the other.
func besides(ctx context.Context, first, second func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() {
		if err := first(ctx); err != nil {
			cancel(err)
		}
	})
	err := second(ctx)
	cancel(err)
	group.Wait()
	return err
}

// enqueueAll enqueues every file by invoking the enqueue function, as another Lambda would.
func enqueueAll(ctx context.Context, s *stack.Stack, in *input, j *job) error {
	errs := make([]error, len(in.files))
	slots := make(chan struct{}, enqueuers)
	var group sync.WaitGroup
	for i, path := range in.files {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			root, err := enqueueFile(ctx, s, path)
			if err != nil {
				errs[i] = err
				return
			}
			j.enqueued(i, root)
		})
		if ctx.Err() != nil {
			break
		}
	}
	group.Wait()
	return errors.Join(errs...)
}

func enqueueFile(ctx context.Context, s *stack.Stack, path string) (string, error) {
	response, err := s.Request(ctx, map[string]any{
		"action": "enqueue", "task": tasks.CountFile.ID(), "input": tasks.File{Path: path, ChunkBytes: chunkBytes},
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("enqueue %s: %w", path, err)
	case response.Error != nil:
		return "", fmt.Errorf("enqueue %s: %s: %s", path, response.Error.Code, response.Error.Message)
	}
	return response.ExecutionID, nil
}

// killOne kills the process of a function that is at work. It waits for one for a moment; in a job that is nearly idle there
// is none, and nothing is killed.
func (j *job) killOne(ctx context.Context, p *progress.Printer, s *stack.Stack, t tally) error {
	for range 100 {
		for _, e := range s.Lambda.Environments() {
			if e.Function != stack.StartReady || !e.Busy {
				continue
			}
			p.Line("half-way, %d of %d done: killing process %d of function %s with SIGKILL; other processes run its work again when its leases end",
				t.done, t.total(), e.PID, e.Function)
			j.killed = true
			return s.Lambda.Kill(e.PID, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.Line("half-way, %d of %d done: no function is at work, so none is killed", t.done, t.total())
	return nil
}

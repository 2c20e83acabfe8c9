package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/tasks"
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
func runFunctions(ctx context.Context, p *printer, in *input, verbose bool) (err error) {
	var log io.Writer = steps{p}
	if verbose {
		log = os.Stderr
	}
	binaries := filepath.Join(".build", "local-"+runtime.GOARCH)
	p.line("building the functions into %s", binaries)
	if err := stack.Build(ctx, binaries); err != nil {
		return err
	}
	p.line("starting DynamoDB Local and the functions")
	s, err := stack.Start(ctx, stack.Options{
		Binaries: binaries, Tick: tick, Log: log, ExactMeter: true,
		Env: []string{
			tasks.RootVariable + "=" + in.folder,
			fmt.Sprintf("PERDURE_LEEWAY=%d", leeway/time.Second),
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	begun := time.Now()
	roots, err := enqueueAll(ctx, s, in)
	if err != nil {
		return err
	}
	p.line("enqueued %d files through the enqueue function", len(roots))
	if err := watch(ctx, p, s, roots, begun); err != nil {
		return err
	}
	took := time.Since(begun)

	all, err := readTree(ctx, s.Store, roots)
	if err != nil {
		return err
	}
	client, err := core.NewClient(s.Store, core.ClientOptions{})
	if err != nil {
		return err
	}
	usage := s.Meter.Usage() // without what reading the result consumes
	counts, err := collect(ctx, client, roots)
	if err != nil {
		return err
	}
	return errors.Join(allCompleted(all), summarize(p, in, all, counts, took, &usage))
}

// steps prints what the starting stack says, and leaves out what the functions say.
type steps struct{ p *printer }

func (s steps) Write(line []byte) (int, error) {
	if len(line) > 0 && line[0] != '[' {
		s.p.line("%s", string(line[:len(line)-1]))
	}
	return len(line), nil
}

// enqueueAll enqueues every file by invoking the enqueue function, as another Lambda would.
func enqueueAll(ctx context.Context, s *stack.Stack, in *input) ([]string, error) {
	roots := make([]string, len(in.files))
	errs := make([]error, len(in.files))
	slots := make(chan struct{}, enqueuers)
	var group sync.WaitGroup
	for i, path := range in.files {
		slots <- struct{}{}
		group.Go(func() {
			roots[i], errs[i] = enqueueFile(ctx, s, path)
			<-slots
		})
	}
	group.Wait()
	return roots, errors.Join(errs...)
}

func enqueueFile(ctx context.Context, s *stack.Stack, path string) (string, error) {
	response, err := s.Request(ctx, map[string]any{
		"action": "enqueue", "task": tasks.CountFile.ID(), "input": tasks.File{Path: path},
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("enqueue %s: %w", path, err)
	case response.Error != nil:
		return "", fmt.Errorf("enqueue %s: %s: %s", path, response.Error.Code, response.Error.Message)
	}
	return response.ExecutionID, nil
}

// watch shows the progress until every root is finished, and kills a process on the way.
func watch(ctx context.Context, p *printer, s *stack.Stack, roots []string, begun time.Time) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	killed := false
	for {
		state, err := look(ctx, s, roots)
		if err != nil {
			return err
		}
		elapsed := time.Since(begun).Seconds()
		p.progress(fmt.Sprintf("%5.1f s  %d done, %d running, %d waiting  %.0f tasks/s  %.0f WRU",
			elapsed, state.done, state.running, state.ready, float64(state.done)/elapsed, s.Meter.Total().Write))
		if state.finishedRoots == len(roots) {
			return nil
		}
		if !killed && state.running > 0 && state.finishedRoots*3 >= len(roots) {
			if killed, err = killOne(p, s); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// state is how far the job is.
type state struct {
	finishedRoots        int
	done, running, ready int // executions
}

// look reads how far the job is, beside the meter.
func look(ctx context.Context, s *stack.Stack, roots []string) (state, error) {
	var st state
	executions, err := s.Watch.Get(ctx, roots, core.Filter{})
	if err != nil {
		return st, err
	}
	for _, e := range executions {
		if e.Status.Finished() {
			st.finishedRoots++
			st.done++
		}
		if e.Family != nil {
			st.done += e.Family.Size - e.ActiveChildren()
			if e.Family.FinalizeTaskID != "" {
				st.done++
			}
		}
	}
	for queue, n := range map[core.Queue]*int{core.QueueRunning: &st.running, core.QueueReady: &st.ready} {
		if *n, err = s.Watch.Depth(ctx, queue); err != nil {
			return st, err
		}
	}
	return st, nil
}

// killOne kills the process of a function that is at work.
func killOne(p *printer, s *stack.Stack) (bool, error) {
	for _, e := range s.Lambda.Environments() {
		if e.Function == stack.StartReady && e.Busy {
			p.line("killing process %d of function %s with SIGKILL", e.PID, e.Function)
			return true, s.Lambda.Kill(e.PID, syscall.SIGKILL)
		}
	}
	return false, nil
}

// Package dev runs an application on this machine while it is worked on.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/scaffold"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// Options are what Run is told. Dir is required.
type Options struct {
	Dir     string        // of the module
	Package string        // the program that is all functions; empty to find it
	Host    string        // of the endpoint, an address of this machine
	Port    int           // of the endpoint; 0 for a free one
	Table   string        // the table's name
	Tick    time.Duration // the schedules' interval, in whole seconds
	Timeout time.Duration // of the functions
	Env     []string      // further variables of the functions, "KEY=value"
	NoWatch bool
	// Log gets what the functions print and the steps that take time.
	Log io.Writer
	// Ready is called once, when everything runs.
	Ready func(Running)
	// Changed is called after each change of the sources, with what came of building them.
	Changed func(took time.Duration, err error)
	// Broken is called once for each function whose process does not start, and once again after each build with which it
	// does not; Restored once when it does again. What a process that does not start writes goes to Broken, not to Log.
	Broken   func(Broken)
	Restored func(function string)
	// Failed is called for each invocation that fails in a function that had started.
	Failed func(lambdalocal.Failed)
	// Unregistered is called, after the start and after each build, with the tasks that the sources make and no function
	// knows, if there are any.
	Unregistered func([]Unregistered)
}

// Running tells how a running application is reached.
type Running struct {
	Endpoint string // of DynamoDB and of the functions
	Table    string
	Enqueue  string // the name of the enqueue function
	Took     time.Duration
}

// Run builds the functions of a module and runs them with DynamoDB Local until ctx ends; it builds them again when a
// source changes, and the functions of the next invocation are the new ones. When it returns, no process is left.
func Run(ctx context.Context, opts Options) (err error) {
	begun := time.Now()
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return err
	}
	out, err := os.MkdirTemp("", "perdure-run-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(out) }() // it is a temporary folder
	b, err := newBuilder(dir, opts.Package, out)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port)))
	if err != nil {
		return fmt.Errorf("endpoint: %w: --port names another port, 0 takes a free one", err)
	}
	defer listener.Close()
	built, err := state(dir) // what changes from here on is built again
	if err != nil {
		return err
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	template := filepath.Join(out, "template.yaml")
	if err := os.WriteFile(template, scaffold.Template(), 0o600); err != nil {
		return err
	}
	starts := newStarts(opts.Broken, opts.Restored)
	s, err := stack.Start(ctx, stack.Options{
		Binaries: out, Table: opts.Table, Tick: opts.Tick, Timeout: opts.Timeout, Log: opts.Log, List: true,
		Env:     append([]string{"PERDURE_PRINT_FAILURES=yes"}, opts.Env...), // the log is the developer's own
		Started: starts.started, Failed: opts.Failed, Stream: stack.Stream{Template: template},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	handler, err := front(s.Meter.Endpoint(), s.Lambda.InvokeAPI())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends when the server is closed, below
	}()
	defer func() {
		_ = server.Close() // its callers are told by the end of their connections
		<-served
	}()
	opts.Ready(Running{"http://" + reached(listener.Addr()), s.Table, stack.Enqueue, time.Since(begun)})
	tellUnregistered := func() {
		if missing := b.unregistered(ctx, s); len(missing) > 0 {
			opts.Unregistered(missing)
		}
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	telling.Go(tellUnregistered)
	if opts.NoWatch {
		<-ctx.Done()
		return nil
	}
	return watch(ctx, dir, built, func() {
		begun := time.Now()
		err := b.build(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.Lambda.Renew()
			starts.rebuilt()
		}
		opts.Changed(time.Since(begun), err)
		if err == nil {
			tellUnregistered()
		}
	})
}

// reached returns the address by which this machine reaches a listener: one on all addresses by the loopback one.
func reached(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return a.String()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

// memoryLine is a line of bench/memory.jsonl: the peak memory of a process that is an executor and nothing else.
type memoryLine struct {
	N            int     `json:"n"`          // tasks, all due at once
	PayloadKB    float64 `json:"payload_kb"` // of the input, and of the output
	PeakInFlight int     `json:"peak_in_flight"`
	Seconds      float64 `json:"seconds"`
	PeakRSS      float64 `json:"peak_rss_mb"`
	BudgetRSS    float64 `json:"budget_rss_mb"`
}

const (
	memoryTasks  = 1000
	memoryBudget = 128 // MB
	// memoryHold is how long a task is in flight at least.
	memoryHold = 5 * time.Second
	// executorEnv makes this program an executor: it has the endpoint.
	executorEnv   = "PERDURE_BENCH_EXECUTOR"
	executorTable = "memory"
)

// holdTask returns what it is given, five seconds later.
func holdTask(inFlight func(change int64)) *core.Task[string, string] {
	return core.NewTask("hold", func(ctx context.Context, in string) (string, error) {
		inFlight(1)
		defer inFlight(-1)
		select {
		case <-time.After(memoryHold):
			return in, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: 5 * time.Minute})
}

func benchMemory(ctx context.Context, r *report, opts options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "tasks\tpayload KB\tpeak in flight\tseconds\tpeak RSS MB\tbudget\t")
	over := false
	for _, payload := range []int{100, 1_000, 100_000} {
		n := memoryTasks
		if opts.n > 0 {
			n = opts.n
		}
		done := r.say.Step("measuring %d tasks with %d bytes", n, payload)
		line, err := measureMemory(ctx, r.say, n, payload)
		done()
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		over = over || line.PeakRSS > line.BudgetRSS
		fmt.Fprintf(table, "%d\t%.1f\t%d\t%.1f\t%.0f\t%.0f\t\n", line.N, line.PayloadKB, line.PeakInFlight, line.Seconds, line.PeakRSS, line.BudgetRSS)
		if err := r.write(line); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if over {
		return errors.New("an executor takes more memory than its budget")
	}
	return nil
}

func measureMemory(ctx context.Context, say io.Writer, n, payload int) (line memoryLine, err error) {
	line = memoryLine{N: n, PayloadKB: float64(payload) / 1000, BudgetRSS: memoryBudget}
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: say})
	if err != nil {
		return line, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	store, err := openStore(ctx, dynamostore.LocalClient(server.Endpoint()), executorTable, nil)
	if err != nil {
		return line, err
	}
	hold := holdTask(nil)
	registry, err := core.NewRegistry(hold)
	if err != nil {
		return line, err
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: registry})
	if err != nil {
		return line, err
	}
	items := make([]core.BulkItem[string], n)
	for i := range items {
		items[i].Input = document(payload, uint64(i)) //nolint:gosec // it is not negative
	}
	handles := hold.EnqueueMany(ctx, client, items, nil)

	program, err := os.Executable()
	if err != nil {
		return line, err
	}
	child := exec.CommandContext(ctx, program) //nolint:gosec // this program
	child.Env = append(os.Environ(), executorEnv+"="+server.Endpoint())
	child.Stderr = os.Stderr
	end, err := child.StdinPipe()
	if err != nil {
		return line, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return line, err
	}
	began := time.Now()
	if err := child.Start(); err != nil {
		return line, err
	}
	for _, h := range handles {
		if h.Err != nil {
			return line, h.Err
		}
		if _, err := h.Handle.Wait(ctx); err != nil {
			return line, err
		}
	}
	line.Seconds = time.Since(began).Seconds()
	if line.PeakRSS, err = peakRSS([]int{child.Process.Pid}); err != nil {
		return line, err
	}
	if err := end.Close(); err != nil {
		return line, err
	}
	if err := json.NewDecoder(out).Decode(&line.PeakInFlight); err != nil {
		return line, fmt.Errorf("the executor's answer: %w", err)
	}
	return line, child.Wait()
}

// runExecutor runs tasks until the standard input ends, then prints how many were in flight at most.
func runExecutor(endpoint string) error {
	debug.SetMemoryLimit(memoryBudget << 20 * 5 / 6) // as a function of that size has
	var inFlight, peak atomic.Int64
	hold := holdTask(func(change int64) {
		now := inFlight.Add(change)
		for before := peak.Load(); now > before && !peak.CompareAndSwap(before, now); before = peak.Load() {
		}
	})
	store, err := dynamostore.New(dynamostore.LocalClient(endpoint), executorTable, dynamostore.Options{})
	if err != nil {
		return err
	}
	registry, err := core.NewRegistry(hold)
	if err != nil {
		return err
	}
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Concurrency: memoryTasks})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(ctx) // it ends with the context
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	stop()
	<-ended
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(peak.Load()))
}

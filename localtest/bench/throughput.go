package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/bench/workload"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/meter"
	"github.com/perdure-dev/perdure/localtest/progress"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// throughputLine is a line of bench/throughput.jsonl.
type throughputLine struct {
	Workload  string  `json:"workload"`
	Store     string  `json:"store"` // memory or dynamodb
	Via       string  `json:"via"`   // process or functions
	N         int     `json:"n"`     // executions; runs of L
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms,omitempty"` // of L
	P99       float64 `json:"p99_ms,omitempty"`
	// ShareOfBound is PerSecond over what DynamoDB Local would reach if it did nothing but as many conditional updates, of
	// one item each, as the engine made requests, each statement of a batch counted as one.
	ShareOfBound float64 `json:"share_of_bound,omitempty"`
	// Unsteady tells that no two samples of that raw rate were alike, so that the share is uncertain.
	Unsteady bool    `json:"bound_unsteady,omitempty"`
	Requests float64 `json:"requests_per_task,omitempty"`
	Refused  float64 `json:"refused_per_task,omitempty"` // writes whose condition did not hold, through the functions
	Looks    float64 `json:"looks_per_task,omitempty"`   // queries of the queue index for ready executions, the same
	CPU      float64 `json:"client_cpu_us_per_task"`
	RSS      float64 `json:"peak_rss_mb"`
}

// setup is where a workload runs.
type setup struct {
	store, via string
	client     *core.Client
	sent       func() sent                                // so far; nil where there are no requests
	rawRate    func(ctx context.Context) (float64, error) // a sample of it; nil where there is none
	pids       func() []int                               // of the processes that the engine and its caller run in
	close      func() error
	say        *progress.Printer
}

// throughputWorkloads are the workloads and their sizes.
var throughputWorkloads = []struct {
	name string
	n    int
}{{"W", 100}, {"W0", 100}, {"S", 5000}, {"L", 200}, {"C", 500}}

// processConcurrency is how many attempts the engine in this process runs at once.
const processConcurrency = 256

func benchThroughput(ctx context.Context, r *report, opts options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "workload\tstore\tvia\tn\tseconds\tper second\tp50 ms\tp99 ms\tof bound\trequests\trefused\tlooks\tCPU us\tRSS MB\t")
	for _, place := range []struct {
		name string
		open func(context.Context, io.Writer) (*setup, error)
	}{{"memory", memorySetup}, {"process", processSetup}, {"functions", functionsSetup}} {
		if opts.skips(place.name) {
			continue
		}
		lines, err := measurePlace(ctx, r.say, opts, place.name, place.open)
		for _, line := range lines {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%.2f\t%.0f\t%.2f\t%.2f\t%.0f%%\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t\n", line.Workload, line.Store, line.Via,
				line.N, line.Seconds, line.PerSecond, line.P50, line.P99, 100*line.ShareOfBound, line.Requests, line.Refused, line.Looks, line.CPU, line.RSS)
			err = errors.Join(err, r.write(line))
		}
		if err != nil {
			return errors.Join(err, table.Flush())
		}
	}
	return table.Flush()
}

// measurePlace runs all workloads in one place.
func measurePlace(
	ctx context.Context, say *progress.Printer, opts options, name string, open func(context.Context, io.Writer) (*setup, error),
) (lines []throughputLine, err error) {
	done := say.Step("starting what is measured: %s", name)
	s, err := open(ctx, say)
	done()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.say = say
	done = say.Step("warming up: %s", name)
	_, err = s.raw(ctx, warmUps)
	done()
	if err != nil {
		return nil, err
	}
	for _, w := range throughputWorkloads {
		if opts.skips(w.name) {
			continue
		}
		done := say.Step("measuring %s: %s", w.name, name)
		line, err := s.measure(ctx, w.name, cmp.Or(opts.n, w.n))
		done()
		if err != nil {
			return lines, fmt.Errorf("%s on %s via %s: %w", w.name, s.store, s.via, err)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// measure runs one workload, with the store's raw rate measured right before and after it.
func (s *setup) measure(ctx context.Context, name string, n int) (throughputLine, error) {
	line := throughputLine{Workload: name, Store: s.store, Via: s.via}
	if err := workload.Once(ctx, s.client); err != nil { // what the first of all costs is not measured
		return line, err
	}
	rawBefore, err := s.raw(ctx, 1)
	if err != nil {
		return line, err
	}
	if err := resetPeak(); err != nil {
		return line, err
	}
	cpu, err := cpuTime(s.pids())
	if err != nil {
		return line, err
	}
	before := s.sofar()
	began := time.Now()
	if name == "L" {
		line.N, line.P50, line.P99, err = s.latency(ctx, n)
	} else {
		line.N, err = workload.Run(ctx, s.client, name, n)
	}
	if err != nil {
		return line, err
	}
	line.Seconds = time.Since(began).Seconds()
	line.PerSecond = float64(line.N) / line.Seconds
	all := s.sofar()
	line.Requests = float64(all.requests-before.requests) / float64(line.N)
	line.Refused = float64(all.refused-before.refused) / float64(line.N)
	line.Looks = float64(all.looks-before.looks) / float64(line.N)
	after, err := cpuTime(s.pids())
	if err != nil {
		return line, err
	}
	line.CPU = float64((after - cpu).Microseconds()) / float64(line.N)
	if line.RSS, err = peakRSS(s.pids()); err != nil {
		return line, err
	}
	rawAfter, err := s.raw(ctx, 1)
	if err != nil {
		return line, err
	}
	if line.Via == "functions" && line.Refused > refusedBudget {
		return line, fmt.Errorf("%.2f writes a task are refused, at most %.2f may be", line.Refused, refusedBudget)
	}
	line.Unsteady = !rawBefore.steady || !rawAfter.steady
	if raw := (rawBefore.perSecond + rawAfter.perSecond) / 2; raw > 0 {
		line.ShareOfBound = float64(all.operations-before.operations) / line.Seconds / raw
	}
	return line, nil
}

// sent is how much was asked of a store.
type sent struct {
	requests   int
	operations int // the same with each statement of a batch for itself
	// Through the functions, of what starts executions:
	refused int // writes whose condition did not hold
	looks   int // queries of the queue index
}

func (s *setup) sofar() sent {
	if s.sent == nil {
		return sent{}
	}
	return s.sent()
}

// raw returns the store's raw rate from at least so many samples, and says how it came about.
func (s *setup) raw(ctx context.Context, least int) (rawRate, error) {
	if s.rawRate == nil {
		return rawRate{steady: true}, nil
	}
	r, err := steadyRate(ctx, least, s.rawRate)
	if err == nil {
		s.say.Line("%s", r)
	}
	return r, err
}

// latency returns the quantiles of n single runs, in ms.
func (s *setup) latency(ctx context.Context, n int) (runs int, p50, p99 float64, err error) {
	if s.via == "functions" {
		n = min(n, 20) // each waits for a tick
	}
	took := make([]float64, n)
	for i := range took {
		began := time.Now()
		if err := workload.Once(ctx, s.client); err != nil {
			return 0, 0, 0, err
		}
		took[i] = float64(time.Since(began).Microseconds()) / 1000
	}
	slices.Sort(took)
	return n, took[n/2], took[min(n-1, n*99/100)], nil
}

// queueIndex is the index that executions which are due are found in.
const queueIndex = "queue"

// refusedBudget is how many writes a task may be refused through the functions: each is billed for nothing.
const refusedBudget = 0.1

// functionTimeout is the template's own; the tasks' timeouts do not fit the 30 s that a stack has else.
const functionTimeout = 2 * time.Minute

func memorySetup(ctx context.Context, _ io.Writer) (*setup, error) {
	s := &setup{store: "memory"}
	return s, s.run(ctx, memstore.New(memstore.Options{}), nil)
}

func processSetup(ctx context.Context, say io.Writer) (*setup, error) {
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: say})
	if err != nil {
		return nil, err
	}
	dynamo := dynamostore.LocalClient(server.Endpoint())
	var requests, operations atomic.Int64
	store, err := openStore(ctx, dynamo, "bench", func(u dynamostore.Usage) {
		operations.Add(1)
		if !u.Part {
			requests.Add(1)
		}
	})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	s := &setup{store: "dynamodb", sent: func() sent { return sent{requests: int(requests.Load()), operations: int(operations.Load())} }}
	s.rawRate = func(ctx context.Context) (float64, error) { return rawUpdates(ctx, dynamo, "bench") }
	return s, s.run(ctx, store, server.Close)
}

func openStore(ctx context.Context, dynamo *dynamodb.Client, table string, usage func(dynamostore.Usage)) (*dynamostore.Store, error) {
	if err := dynamostore.CreateTable(ctx, dynamo, table, dynamostore.TableOptions{}); err != nil {
		return nil, err
	}
	return dynamostore.New(dynamo, table, dynamostore.Options{Usage: usage})
}

// run runs an engine in this process until the setup is closed; then it calls closeStore.
func (s *setup) run(ctx context.Context, store core.Store, closeStore func() error) error {
	registry, err := workload.Registry()
	if err != nil {
		return err
	}
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Concurrency: processConcurrency})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })
	s.via, s.pids = "process", func() []int { return []int{os.Getpid()} }
	s.close = func() error {
		stop()
		running.Wait()
		if closeStore == nil {
			return nil
		}
		return closeStore()
	}
	s.client, err = engine.NewClient(core.ClientOptions{})
	return err
}

func functionsSetup(ctx context.Context, say io.Writer) (*setup, error) {
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	closers := []func() error{func() error { return os.RemoveAll(folder) }}
	s := &setup{store: "dynamodb", via: "functions", close: func() error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}}
	if err := stack.BuildOne(ctx, folder, "github.com/perdure-dev/perdure/localtest/bench/function"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	app, err := stack.Start(ctx, stack.Options{Binaries: folder, Timeout: functionTimeout, Steps: say})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	closers = append(closers, app.Close)
	// A function that refuses to start is told here, and not by a workload that never ends.
	for _, name := range []string{stack.StartReady, stack.ProcessChildren} {
		if result, err := app.Lambda.Invoke(ctx, name, nil); err != nil || result.FunctionError != "" {
			return nil, errors.Join(fmt.Errorf("function %s: %s", name, result.Payload), err, s.close())
		}
	}
	if s.client, err = core.NewClient(app.Store, core.ClientOptions{}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.sent = func() sent {
		usage := app.Meter.Usage()
		n := usage.Total.Requests
		return sent{
			requests: n, operations: n - usage.ByOperation["BatchExecuteStatement"].Requests + usage.Untold, refused: usage.Refused,
			looks: usage.Calls[meter.Call{App: stack.StartReady, Operation: "Query", Index: queueIndex}],
		}
	}
	metered := dynamostore.LocalClient(app.Meter.Endpoint())
	s.rawRate = func(ctx context.Context) (float64, error) { return rawUpdates(ctx, metered, app.Table) }
	s.pids = func() []int {
		pids := []int{os.Getpid()}
		for _, e := range app.Lambda.Environments() {
			pids = append(pids, e.PID)
		}
		return pids
	}
	return s, nil
}

// ticks is how many of /proc's units of CPU time a second has, on every Linux that Go runs on.
const ticks = 100

// cpuTime returns what the processes have used so far.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		_, after, _ := bytes.Cut(stat, []byte(") "))
		fields := strings.Fields(string(after))
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
		}
		for _, field := range fields[11:13] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
			sum += time.Duration(n) * time.Second / ticks
		}
	}
	return sum, nil
}

// resetPeak makes this process's peak of memory what it has at present.
func resetPeak() error {
	debug.FreeOSMemory()
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peakRSS returns the largest peak of memory among the processes, in MB.
func peakRSS(pids []int) (float64, error) {
	peak := 0
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(status)) {
			if kb, found := strings.CutPrefix(line, "VmHWM:"); found {
				n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
				if err != nil {
					return 0, fmt.Errorf("/proc/%d/status: %w", pid, err)
				}
				peak = max(peak, n)
			}
		}
	}
	return float64(peak) / 1024, nil
}

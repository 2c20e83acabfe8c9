package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/bench/workload"
	"github.com/perdure-dev/perdure/localtest/eventsource"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// latencyLine is a line of bench/latency.jsonl.
type latencyLine struct {
	Measure string  `json:"measure"`
	Stream  bool    `json:"stream"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	P99     float64 `json:"p99_ms"`
	N       int     `json:"n"`
}

// idleLine is the line of an idle hour.
type idleLine struct {
	Measure string `json:"measure"`
	bill
	DollarsMonth float64 `json:"dollars_month"`
}

const (
	// scheduled is how often the functions tick, as on AWS.
	scheduled = time.Minute
	// unstreamedSamples is how many samples of each are under way at once without the stream: their callers' reads are not
	// to be what is measured.
	unstreamedSamples = 20
	// streamPoll is how often the stream is read: often enough not to be what is measured. Lambda reads it less often,
	// which a measure of its own shows.
	streamPoll = 10 * time.Millisecond
	// throttlePause is what a caller of a throttled function waits, as the SDKs do.
	throttlePause = 50 * time.Millisecond
	// idleMinutes is how many idle minutes are measured.
	idleMinutes = 20
)

// measure takes one sample of one or more measures.
type measure struct {
	n    int // samples
	take func(ctx context.Context, c *core.Client) (map[string]time.Duration, error)
}

func one(name string, n int, take func(context.Context, *core.Client) (time.Duration, error)) measure {
	return measure{n, func(ctx context.Context, c *core.Client) (map[string]time.Duration, error) {
		d, err := take(ctx, c)
		return map[string]time.Duration{name: d}, err
	}}
}

// measures returns what is measured one after the other, and side by side where the schedule alone starts it.
func measures(n int) []measure {
	return []measure{
		{cmp.Or(n, 300), func(ctx context.Context, c *core.Client) (map[string]time.Duration, error) {
			start, result, err := workload.Single(ctx, c)
			return map[string]time.Duration{"enqueue to start": start, "enqueue to result": result}, err
		}},
		one("parent with 10 children", cmp.Or(n, 100), workload.Family),
		one("chain of 10", cmp.Or(n, 100), workload.Chain),
	}
}

// waiting returns what is measured side by side, for each sample waits for a time to come or for a tick.
func waiting(app *stack.Stack, n int) []measure {
	wake := func(ctx context.Context, task, key string) error { // as another Lambda does it
		for {
			answer, err := app.Request(ctx, handler.Request{Action: "wakeup", Task: task, Key: key, Output: json.RawMessage("1")})
			switch {
			case errors.Is(err, lambdalocal.ErrThrottled) && ctx.Err() == nil:
				time.Sleep(throttlePause)
				continue
			case err == nil && answer.Error != nil:
				err = errors.New(answer.Error.Message)
			}
			return err
		}
	}
	all := []measure{one("wake-up to parent finished", cmp.Or(n, 100), func(ctx context.Context, c *core.Client) (time.Duration, error) {
		return workload.WakeUp(ctx, c, wake)
	})}
	for _, delay := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		all = append(all, one("lateness of a timer of "+delay.String(), cmp.Or(n, 100), func(ctx context.Context, c *core.Client) (time.Duration, error) {
			return workload.Timer(ctx, c, delay)
		}))
	}
	return all
}

func benchLatency(ctx context.Context, r *report, opts options) error {
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	building := r.say.Step("building the functions")
	err = stack.BuildOne(ctx, folder, "github.com/perdure-dev/perdure/localtest/bench/function")
	building()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "measure\twoken by\tn\tp50 ms\tp95 ms\tp99 ms\t")
	for _, place := range []struct {
		name    string
		measure func(ctx context.Context, folder string, n int) ([]latencyLine, error)
	}{{"stream", streamed}, {"schedule", unstreamed}} {
		if opts.skips(place.name) {
			continue
		}
		done := r.say.Step("measuring with the %s", place.name)
		lines, err := place.measure(ctx, folder, opts.n)
		done()
		for _, line := range lines {
			fmt.Fprintf(table, "%s\t%s\t%d\t%.0f\t%.0f\t%.0f\t\n", line.Measure, place.name, line.N, line.P50, line.P95, line.P99)
			err = errors.Join(err, r.write(line))
		}
		if err != nil {
			return errors.Join(err, table.Flush())
		}
	}
	if err := table.Flush(); err != nil || opts.skips("idle") {
		return err
	}
	return idle(ctx, folder, r)
}

// streamed measures with the stream: single samples one after the other, so that each begins on an idle system, and
// what waits side by side.
func streamed(ctx context.Context, folder string, n int) (lines []latencyLine, err error) {
	err = onStack(ctx, stack.Options{Binaries: folder, Tick: scheduled, Stream: stack.Stream{Poll: streamPoll}}, func(ctx context.Context, app *stack.Stack, c *core.Client) error {
		for range 3 { // what the first of all cost is not measured
			if _, _, err := workload.Single(ctx, c); err != nil {
				return err
			}
		}
		var s samples
		for _, m := range measures(n) {
			for range m.n {
				if err := s.take(ctx, c, m); err != nil {
					return err
				}
			}
		}
		err := s.spread(ctx, c, scheduled, waiting(app, n))
		lines = s.lines(true)
		return err
	})
	if err != nil {
		return lines, err
	}
	err = onStack(ctx, stack.Options{Binaries: folder, Tick: scheduled, Stream: stack.Stream{Poll: eventsource.LambdaPoll}}, func(ctx context.Context, _ *stack.Stack, c *core.Client) error {
		var s samples
		for range cmp.Or(n, 100) {
			if err := s.take(ctx, c, one("enqueue to result, stream read as often as Lambda does", 0, func(ctx context.Context, c *core.Client) (time.Duration, error) {
				_, result, err := workload.Single(ctx, c)
				return result, err
			})); err != nil {
				return err
			}
		}
		lines = append(lines, s.lines(true)...)
		return nil
	})
	return lines, err
}

// unstreamed measures with the schedule alone: samples begin at all times between two ticks.
func unstreamed(ctx context.Context, folder string, n int) (lines []latencyLine, err error) {
	err = onStack(ctx, stack.Options{Binaries: folder, Tick: scheduled, Stream: stack.Stream{Off: true}}, func(ctx context.Context, app *stack.Stack, c *core.Client) error {
		var s samples
		err := s.spread(ctx, c, scheduled, append(measures(cmp.Or(n, unstreamedSamples)), waiting(app, cmp.Or(n, unstreamedSamples))...))
		lines = s.lines(false)
		return err
	})
	return lines, err
}

// longest is how long the measures on one stack may take: an application that does not start is not waited for.
const longest = 4 * time.Minute

func onStack(ctx context.Context, opts stack.Options, measure func(context.Context, *stack.Stack, *core.Client) error) (err error) {
	ctx, stop := context.WithTimeout(ctx, longest)
	defer stop()
	opts.Timeout = functionTimeout
	app, err := stack.Start(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	client, err := core.NewClient(app.Watch, core.ClientOptions{})
	if err != nil {
		return err
	}
	return measure(ctx, app, client)
}

// samples are what was measured, in the order of the measures' first samples.
type samples struct {
	mu    sync.Mutex
	names []string
	took  map[string][]float64 // ms
}

func (s *samples) take(ctx context.Context, c *core.Client, m measure) error {
	sample, err := m.take(ctx, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took == nil {
		s.took = map[string][]float64{}
	}
	for name, d := range sample {
		if s.took[name] == nil {
			s.names = append(s.names, name)
		}
		s.took[name] = append(s.took[name], float64(d.Microseconds())/1000)
	}
	return nil
}

// spread takes the samples of all measures side by side, begun evenly over a time.
func (s *samples) spread(ctx context.Context, c *core.Client, over time.Duration, all []measure) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	errs := make(chan error, 1)
	for _, m := range all {
		for i := range m.n {
			group.Go(func() {
				timer := time.NewTimer(over * time.Duration(i) / time.Duration(m.n))
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-ctx.Done():
					return
				}
				if err := s.take(ctx, c, m); err != nil {
					select {
					case errs <- err:
						stop()
					default:
					}
				}
			})
		}
	}
	group.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
}

func (s *samples) lines(stream bool) []latencyLine {
	slices.Sort(s.names)
	var lines []latencyLine
	for _, name := range s.names {
		took := s.took[name]
		slices.Sort(took)
		quantile := func(percent int) float64 { return took[min(len(took)-1, len(took)*percent/100)] }
		lines = append(lines, latencyLine{name, stream, quantile(50), quantile(95), quantile(99), len(took)})
	}
	return lines
}

// idle measures what an hour costs in which nothing is to be done.
func idle(ctx context.Context, folder string, r *report) (err error) {
	defer r.say.Step("measuring idle minutes")()
	app, err := stack.Start(ctx, stack.Options{Binaries: folder, Timeout: functionTimeout, NoSchedules: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	line := idleLine{Measure: "idle hour"}
	for _, name := range stack.Functions() {
		if name == stack.Enqueue {
			continue
		}
		took := make([]time.Duration, idleMinutes)
		var read, write float64
		for i := -1; i < idleMinutes; i++ { // the first is a cold start, which an hour has none of
			before := app.Meter.Total()
			result, err := app.Lambda.Invoke(ctx, name, []byte("{}"))
			if err != nil || result.FunctionError != "" {
				return errors.Join(err, fmt.Errorf("%s: %s", name, result.Payload))
			}
			if i >= 0 {
				after := app.Meter.Total()
				took[i] = result.Duration
				read += (after.Read - before.Read) / idleMinutes
				write += (after.Write - before.Write) / idleMinutes
			}
		}
		slices.Sort(took)
		line.add(60, took[idleMinutes/2], stack.MemoryMB(name), read, write)
	}
	line.DollarsMonth = line.Dollars * hoursOfMonth
	fmt.Printf("an idle hour: %d invocations, %.1f GB-seconds, %.0f read units, %.0f write units, $%.6f; a month $%.2f\n",
		line.Invocations, line.GBSeconds, line.Read, line.Write, line.Dollars, line.DollarsMonth)
	return r.write(line)
}

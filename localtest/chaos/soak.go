package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/chaos/work"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// soakOptions say how long a soak lasts and how much it does.
type soakOptions struct {
	during   time.Duration
	every    time.Duration // between roots of each kind
	width    int           // children of a fan
	out      io.Writer
	progress func(line string)
}

// What counts as flat. How much is in use while there is work depends on how busy the machine is with other things, so the
// least that was in use is compared: in the first part of the run, without its beginning in which processes warm up, and at
// the end, at rest. That may be over the first by a quarter and an allowance. A leak of a kilobyte or a goroutine for
// each execution is far more after some minutes.
const (
	growth           = 1.25
	allowMemory      = 8 << 20 // bytes
	allowGoroutines  = 5
	warmUp           = 0.1 // of the time; the first part goes from here
	firstPart        = 0.4 // to here
	inventoryEvery   = 20 * time.Second
	settledWithin    = 2 * time.Minute
	restFor          = 110 * time.Second // an idle connection, two goroutines, is closed after 90 s (net/http's transport of the SDK)
	leastMeasurement = 5                 // samples in each part
)

// series is something that is sampled.
type series struct {
	name  string
	at    []float64 // share of the run that was over: 0 to 1, more at rest
	value []float64
}

// flat returns the least in the first part and at rest from the share on, and what is wrong with them.
func (s *series) flat(rest, allow float64) (first, last float64, problem string) {
	var early, late []float64
	for i, at := range s.at {
		switch {
		case at >= warmUp && at < firstPart:
			early = append(early, s.value[i])
		case at >= rest:
			late = append(late, s.value[i])
		}
	}
	if len(early) < leastMeasurement || len(late) < leastMeasurement {
		return 0, 0, fmt.Sprintf("%s: %d and %d samples are too few: let it last longer", s.name, len(early), len(late))
	}
	first, last = slices.Min(early), slices.Min(late)
	if most := first*growth + allow; last > most {
		problem = fmt.Sprintf("%s: from %.0f to %.0f, at most %.0f were flat", s.name, first, last, most)
	}
	return first, last, problem
}

// soak runs the workload at a steady rate without harm, and checks that nothing grows that must not.
func soak(ctx context.Context, o soakOptions) (err error) {
	folder, err := os.MkdirTemp("", "perdure-soak")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := stack.BuildOne(ctx, folder, "github.com/perdure-dev/perdure/localtest/chaos/function"); err != nil {
		return err
	}
	ledgerPath, samples := filepath.Join(folder, "ledger"), filepath.Join(folder, "samples")
	if err := os.Mkdir(samples, 0o750); err != nil {
		return err
	}
	s, err := stack.Start(ctx, stack.Options{
		Binaries: folder, Timeout: 15 * time.Second,
		Env: []string{"PERDURE_LEEWAY=1", "PERDURE_LOG_LEVEL=WARN", work.LedgerVariable + "=" + ledgerPath, work.SamplesVariable + "=" + samples},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l := &load{stack: s, roots: map[string]work.Root{}}
	begun := time.Now()
	l.wait.Go(func() { l.enqueueFor(ctx, o.during, o.every, o.width) })
	peak, err := o.watch(ctx, s, l, begun)
	l.wait.Wait()
	if err != nil {
		return err
	}
	if err := l.settle(ctx, settledWithin, func(finished, of, entries int) {
		o.progress(fmt.Sprintf("%d of %d roots finished, %d entries", finished, of, entries))
	}); err != nil {
		return err
	}
	rest := float64(time.Since(begun)+restFor-10*time.Second) / float64(o.during) // its last 10 s
	for resting := time.Now(); time.Since(resting) < restFor; {
		// The schedules go on; the enqueue function, too, is to say what it uses.
		if _, err := s.Request(ctx, handler.Request{Action: "get", ExecutionID: l.ids()[0]}); err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	o.progress("")
	processes, err := readSamples(samples, begun, o.during)
	if err != nil {
		return err
	}
	v := &verdict{out: o.out}
	for _, one := range processes {
		allow := float64(allowGoroutines)
		if strings.HasSuffix(one.name, "memory") {
			allow = allowMemory
		}
		first, last, problem := one.flat(rest, allow)
		var problems []string
		if problem != "" {
			problems = []string{problem}
		}
		v.check(fmt.Sprintf("flat: %s, %.0f and at rest at the end %.0f", one.name, first, last), problems)
	}
	leftovers, err := left(ctx, s)
	if err != nil {
		return err
	}
	v.check(fmt.Sprintf("nothing but closed executions and the settings is left (at most %d were not closed at once)", peak), leftovers)
	return errors.Join(v.err(), judge(ctx, o.out, s, l.roots, ledgerPath))
}

// watch tells how far the run is until the time is over. It returns how many executions were not closed at most, at the
// times when it looked.
func (o soakOptions) watch(ctx context.Context, s *stack.Stack, l *load, begun time.Time) (peak int, _ error) {
	for time.Since(begun) < o.during {
		// A table that is written meanwhile is not read at one moment: these are counts, not proofs.
		open, inv, err := openOf(ctx, s)
		if err != nil {
			return 0, err
		}
		peak = max(peak, open)
		o.progress(fmt.Sprintf("%d roots enqueued; %d executions, %d not closed; other items: %v",
			len(l.ids()), len(inv.Executions), open, inv.Items))
		if err := sleep(ctx, min(inventoryEvery, o.during/20+time.Second)); err != nil {
			return 0, err
		}
	}
	return peak, nil
}

// openOf reads the table and counts the executions that are not closed.
func openOf(ctx context.Context, s *stack.Stack) (int, dynamostore.Inventory, error) {
	store, err := dynamostore.NewForTest(s.DynamoDB, s.Table, dynamostore.Options{})
	if err != nil {
		return 0, dynamostore.Inventory{}, err
	}
	inv, err := store.Inventory(ctx)
	open := 0
	for _, e := range inv.Executions {
		if e.CloseStatus != core.CloseClosed {
			open++
		}
	}
	return open, inv, err
}

// left returns which items are left over at rest: those of each kind that this workload needs none of. Payload parts belong to
// executions that are kept, one at most for each parent of many.
func left(ctx context.Context, s *stack.Stack) ([]string, error) {
	open, inv, err := openOf(ctx, s)
	if err != nil {
		return nil, err
	}
	var problems []string
	if open > 0 {
		problems = append(problems, fmt.Sprintf("%d executions are not closed", open))
	}
	for kind, n := range inv.Items {
		if kind != "execution" && (kind != "part" || n > len(inv.Executions)/2) && (kind != "settings" || n > 2) {
			problems = append(problems, fmt.Sprintf("%d items of kind %s", n, kind))
		}
	}
	return problems, nil
}

// readSamples reads what the processes wrote of themselves: for each function the memory and goroutines of the process that
// had most at the time, second by second.
func readSamples(folder string, begun time.Time, during time.Duration) ([]series, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	type point struct{ memory, goroutines float64 }
	most := map[string]map[int64]point{} // by function and second
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), "-")
		if most[name] == nil {
			most[name] = map[int64]point{}
		}
		file, err := os.Open(filepath.Join(folder, f.Name())) //nolint:gosec // the run's own folder
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var at, heap, total, goroutines int64
			if _, err := fmt.Sscan(lines.Text(), &at, &heap, &total, &goroutines); err != nil {
				continue // the process ended in the middle of it
			}
			second := (at - begun.UnixMilli()) / 1000
			p := most[name][second]
			most[name][second] = point{math.Max(p.memory, float64(total)), math.Max(p.goroutines, float64(goroutines))}
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			return nil, err
		}
	}
	var out []series
	for name, points := range most {
		memory, goroutines := series{name: name + ": bytes of memory"}, series{name: name + ": goroutines"}
		for second, p := range points {
			share := float64(second) / during.Seconds()
			memory.at, memory.value = append(memory.at, share), append(memory.value, p.memory)
			goroutines.at, goroutines.value = append(goroutines.at, share), append(goroutines.value, p.goroutines)
		}
		out = append(out, memory, goroutines)
	}
	slices.SortFunc(out, func(a, b series) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

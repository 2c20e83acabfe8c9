package simtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", 30, "how many seeds are simulated, from -seed on")
	seed  = flag.Uint64("seed", 1, "the first seed that is simulated")
	ops   = flag.Bool("ops", false, "log every operation of a simulation")
)

func TestSimulation(t *testing.T) {
	t.Parallel()
	var done, operations, faults, crashes, executions atomic.Int64
	began := time.Now()
	workers := 2
	next := make(chan uint64, *seeds+1)
	for i := range *seeds {
		next <- *seed + uint64(i)
	}
	if *seeds > 1 {
		next <- uint64(time.Now().UnixNano()) // a fresh one
	}
	close(next)
	t.Cleanup(func() {
		t.Logf("%d seeds in %s: %d executions, %d operations, %d faults, %d crashes", done.Load(), time.Since(began).Round(time.Second),
			executions.Load(), operations.Load(), faults.Load(), crashes.Load())
	})
	for range workers {
		t.Run("worker", func(t *testing.T) {
			t.Parallel()
			for seed := range next {
				r := simulate(t, seed)
				operations.Add(int64(r.Operations))
				faults.Add(int64(r.Faults))
				crashes.Add(int64(r.Crashes))
				executions.Add(int64(r.Executions))
				if n := done.Add(1); n%50 == 0 {
					fmt.Fprintf(os.Stderr, "%d seeds, %d operations, %s\n", n, operations.Load(), time.Since(began).Round(time.Second))
				}
			}
		})
	}
}

func simulate(t *testing.T, seed uint64) (r SimReport) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Fatalf("seed %d failed; again: go test ./core/simtest -run 'TestSimulation$' -seeds 1 -seed %d -ops -v", seed, seed)
		}
	}()
	opts := SimOptions{}
	if *ops {
		opts.Log = t.Output()
	}
	return Simulate(t, seed, opts)
}

func TestASeedReproducesItsRun(t *testing.T) {
	t.Parallel()
	for i := range uint64(10) {
		seed := *seed - 1 + i
		var first, second operations
		one := Simulate(t, seed, SimOptions{Log: &first})
		if two := Simulate(t, seed, SimOptions{Log: &second}); one != two {
			t.Errorf("seed %d: %+v, then %+v\n%s", seed, one, two, parting(first.lines, second.lines))
		}
	}
}

// operations keeps the lines of a log that are operations, and leaves the processes' own.
type operations struct {
	mu    sync.Mutex
	lines []string
}

func (o *operations) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, []byte("time=")) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.lines = append(o.lines, strings.TrimSuffix(string(p), "\n"))
	}
	return len(p), nil
}

// parting returns where two logs part, with the lines before.
func parting(a, b []string) string {
	n := 0
	for n < min(len(a), len(b))-1 && a[n] == b[n] {
		n++
	}
	return fmt.Sprintf("same:  %s\nfirst: %s\nthen:  %s", strings.Join(a[max(0, n-5):n], "\n       "),
		strings.Join(a[n:min(n+3, len(a))], "\n       "), strings.Join(b[n:min(n+3, len(b))], "\n       "))
}

// Command bench measures what perdure costs and how fast it is, on DynamoDB Local and in memory. It prints a table
// and writes the same figures as JSON lines below bench/.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/perdure-dev/perdure/localtest/progress"
)

// options say what is measured.
type options struct {
	n    int      // units of each work; 0 for its own number
	only []string // works, and places where they run; none for all
}

// skips reports whether a work or place is not among those that are measured.
func (o options) skips(name string) bool {
	for _, group := range groups {
		if slices.Contains(group, name) {
			chosen := slices.ContainsFunc(o.only, func(only string) bool { return slices.Contains(group, only) })
			return chosen && !slices.Contains(o.only, name)
		}
	}
	return len(o.only) > 0 && !slices.Contains(o.only, name)
}

// groups are the names of which those that are not chosen are skipped when another of them is.
var groups = [][]string{
	{"memory", "process", "functions"},
	{"W", "W0", "S", "L", "C"},
	{"backlog", "trickle", "families"},
	{"1", "4", "16"}, // executors
	{"stream", "schedule", "idle"},
}

// bench measures and reports.
type bench func(ctx context.Context, r *report, opts options) error

var benches = map[string]bench{"cost": benchCost, "contention": benchContention, "throughput": benchThroughput, "memory": benchMemory, "scale": benchScale, "latency": benchLatency}

func main() {
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: bench [-n N] [-out folder] %s [name ...]\n", strings.Join(slices.Sorted(maps.Keys(benches)), "|"))
		fmt.Fprintln(os.Stderr, "The names are those of the works to measure, of throughput's places (memory, process, functions)")
		fmt.Fprintln(os.Stderr, "of latency's parts (stream, schedule, idle) and of contention's numbers of executors (1, 4, 16); default all.")
		flag.PrintDefaults()
	}
	if endpoint := os.Getenv(executorEnv); endpoint != "" {
		if err := runExecutor(endpoint); err != nil {
			fmt.Fprintln(os.Stderr, "bench: executor:", err)
			os.Exit(1)
		}
		return
	}
	n := flag.Int("n", 0, "how many units of each work are measured (default its own number)")
	out := flag.String("out", "bench", "folder for the JSON lines")
	flag.Parse()
	chosen := benches[flag.Arg(0)]
	if chosen == nil || *n < 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(chosen, filepath.Join(*out, flag.Arg(0)+".jsonl"), options{*n, flag.Args()[1:]}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(b bench, path string, opts options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := newReport(path, progress.New(os.Stderr))
	if err != nil {
		return err
	}
	defer r.say.Step("measuring")()
	return errors.Join(b(ctx, r, opts), r.close())
}

// report writes figures as JSON lines, and tells what is being measured.
type report struct {
	file *os.File
	enc  *json.Encoder
	say  *progress.Printer
}

func newReport(path string, say *progress.Printer) (*report, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	file, err := os.Create(path) //nolint:gosec // the path is the caller's choice
	if err != nil {
		return nil, err
	}
	return &report{file, json.NewEncoder(file), say}, nil
}

func (r *report) write(v any) error { return r.enc.Encode(v) }

func (r *report) close() error { return r.file.Close() }

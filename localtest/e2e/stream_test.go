package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/e2e/gated"
	"github.com/perdure-dev/perdure/localtest/eventsource"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// startGated starts a stack with the gated tasks, which wait for files in the returned folder. Its schedules tick once,
// at the start, unless the options say otherwise: what happens later is the stream's doing.
func startGated(t *testing.T, opts stack.Options) (*stack.Stack, *core.Client, string) {
	t.Helper()
	programs, folder := t.TempDir(), t.TempDir()
	if err := stack.BuildOne(t.Context(), programs, "./gated/function"); err != nil {
		t.Fatal(err)
	}
	if opts.Tick == 0 {
		opts.Tick = time.Hour
	}
	opts.Binaries, opts.Timeout, opts.Log = programs, 2*time.Minute, t.Output()
	opts.Env = append(opts.Env, gated.FolderVariable+"="+folder)
	s, err := stack.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, clientOf(t, s), folder
}

func clientOf(t *testing.T, s *stack.Stack) *core.Client {
	t.Helper()
	client, err := core.NewClient(s.Watch, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// enqueueMany enqueues a task once for each input.
func enqueueMany[In, Out any](t *testing.T, c *core.Client, task *core.Task[In, Out], inputs []In) []*core.Handle[Out] {
	t.Helper()
	items := make([]core.BulkItem[In], len(inputs))
	for i, in := range inputs {
		items[i].Input = in
	}
	handles := make([]*core.Handle[Out], len(inputs))
	for i, result := range task.EnqueueMany(t.Context(), c, items, nil) {
		if handles[i] = result.Handle; result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	return handles
}

// waitLimit is what an execution has to end before its test fails.
const waitLimit = 5 * time.Minute

// once fails the test unless an execution completes with its first attempt, which nobody had to recover.
func once[Out any](t *testing.T, h *core.Handle[Out]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if _, err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if e, err := h.Get(t.Context()); err != nil || e.Attempts != 1 || e.Recoveries != 0 {
		t.Errorf("execution %s: attempt %d, %d recoveries, error %v", h.ID(), e.Attempts, e.Recoveries, err)
	}
}

// The first task of a batch once held up all that came behind it, for as long as it took. Here it takes until all of
// them have ended, in the only invocation that there is.
func TestALongTaskDoesNotHoldUpWhatComesBehindIt(t *testing.T) {
	t.Parallel()
	s, client, folder := startGated(t, stack.Options{Stream: stack.Stream{Parallelization: 1}})
	long, err := gated.Gate.Enqueue(t.Context(), client, "open")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range enqueueMany(t, client, gated.Short, make([]int, 100)) {
		once(t, h)
	}
	if e, err := long.Get(t.Context()); err != nil || e.Status != core.StatusRunning {
		t.Errorf("the long task is %+v, error %v", e, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	once(t, long)
	emptyQueues(t, s)
}

// Each of the tasks waits until six of them are at work. An invocation takes two of them.
func TestABacklogIsHandedOverToAsManyInvocationsAsThereAre(t *testing.T) {
	t.Parallel()
	s, client, _ := startGated(t, stack.Options{Env: []string{"PERDURE_CONCURRENCY=2"}, Tick: time.Second})
	inputs := make([]int, 24)
	for i := range inputs {
		inputs[i] = 6
	}
	for _, h := range enqueueMany(t, client, gated.Meet, inputs) {
		once(t, h)
	}
	emptyQueues(t, s)
}

func TestAStreamInDisorderLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s, client, _ := startGated(t, stack.Options{Tick: time.Second, Stream: stack.Stream{Disorder: eventsource.Disorder{
		Seed: 17, Drop: 0.2, Double: 0.3, Reorder: 0.3, Delay: 3 * time.Second,
	}}})
	for _, h := range enqueueMany(t, client, gated.Short, make([]int, 60)) {
		once(t, h)
	}
	emptyQueues(t, s)
	if stats := s.Stream.Stats(); stats.Dropped == 0 || stats.Doubled == 0 || stats.Discarded > 0 {
		t.Errorf("%+v", stats)
	}
}

func TestTheStreamAloneStartsWhatIsEnqueued(t *testing.T) {
	t.Parallel()
	s, folder := start(t, stack.Options{Tick: time.Hour})
	if err := os.WriteFile(filepath.Join(folder, "a.txt"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := clientOf(t, s)
	file, err := tasks.CountFile.Enqueue(t.Context(), client, tasks.File{Path: "a.txt"})
	if err != nil {
		t.Fatal(err)
	}
	later, err := tasks.CountWords.EnqueueWith(t.Context(), client, "later", core.EnqueueOptions{Delay: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	once(t, file)
	once(t, later)
	emptyQueues(t, s)
}

// A start by the stream takes the 7 writes of any other. Invocations that looked at the queue saw others' executions before
// their hints came and claimed them: a start took 7.1 write and 4.4 read units, and 8.2 and 1.2 where 200 came at once.
func TestWhatAStartByTheStreamConsumes(t *testing.T) {
	t.Parallel()
	s, watch, _ := startGated(t, stack.Options{})
	client, err := core.NewClient(s.Store, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run := func(n int) {
		t.Helper()
		for _, h := range enqueueMany(t, client, gated.Short, make([]int, n)) {
			once(t, gated.Short.HandleOf(watch, h.ID()))
		}
	}
	run(4) // what the first of all consume is not measured
	before := s.Meter.Total()
	for range 10 {
		run(1)
	}
	after := s.Meter.Total()
	write, read := (after.Write-before.Write)/10, (after.Read-before.Read)/10
	t.Logf("one at a time: %v write units, %v read units each", write, read)
	if write > 7.2 || read > 1.5 {
		t.Errorf("one at a time consumes %v write and %v read units each, want 7 and at most a look at the queue for every three", write, read)
	}
	run(200)
	burst := s.Meter.Total()
	write, read = (burst.Write-after.Write)/200, (burst.Read-after.Read)/200
	t.Logf("200 at once: %v write units, %v read units each", write, read)
	if write > 7.5 || read > 1.2 { // hints that come late, as on a busy machine, take looks at the queue
		t.Errorf("200 at once consume %v write and %v read units each, want at most 7 and fewer looks than tasks", write, read)
	}
}

package main

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// screen keeps what is printed, and the longest time in which nothing was.
type screen struct {
	mu      sync.Mutex
	last    time.Time
	silence time.Duration
	text    strings.Builder
}

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silence, s.last = max(s.silence, time.Since(s.last)), time.Now()
	return s.text.Write(text)
}

// slow is a store that takes its time to answer.
type slow struct {
	core.Store
	by time.Duration
}

func (s slow) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	time.Sleep(s.by)
	return s.Store.Get(ctx, ids, filter)
}

func (s slow) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	time.Sleep(s.by)
	return s.Store.Children(ctx, parentIDs)
}

// slowly is a job whose children take a while, and one of which fails.
func slowly() []core.Definition {
	part := core.NewTask("part", func(ctx context.Context, n int) (int, error) {
		select {
		case <-time.After(7 * time.Second):
		case <-ctx.Done():
		}
		if n < 0 {
			return 0, fmt.Errorf("%d is negative", n)
		}
		return n, nil
	}, core.TaskOptions{})
	sum := core.NewTask("sum", func(_ context.Context, r core.Results[int]) (int, error) {
		for _, child := range r.Children {
			if _, err := part.Result(child); err != nil {
				return 0, err
			}
		}
		return r.Output, nil
	}, core.TaskOptions{})
	whole := core.NewParentTaskWithFinalizeTask("whole", func(_ context.Context, numbers []int) (int, []core.Child, error) {
		children := make([]core.Child, len(numbers))
		for i, n := range numbers {
			children[i] = part.Child(n)
		}
		return len(numbers), children, nil
	}, sum, core.TaskOptions{})
	return []core.Definition{whole, part, sum}
}

var counted = regexp.MustCompile(`(\d+) executions: ((?:\d+ [a-z ]+(?:, )?)+)`)

func TestTheDemoIsNeverSilentAndItsCountsAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry, err := core.NewRegistry(slowly()...)
		if err != nil {
			t.Fatal(err)
		}
		store := memstore.New(memstore.Options{})
		engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Concurrency: 4})
		if err != nil {
			t.Fatal(err)
		}
		client, err := engine.NewClient(core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = engine.Run(ctx) })
		in := &input{executions: map[string]int{}}
		for i := range 20 {
			path := strconv.Itoa(i)
			in.files, in.executions[path] = append(in.files, path), 1+3+1
		}
		j := newJob(slow{store, 3 * time.Second}, in)
		out := &screen{last: time.Now()}
		p := progress.New(out)
		enqueue := func(ctx context.Context) error {
			for i := range in.files {
				numbers := "[1, 2, 3]"
				if i == 7 {
					numbers = "[1, -2, 3, 4]" // one more than was expected
				}
				id, err := client.EnqueueRaw(ctx, "whole", []byte(numbers), core.EnqueueOptions{})
				if err != nil {
					return err
				}
				j.enqueued(i, id)
				time.Sleep(2 * time.Second)
			}
			return nil
		}
		var half []float64
		halfway := func(t tally) error {
			half = append(half, float64(t.done+t.failed)/float64(t.total()))
			return nil
		}
		if err := besides(ctx, enqueue, func(ctx context.Context) error { return j.watch(ctx, p, nil, halfway) }); err != nil {
			t.Fatal(err)
		}
		stop()
		running.Wait()
		if silence := max(out.silence, time.Since(out.last)); silence > progress.Silence {
			t.Errorf("nothing is printed for %s", silence)
		}
		if len(half) != 1 || math.Abs(half[0]-0.5) > 0.1 {
			t.Errorf("half-way is at %v", half)
		}
		lines := counted.FindAllStringSubmatch(out.text.String(), -1)
		for _, line := range lines {
			sum := 0
			for part := range strings.SplitSeq(line[2], ", ") {
				n, err := strconv.Atoi(strings.Fields(part)[0])
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
			if strconv.Itoa(sum) != line[1] {
				t.Errorf("%q adds up to %d", line[0], sum)
			}
		}
		if end := "101 executions: 0 to come, 0 ready, 0 running, 0 waiting for children, 98 done, 3 failed"; len(lines) < 20 || !strings.Contains(out.text.String(), end) {
			t.Errorf("printed\n%swithout %q", &out.text, end)
		}
	})
}

func TestAStandstillSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	now := time.Now()
	due := func(q core.Queue, in time.Duration) *core.Execution {
		return &core.Execution{Queue: q, DueAt: now.Add(in)}
	}
	for _, c := range []struct {
		says   string
		killed bool
		open   []*core.Execution
	}{
		{"the lease of the process that was killed to end, in 3.0 s", true,
			[]*core.Execution{due(core.QueueParent, 9*time.Second), {}, due(core.QueueRunning, 3*time.Second)}},
		{"a lease to end, in 3.0 s", false, []*core.Execution{due(core.QueueRunning, 3*time.Second)}},
		{"the look for children that were lost with the process that was killed, in 9.0 s", true,
			[]*core.Execution{due(core.QueueParent, 9*time.Second)}},
		{"the time of a retry, in 0.5 s", false, []*core.Execution{due(core.QueueReady, time.Second/2)}},
		{"a function to take up what is due (queue ready); they are invoked every 2s", false, []*core.Execution{due(core.QueueReady, -time.Second)}},
		{"the children that are under way", false, []*core.Execution{{}}},
	} {
		if says := waitsFor(c.open, now, c.killed); says != c.says {
			t.Errorf("it says %q, want %q", says, c.says)
		}
	}
}

func TestAnErrorOfTheEnqueueEndsTheWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := newJob(memstore.New(memstore.Options{}), &input{files: []string{"a"}, executions: map[string]int{"a": 3}})
		refused := fmt.Errorf("refused")
		err := besides(t.Context(), func(context.Context) error { return refused }, func(ctx context.Context) error {
			return j.watch(ctx, progress.New(&screen{}), nil, nil)
		})
		if err != refused { //nolint:errorlint // it is handed on as it is
			t.Errorf("error %v", err)
		}
	})
}

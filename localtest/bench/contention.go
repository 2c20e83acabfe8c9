package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

// contentionLine is a line of bench/contention.jsonl: what several executors on one table waste on each other.
type contentionLine struct {
	Work      string  `json:"work"` // backlog: all is due at the start; trickle: little becomes due at a time
	Executors int     `json:"executors"`
	N         int     `json:"n"`
	WRU       float64 `json:"wru"`       // per task
	WastedWRU float64 `json:"wasted"`    // share of all write units that refused writes consumed
	BudgetWRU float64 `json:"budget"`    // of that share
	Again     int     `json:"again"`     // attempts that were not an execution's first
	Least     int     `json:"least"`     // tasks that the least busy executor ran
	Most      int     `json:"most"`      // tasks that the busiest one ran
	OldestMs  float64 `json:"oldest_ms"` // the longest that a task waited after it was due (trickle)
}

// wasteBudget is the share of write units that refused writes may consume.
const wasteBudget = 0.05

func benchContention(ctx context.Context, r *report, opts options) error {
	n := cmp.Or(opts.n, 2000)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "work\texecutors\tn\tWRU\twasted\tbudget\tleast\tmost\toldest\t\t")
	over := false
	for _, work := range []string{"backlog", "trickle"} {
		for _, executors := range []int{1, 4, 16} {
			if opts.skips(work) || opts.skips(strconv.Itoa(executors)) {
				continue
			}
			done := r.say.Step("measuring %s with %d executors", work, executors)
			line, err := measureContention(ctx, r.say, work, executors, n)
			done()
			if err != nil {
				return fmt.Errorf("%s with %d executors: %w", work, executors, err)
			}
			verdict := ""
			if line.WastedWRU > line.BudgetWRU {
				verdict, over = "over budget", true
			}
			fmt.Fprintf(table, "%s\t%d\t%d\t%.2f\t%.1f%%\t%.0f%%\t%d\t%d\t%.0f ms\t%s\t\n", work, executors, n, line.WRU,
				100*line.WastedWRU, 100*line.BudgetWRU, line.Least, line.Most, line.OldestMs, verdict)
			if err := r.write(line); err != nil {
				return err
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if over {
		return fmt.Errorf("the executors waste more than their budget")
	}
	return nil
}

// measureContention measures on a DynamoDB Local of its own: what another one has left slows it down.
func measureContention(ctx context.Context, say io.Writer, work string, executors, n int) (contentionLine, error) {
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: say})
	if err != nil {
		return contentionLine{}, err
	}
	c := contention{dynamo: dynamostore.LocalClient(server.Endpoint()), table: "contention", n: n, executors: executors}
	line, err := c.measure(ctx, work)
	return line, errors.Join(err, server.Close())
}

// contention is one measurement.
type contention struct {
	dynamo    *dynamodb.Client
	table     string
	n         int
	executors int

	mu            sync.Mutex
	write, wasted float64
	ran           []int
	seen          map[string]bool
	again         int // attempts that were not an execution's first
	oldest        time.Duration
	left          sync.WaitGroup
}

func (c *contention) count(u dynamostore.Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write += u.Write
	if u.ConditionFailed {
		c.wasted += u.Write
	}
}

// executor returns an engine with a store of its own, as another process would have.
func (c *contention) executor(i int) (*core.Engine, error) {
	noop := core.NewTask("noop", func(ctx context.Context, due time.Time) (int, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ran[i]++
		c.oldest = max(c.oldest, time.Since(due))
		if id := core.InfoOf(ctx).ExecutionID; c.seen[id] {
			c.again++
		} else {
			c.seen[id] = true
			c.left.Done()
		}
		return i, nil
	}, core.TaskOptions{})
	registry, err := core.NewRegistry(noop)
	if err != nil {
		return nil, err
	}
	store, err := dynamostore.New(c.dynamo, c.table, dynamostore.Options{Usage: c.count})
	if err != nil {
		return nil, err
	}
	return core.NewEngine(core.Config{Store: store, Registry: registry, Concurrency: 25})
}

func (c *contention) measure(ctx context.Context, work string) (contentionLine, error) {
	if err := dynamostore.CreateTable(ctx, c.dynamo, c.table, dynamostore.TableOptions{}); err != nil {
		return contentionLine{}, err
	}
	c.ran, c.seen = make([]int, c.executors), map[string]bool{}
	store, err := dynamostore.New(c.dynamo, c.table, dynamostore.Options{Usage: c.count})
	if err != nil {
		return contentionLine{}, err
	}
	client, err := core.NewClient(store, core.ClientOptions{})
	if err != nil {
		return contentionLine{}, err
	}
	noop := core.NewTask("noop", func(context.Context, time.Time) (int, error) { return 0, nil }, core.TaskOptions{})
	c.left.Add(c.n)
	enqueue := func(m int) error {
		items := make([]core.BulkItem[time.Time], m)
		for i := range items {
			items[i].Input = time.Now()
		}
		for _, result := range noop.EnqueueMany(ctx, client, items, nil) {
			if result.Err != nil {
				return result.Err
			}
		}
		return nil
	}
	if work == "backlog" {
		if err := enqueue(c.n); err != nil {
			return contentionLine{}, err
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var executors sync.WaitGroup
	for i := range c.executors {
		engine, err := c.executor(i)
		if err != nil {
			return contentionLine{}, err
		}
		executors.Go(func() { _ = engine.Run(running) })
	}
	if work == "trickle" {
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for sent := 0; sent < c.n; sent += 10 {
			if err := enqueue(min(10, c.n-sent)); err != nil {
				return contentionLine{}, err
			}
			<-ticker.C
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.left.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	stop()
	executors.Wait()
	if ctx.Err() != nil {
		return contentionLine{}, fmt.Errorf("%d of %d ran: %w", len(c.seen), c.n, context.Cause(ctx))
	}
	line := contentionLine{
		Work: work, Executors: c.executors, N: c.n, WRU: c.write / float64(c.n), WastedWRU: c.wasted / c.write,
		BudgetWRU: wasteBudget, Again: c.again, Least: slices.Min(c.ran), Most: slices.Max(c.ran),
	}
	if work == "trickle" {
		line.OldestMs = float64(c.oldest.Milliseconds())
	}
	return line, nil
}

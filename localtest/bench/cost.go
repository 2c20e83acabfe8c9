package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

// costLine is a work's line of bench/cost.jsonl: what one unit of it consumes over its whole life.
type costLine struct {
	Work      string  `json:"work"`
	N         int     `json:"n"`
	WRU       float64 `json:"wru"`
	RRU       float64 `json:"rru"`
	Requests  float64 `json:"requests"`
	BudgetWRU float64 `json:"budget_wru"`
	BudgetRRU float64 `json:"budget_rru,omitempty"` // none when it is 0
}

func (l costLine) over() bool {
	const rounding = 1e-9
	return l.WRU > l.BudgetWRU+rounding || l.BudgetRRU > 0 && l.RRU > l.BudgetRRU+rounding
}

// costUnits is how many units of a work are measured.
const costUnits = 1000

// consumed is what requests consumed.
type consumed struct {
	requests    int
	write, read float64
}

func (c *consumed) add(u dynamostore.Usage) {
	if !u.Part {
		c.requests++
	}
	c.write += u.Write
	c.read += u.Read
}

func (c consumed) minus(d consumed) consumed {
	return consumed{c.requests - d.requests, c.write - d.write, c.read - d.read}
}

// app is an application on a table of its own, run in this process as the functions run it: one invocation of a
// loop after the other.
type app struct {
	ctx      context.Context
	registry *core.Registry
	store    *dynamostore.Store
	client   *core.Client

	mu    sync.Mutex
	total consumed
	byID  map[string]consumed
}

func newApp(ctx context.Context, dynamo *dynamodb.Client, table string, tasks ...core.Definition) (*app, error) {
	a := &app{ctx: ctx, byID: map[string]consumed{}}
	var err error
	if a.registry, err = core.NewRegistry(tasks...); err != nil {
		return nil, err
	}
	if err := dynamostore.CreateTable(ctx, dynamo, table, dynamostore.TableOptions{}); err != nil {
		return nil, err
	}
	if a.store, err = dynamostore.New(dynamo, table, dynamostore.Options{Usage: a.count}); err != nil {
		return nil, err
	}
	a.client, err = core.NewClient(a.store, core.ClientOptions{Registry: a.registry})
	return a, err
}

func (a *app) count(u dynamostore.Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total.add(u)
	c := a.byID[u.ID]
	c.add(u)
	a.byID[u.ID] = c
}

func (a *app) sofar() consumed {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// invoke runs one invocation of a loop to its end.
func (a *app) invoke(loop core.Loop) error {
	engine, err := core.NewEngine(core.Config{Store: a.store, Registry: a.registry})
	if err != nil {
		return err
	}
	x := engine.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(5 * time.Minute), SweepOnly: loop != core.LoopStartReady})
	_, err = x.Repeat(a.ctx, loop, time.Now().Add(2*time.Second))
	x.Flush()
	return err
}

// work invokes loops until nothing is left in any queue.
func (a *app) work() error {
	for {
		if err := a.invoke(core.LoopStartReady); err != nil {
			return err
		}
		left, err := a.left()
		if err != nil || left == 0 {
			return err
		}
		for _, loop := range core.Loops() {
			if err := a.invoke(loop); err != nil {
				return err
			}
		}
	}
}

// left returns how many entries the queues hold. What that reads is not counted.
func (a *app) left() (int, error) {
	before := a.sofar()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.total = before
	}()
	n := 0
	for _, q := range core.Queues() {
		depth, err := a.store.Depth(a.ctx, q)
		if err != nil {
			return 0, err
		}
		n += depth
	}
	return n, nil
}

// text returns a string whose JSON has half bytes.
func text() string { return strings.Repeat("x", half-2) }

// document returns JSON-like text of n bytes as applications have it: words, numbers and ids.
func document(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // the same document each time
	words := []string{"order", "customer", "address", "street", "status", "pending", "quantity", "price", "currency", "EUR"}
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{%s:%s,id:%016x,n:%d}`, words[r.IntN(len(words))], words[r.IntN(len(words))], r.Uint64(), r.IntN(1000))
	}
	return b.String()[:n]
}

// benchWork measures one work: it returns what n units consumed.
type benchWork struct {
	name               string
	budget, readBudget float64
	measure            func(dynamo *dynamodb.Client, table string, n int) (consumed, int, error)
}

// onServer measures a work on a DynamoDB Local of its own: with each write it looks up the table's stream, which takes a
// minute and more by the time that it holds what several works wrote.
func (w benchWork) onServer(ctx context.Context, say io.Writer, table string, n int) (consumed, int, error) {
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: say})
	if err != nil {
		return consumed{}, 0, err
	}
	defer server.Close()
	return w.measure(dynamostore.LocalClient(server.Endpoint()), table, n)
}

func benchCost(ctx context.Context, r *report, opts options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "work\tn\tWRU\tbudget\tRRU\tbudget\trequests\t\t")
	var over []error
	for i, w := range costWorks(ctx) {
		if opts.skips(w.name) {
			continue
		}
		done := r.say.Step("measuring %s", w.name)
		c, units, err := w.onServer(ctx, r.say, fmt.Sprintf("bench-%d", i), max(50, cmp.Or(opts.n, costUnits)))
		done()
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		line := costLine{
			Work: w.name, N: units, BudgetWRU: w.budget, BudgetRRU: w.readBudget,
			WRU: c.write / float64(units), RRU: c.read / float64(units), Requests: float64(c.requests) / float64(units),
		}
		verdict, reads := "", "-"
		if line.BudgetRRU > 0 {
			reads = fmt.Sprintf("%.2f", line.BudgetRRU)
		}
		if line.over() {
			verdict = "over budget"
			over = append(over, fmt.Errorf("%s is over budget: %.2f WRU of %.2f, %.2f RRU", w.name, line.WRU, line.BudgetWRU, line.RRU))
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\t%s\t%.2f\t%s\t\n", line.Work, line.N, line.WRU, line.BudgetWRU, line.RRU, reads, line.Requests, verdict)
		if err := r.write(line); err != nil {
			return err
		}
	}
	return errors.Join(append(over, table.Flush())...)
}

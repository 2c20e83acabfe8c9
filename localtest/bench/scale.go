package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/bench/workload"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// scaleLine is a line of bench/scale.jsonl: what an execution consumes at a size.
type scaleLine struct {
	Measure  string  `json:"measure"` // backlog or families
	Size     int     `json:"size"`    // ready executions before; parents of 50 children
	N        int     `json:"n"`       // executions measured
	WRU      float64 `json:"wru"`
	RRU      float64 `json:"rru"`
	Requests float64 `json:"requests"`
	Seconds  float64 `json:"seconds"`
}

const (
	scaleSample   = 2000 // executions that are run of a backlog
	scaleFamilies = 1000
)

// backlogs are how many ready executions there are before.
var backlogs = []int{3_000, 30_000, 1_000_000}

func benchScale(ctx context.Context, r *report, opts options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "measure\tsize\texecutions\tWRU\tRRU\trequests\tseconds\t")
	var all []func() (scaleLine, error)
	if !opts.skips("backlog") {
		for _, size := range backlogs {
			all = append(all, func() (scaleLine, error) { return measureBacklog(ctx, r.say, size) })
		}
	}
	if !opts.skips("families") {
		n := scaleFamilies
		if opts.n > 0 {
			n = opts.n
		}
		all = append(all, func() (scaleLine, error) { return measureFamilies(ctx, r.say, n) })
	}
	for _, measure := range all {
		line, err := measure()
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.2f\t%.3f\t%.2f\t%.1f\t\n", line.Measure, line.Size, line.N, line.WRU, line.RRU, line.Requests, line.Seconds)
		if err := r.write(line); err != nil {
			return err
		}
	}
	return table.Flush()
}

// scaled is a server with a table of its own, whose requests are counted.
type scaled struct {
	server *dynamolocal.Server
	dynamo *dynamodb.Client
	store  *dynamostore.Store
	tasks  *core.Registry

	mu  sync.Mutex
	sum consumed
}

func newScaled(ctx context.Context, say *progress.Printer) (*scaled, error) {
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: say})
	if err != nil {
		return nil, err
	}
	s := &scaled{server: server, dynamo: dynamostore.LocalClient(server.Endpoint())}
	s.store, err = openStore(ctx, s.dynamo, executorTable, func(u dynamostore.Usage) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sum.add(u)
	})
	if err == nil {
		s.tasks, err = workload.Registry()
	}
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return s, nil
}

func (s *scaled) sofar() consumed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

// line returns what n executions consumed since before.
func (s *scaled) line(measure string, size, n int, before consumed, began time.Time) scaleLine {
	c := s.sofar().minus(before)
	each := float64(n)
	return scaleLine{
		Measure: measure, Size: size, N: n, WRU: c.write / each, RRU: c.read / each, Requests: float64(c.requests) / each,
		Seconds: time.Since(began).Seconds(),
	}
}

// measureBacklog returns what claiming, running and closing an execution consumes when many are ready.
func measureBacklog(ctx context.Context, say *progress.Printer, size int) (line scaleLine, err error) {
	s, err := newScaled(ctx, say)
	if err != nil {
		return line, err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	filling := say.Step("putting %d ready executions", size)
	err = s.fill(ctx, say, size)
	filling()
	if err != nil {
		return line, err
	}
	defer say.Step("running %d of them", scaleSample)()
	engine, err := core.NewEngine(core.Config{Store: s.store, Registry: s.tasks})
	if err != nil {
		return line, err
	}
	x := engine.NewExecutor(core.ExecutorOptions{})
	if _, err := x.StartReady(ctx, 1); err != nil { // reads and writes the settings, once
		return line, err
	}
	before, began := s.sofar(), time.Now()
	n := 0
	for n < scaleSample {
		result, err := x.StartReady(ctx, min(100, scaleSample-n))
		if err != nil {
			return line, err
		}
		n += result.Done
		if result.Done == 0 {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return line, context.Cause(ctx)
			}
		}
	}
	x.Flush()
	return s.line("backlog", size, n, before, began), nil
}

// fill puts ready executions: copies, under ids of their own, of a few that were enqueued.
func (s *scaled) fill(ctx context.Context, say *progress.Printer, size int) error {
	client, err := core.NewClient(s.store, core.ClientOptions{Registry: s.tasks})
	if err != nil {
		return err
	}
	var items []map[string]types.AttributeValue
	for i := range 64 {
		id, err := workload.Enqueue(ctx, client, i)
		if err != nil {
			return err
		}
		out, err := s.dynamo.Query(ctx, &dynamodb.QueryInput{
			TableName: aws.String(executorTable), KeyConditionExpression: aws.String("pk = :id"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":id": &types.AttributeValueMemberS{Value: id}},
		})
		if err != nil {
			return err
		}
		items = append(items, out.Items...)
	}
	const callers, batch = 8, 25
	var done atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, callers)
	for caller := range callers {
		group.Go(func() {
			for i := caller; i*batch < size-len(items); i += callers {
				if errs[caller] = s.putCopies(ctx, items, i*batch, min(batch, size-len(items)-i*batch)); errs[caller] != nil {
					return
				}
				if n := done.Add(batch); n%10_000 == 0 {
					say.Show("%d of %d ready executions put", n, size)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *scaled) putCopies(ctx context.Context, items []map[string]types.AttributeValue, first, n int) error {
	puts := make([]types.WriteRequest, n)
	for i := range puts {
		it := map[string]types.AttributeValue{}
		for name, v := range items[(first+i)%len(items)] {
			it[name] = v
		}
		it["pk"] = &types.AttributeValueMemberS{Value: core.NewID()}
		puts[i] = types.WriteRequest{PutRequest: &types.PutRequest{Item: it}}
	}
	out, err := s.dynamo.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{executorTable: puts}})
	if err == nil && len(out.UnprocessedItems) > 0 {
		err = fmt.Errorf("%d items were not put", len(out.UnprocessedItems[executorTable]))
	}
	return err
}

// measureFamilies returns what an execution consumes when parents of 50 children are enqueued at once.
func measureFamilies(ctx context.Context, say *progress.Printer, n int) (line scaleLine, err error) {
	s, err := newScaled(ctx, say)
	if err != nil {
		return line, err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	engine, err := core.NewEngine(core.Config{Store: s.store, Registry: s.tasks, Concurrency: processConcurrency})
	if err != nil {
		return line, err
	}
	client, err := engine.NewClient(core.ClientOptions{})
	if err != nil {
		return line, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(running)
	}()
	defer func() {
		stop()
		<-ended
	}()
	defer say.Step("running %d parents of 50 children", n)()
	before, began := s.sofar(), time.Now()
	executions, err := workload.Run(ctx, client, "families", n)
	return s.line("families", n, executions, before, began), err
}

// Package scale runs what is large, and what is throttled, on DynamoDB Local.
package scale

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

// wide is how many children the large family has.
const wide = 10_000

// app is an engine in this process on a table of its own.
type app struct {
	*testing.T
	store  *dynamostore.Store
	client *core.Client

	mu     sync.Mutex
	writes map[string]int // by partition key
}

// start runs tasks until the test ends. change may change the DynamoDB client's options.
func start(t *testing.T, change func(*dynamodb.Options), tasks ...core.Definition) *app {
	t.Helper()
	server, err := dynamolocal.Start(t.Context(), dynamolocal.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	dynamo := dynamostore.LocalClient(server.Endpoint())
	if err := dynamostore.CreateTable(t.Context(), dynamo, "scale", dynamostore.TableOptions{}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		dynamo = dynamodb.New(dynamo.Options(), change)
	}
	a := &app{T: t, writes: map[string]int{}}
	if a.store, err = dynamostore.New(dynamo, "scale", dynamostore.Options{Usage: a.count}); err != nil {
		t.Fatal(err)
	}
	registry, err := core.NewRegistry(tasks...)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: a.store, Registry: registry, Concurrency: 256, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if a.client, err = engine.NewClient(core.ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return a
}

func (a *app) count(u dynamostore.Usage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u.Write > 0 {
		a.writes[u.ID]++
	}
}

// await returns when done reports true. It fails the test soon before the time of all tests is over.
func (a *app) await(what string, done func() bool) {
	a.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var over <-chan time.Time
	if deadline, has := a.Deadline(); has {
		over = time.After(time.Until(deadline) - 10*time.Second)
	}
	for !done() {
		select {
		case <-ticker.C:
		case <-over:
			a.Fatalf("at the end of the tests' time: %s", what)
		}
	}
}

// empty reports whether no queue has an entry.
func (a *app) empty() bool {
	for _, q := range core.Queues() {
		n, err := a.store.Depth(a.Context(), q)
		if err != nil {
			a.Fatal(err)
		}
		if n > 0 {
			return false
		}
	}
	return true
}

// family returns a parent of as many children as its input says, and the task of the children.
func family(child func(ctx context.Context, n int) (int, error)) (parent *core.Task[int, core.Results[int]], task *core.Task[int, int]) {
	task = core.NewTask("child", child, core.TaskOptions{Timeout: 10 * time.Minute})
	parent = core.NewParentTask("parent", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = task.Child(i)
		}
		return n, children, nil
	}, core.TaskOptions{})
	return parent, task
}

func TestAFamilyOfTenThousandIsCountedWithFewWrites(t *testing.T) {
	parent, task := family(func(_ context.Context, n int) (int, error) { return n, nil })
	a := start(t, nil, parent, task)
	h, err := parent.Enqueue(t.Context(), a.client, wide)
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, child := range out.Children {
		if n, err := task.Result(child); n != i || err != nil {
			t.Fatalf("child %d came to %d, %v", i, n, err)
		}
	}
	a.await("a queue is not empty", a.empty)
	a.mu.Lock()
	writes := a.writes[h.ID()]
	a.mu.Unlock()
	t.Logf("%d children, %d writes of their parent, its parts and its buckets", len(out.Children), writes)
	if len(out.Children) != wide || writes > wide/50 {
		t.Errorf("%d children, %d writes for their parent", len(out.Children), writes)
	}
}

func TestCancellingAFamilyOfTenThousandHalfWayLeavesNothing(t *testing.T) {
	var ran, running atomic.Int32
	parent, task := family(func(ctx context.Context, n int) (int, error) {
		running.Add(1)
		defer running.Add(-1)
		ran.Add(1)
		if ran.Load() > wide/2 { // the other half never ends by itself
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		return n, nil
	})
	a := start(t, nil, parent, task)
	h, err := parent.Enqueue(t.Context(), a.client, wide)
	if err != nil {
		t.Fatal(err)
	}
	a.await("less than half of the children ran", func() bool { return ran.Load() > wide/2 })
	if err := h.Cancel(t.Context(), "half is enough"); err != nil {
		t.Fatal(err)
	}
	a.await("code still runs, or a queue is not empty", func() bool { return running.Load() == 0 && a.empty() })
	tree, err := a.client.Tree(t.Context(), h.ID())
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[core.Status]int{}
	for _, child := range tree.Children {
		statuses[child.Execution.Status]++
	}
	t.Logf("the children are %v", statuses)
	if statuses[core.StatusCompleted]+statuses[core.StatusCancelled] != wide || statuses[core.StatusCompleted] > wide/2 {
		t.Errorf("the children are %v, want each completed, at most half, or cancelled", statuses)
	}
}

// throttling refuses one of four requests in the ways in which DynamoDB does.
type throttling struct {
	next     dynamodb.HTTPClient
	requests atomic.Int32
	refused  atomic.Int32
}

var refusals = []struct {
	status int
	code   string
}{
	{http.StatusBadRequest, "ProvisionedThroughputExceededException"},
	{http.StatusBadRequest, "ThrottlingException"},
	{http.StatusBadRequest, "RequestLimitExceeded"},
	{http.StatusBadRequest, "TransactionConflictException"},
	{http.StatusInternalServerError, "InternalServerError"},
	{http.StatusServiceUnavailable, "ServiceUnavailable"},
}

func (c *throttling) Do(r *http.Request) (*http.Response, error) {
	n := c.requests.Add(1)
	if n%4 > 0 {
		return c.next.Do(r)
	}
	refusal := refusals[int(c.refused.Add(1))%len(refusals)]
	body := fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"slow down"}`, refusal.code)
	return &http.Response{
		StatusCode: refusal.status, Request: r, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(bytes.NewBufferString(body)), ContentLength: int64(len(body)),
	}, nil
}

func TestAThrottledTableSlowsTheEngineAndBreaksNothing(t *testing.T) {
	parent, task := family(func(_ context.Context, n int) (int, error) { return n, nil })
	throttled := &throttling{}
	a := start(t, func(o *dynamodb.Options) {
		throttled.next = o.HTTPClient
		o.HTTPClient = throttled
	}, parent, task)
	items := make([]core.BulkItem[int], 8)
	for i := range items {
		items[i].Input = 10
	}
	for i, r := range parent.EnqueueMany(t.Context(), a.client, items, nil) {
		if r.Err != nil {
			t.Fatalf("root %d: %v", i, r.Err)
		}
		out, err := r.Handle.Wait(t.Context())
		if err != nil || len(out.Children) != 10 {
			t.Fatalf("root %d: %d children, error %v", i, len(out.Children), err)
		}
	}
	a.await("a queue is not empty", a.empty)
	t.Logf("%d of %d requests were refused", throttled.refused.Load(), throttled.requests.Load())
	if throttled.refused.Load() < 30 {
		t.Errorf("%d requests were refused", throttled.refused.Load())
	}
}

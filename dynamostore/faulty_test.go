package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/simtest"
)

// unreliable is a way to DynamoDB on which one request is lost, or loses its answer.
type unreliable struct {
	counts func(r *http.Request) bool // which requests are counted; nil for all
	at     int                        // of the request that fails, from 1; 0 for none
	sent   bool                       // it is sent, and its answer is lost

	mu sync.Mutex
	n  int
}

// Do implements dynamodb.HTTPClient.
func (u *unreliable) Do(r *http.Request) (*http.Response, error) {
	u.mu.Lock()
	if u.counts == nil || u.counts(r) {
		u.n++
	}
	fails := u.n == u.at && (u.counts == nil || u.counts(r))
	u.mu.Unlock()
	lost := fmt.Errorf("request %d, %s: the connection was cut", u.at, r.Header.Get("X-Amz-Target"))
	if fails && !u.sent {
		return nil, lost
	}
	answer, err := transport.RoundTrip(r)
	if fails && err == nil {
		answer.Body.Close()
		return nil, lost
	}
	return answer, err
}

func (u *unreliable) requests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n
}

// Whatever request to DynamoDB fails, before it was sent or after, the client's own repetition of it does no harm.
func TestEveryRequestMayBeRepeated(t *testing.T) {
	t.Parallel()
	scenarios := simtest.Scenarios()
	s := scenarios[slices.IndexFunc(scenarios, func(s simtest.Scenario) bool { return s.Name == "sleeping child woken early" })]
	whole := playOver(t, s, &unreliable{})
	for name, sent := range map[string]bool{"before it is sent": false, "before it is answered": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cuts := 0
			for at := 1; at <= whole && !t.Failed(); at++ {
				playOver(t, s, &unreliable{at: at, sent: sent})
				cuts++
			}
			t.Logf("%d cut points", cuts)
		})
	}
}

// playOver plays a scenario over a way to DynamoDB and returns how many requests that took.
func playOver(t *testing.T, s simtest.Scenario, way *unreliable) int {
	t.Helper()
	store, err := New(testClient(endpoint, way), testTable(t), Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	ledger := simtest.NewLedger()
	registry, err := core.NewRegistry(simtest.Tasks(ledger.Process("only"))...)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for _, act := range s.Acts {
		if err := act.Do(ctx, client); err != nil {
			t.Fatalf("%+v: %v", way, err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	reader, err := core.NewClient(&Store{api: testClient(endpoint, nil), table: store.table, where: store.where, opts: store.opts, skips: map[entry]skip{}}, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var tree *core.Node
	for open := true; open && ctx.Err() == nil; {
		time.Sleep(20 * time.Millisecond) // nothing else tells when everything is closed
		if tree, err = reader.Tree(ctx, s.Root); err == nil {
			open = slices.ContainsFunc(flat(tree), func(e *core.Execution) bool { return e.CloseStatus != core.CloseClosed })
		}
	}
	n := way.requests()
	stop()
	<-ended
	if tree == nil {
		t.Fatalf("request %d, sent %t: there is no root: %v", way.at, way.sent, err)
	}
	records := flat(tree)
	err = errors.Join(simtest.Check(slices.Values(records), time.Now(), simtest.CheckOptions{Settled: true}),
		ledger.Check(slices.Values(records), simtest.Coded))
	output, _, outputErr := reader.ResultJSON(t.Context(), tree.Execution)
	if err != nil || outputErr != nil || tree.Execution.Status != s.Status || string(output) != s.Output {
		t.Errorf("request %d of %s, sent %t: %s, %s, errors %v, %v", way.at, s.Name, way.sent, tree.Execution.Status, output, outputErr, err)
	}
	return n
}

func flat(n *core.Node) []*core.Execution {
	all := []*core.Execution{n.Execution}
	for _, child := range n.Children {
		all = append(all, flat(child)...)
	}
	return all
}

// A transaction is one request: whatever becomes of it, the order and its task are both there or neither is, and whoever
// asks again with the same id finds out which.
func TestAnOrderAndItsTaskSurviveALostTransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		sent  bool
		again bool // the SDK repeats the request by itself
		there bool // after the first request
	}{
		{"lost on the way", false, false, false},
		{"lost on the way, and repeated", false, true, true},
		{"its answer is lost", true, false, true},
		{"its answer is lost, and it is repeated", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newTransactor(t)
			way := &unreliable{at: 1, sent: c.sent, counts: func(r *http.Request) bool {
				return strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".TransactWriteItems")
			}}
			opts := testClient(endpoint, way).Options()
			if !c.again {
				opts.Retryer = aws.NopRetryer{}
			}
			x.dynamo = dynamodb.New(opts)
			h, err := x.order("17", "order 17", core.EnqueueOptions{ID: "charge-17"})
			if (err == nil) != c.again {
				t.Fatalf("error %v", err)
			}
			_, getErr := x.client.Get(t.Context(), "charge-17")
			if there := getErr == nil; there != c.there || x.orderExists("17") != c.there {
				t.Fatalf("task %t, order %t, want %t: %v", there, x.orderExists("17"), c.there, getErr)
			}
			if !c.there {
				if h, err = x.order("17", "order 17", core.EnqueueOptions{ID: "charge-17"}); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := x.run(h); out != "charged order 17" || err != nil {
				t.Errorf("output %q, error %v", out, err)
			}
		})
	}
}

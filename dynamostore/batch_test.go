package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// gathering holds single writes up until it is opened, so that others wait and are gathered.
type gathering struct {
	*dynamodb.Client
	open    chan struct{}
	alone   atomic.Int32
	batches atomic.Int32
	batch   func(*dynamodb.BatchExecuteStatementInput) error // nil lets batches through; an error loses their answers
	refuse  error                                            // of batches, before they are sent
}

func (g *gathering) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	g.alone.Add(1)
	<-g.open
	return g.Client.PutItem(ctx, in, opts...)
}

func (g *gathering) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	g.alone.Add(1)
	<-g.open
	return g.Client.UpdateItem(ctx, in, opts...)
}

func (g *gathering) BatchExecuteStatement(
	ctx context.Context, in *dynamodb.BatchExecuteStatementInput, opts ...func(*dynamodb.Options),
) (*dynamodb.BatchExecuteStatementOutput, error) {
	g.batches.Add(1)
	if g.refuse != nil {
		return nil, g.refuse
	}
	out, err := g.Client.BatchExecuteStatement(ctx, in, opts...)
	if err == nil && g.batch != nil {
		if err := g.batch(in); err != nil {
			return nil, err
		}
	}
	return out, err
}

// gatheredStore returns a store all of whose single writes wait until gather is called.
func gatheredStore(t *testing.T, opts Options) (*TestStore, *gathering) {
	t.Helper()
	g := &gathering{Client: testClient(endpoint, nil), open: make(chan struct{})}
	s := testStoreWith(t, g, opts)
	s.announced = true                  // that write would wait as well
	s.batches.within = 10 * time.Minute // an emulator that stands still for a while is no batch without an answer
	return s, g
}

// atOnce calls writes, in order, and opens once all wait that have no room. It returns their errors.
func (g *gathering) atOnce(s *TestStore, writes ...func() error) []error {
	errs := make([]error, len(writes))
	var group sync.WaitGroup
	for i, write := range writes {
		group.Go(func() { errs[i] = write() })
		for !s.batches.has(i + 1) {
			runtime.Gosched()
		}
	}
	close(g.open)
	group.Wait()
	g.open = make(chan struct{})
	return errs
}

// has reports whether n writes are under way or wait.
func (b *batcher) has(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flying+len(b.waiting) >= n
}

func inserts(t *testing.T, s *TestStore, executions []*core.Execution) []func() error {
	t.Helper()
	writes := make([]func() error, len(executions))
	for i, e := range executions {
		writes[i] = func() error { return s.Insert(t.Context(), []*core.Execution{e})[0] }
	}
	return writes
}

func someReady(n int) []*core.Execution {
	executions := make([]*core.Execution, n)
	for i := range executions {
		executions[i] = ready(fmt.Sprintf("e%d", i), 20)
	}
	return executions
}

func TestWritesThatWaitGoTogether(t *testing.T) {
	t.Parallel()
	const n = aloneAtOnce + 2*batchStatements
	var mu sync.Mutex
	billed, requests := map[string]float64{}, 0
	s, g := gatheredStore(t, Options{Usage: func(u Usage) {
		mu.Lock()
		defer mu.Unlock()
		billed[u.ID] += u.Write
		if !u.Part {
			requests++
		}
	}})
	executions := someReady(n)
	check := func(what string, errs []error, want int) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if g.alone.Load() != aloneAtOnce || g.batches.Load() != 2 || requests != aloneAtOnce+2 {
			t.Errorf("%s: %d single requests and %d batches, %d requests reported", what, g.alone.Load(), g.batches.Load(), requests)
		}
		for _, e := range executions {
			if billed[e.ID] != float64(want) {
				t.Errorf("%s: %s was billed at %v units, not %d", what, e.ID, billed[e.ID], want)
			}
		}
		g.alone.Store(0)
		g.batches.Store(0)
		clear(billed)
		requests = 0
	}
	check("insert", g.atOnce(s, inserts(t, s, executions)...), 2)
	for _, e := range executions {
		if diff := cmp.Diff(e, one(t, s, e.ID)); diff != "" {
			t.Errorf("inserted (-want +got):\n%s", diff)
		}
	}
	requests = 0
	clear(billed)
	updates := make([]func() error, n)
	after := make([]*core.Execution, n)
	for i, e := range executions {
		cancelled, err := core.Transition(e, core.Cancel{Reason: "no"}, now)
		if err != nil {
			t.Fatal(err)
		}
		cancelled.Nonce = core.NewNonce()
		after[i] = cancelled
		updates[i] = func() error { return s.Update(t.Context(), []core.Update{{Before: e, After: cancelled}})[0] }
	}
	check("update", g.atOnce(s, updates...), 2)
	for _, e := range after {
		if diff := cmp.Diff(e, one(t, s, e.ID)); diff != "" {
			t.Errorf("updated (-want +got):\n%s", diff)
		}
		if e.WriteUnits != 4 {
			t.Errorf("%s knows of %d units, not 4", e.ID, e.WriteUnits)
		}
	}
}

func TestAWriteOfABatchIsRefusedAsItWouldBeAlone(t *testing.T) {
	t.Parallel()
	s, g := gatheredStore(t, Options{})
	executions := someReady(aloneAtOnce)
	taken, stale, expired := ready("taken", 20), ready("stale", 20), ready("expired", 20)
	close(g.open)
	insert(t, s, taken, stale, expired)
	moved := next(t, s, stale, core.Cancel{Reason: "first"})
	ended := next(t, s, expired, core.Cancel{Reason: "long ago"})
	g.open = make(chan struct{})
	late, err := core.Transition(stale, core.Cancel{Reason: "second"}, now)
	if err != nil {
		t.Fatal(err)
	}
	late.Nonce = core.NewNonce()
	again, anew := ready("taken", 30), ready("expired", 40)
	anew.UpdatedAt = ended.ClosedAt.Add(400 * 24 * time.Hour)
	free := ready("free", 20)
	g.alone.Store(0)
	errs := g.atOnce(s, append(inserts(t, s, executions),
		func() error { return s.Update(t.Context(), []core.Update{{Before: stale, After: late}})[0] },
		func() error { return s.Insert(t.Context(), []*core.Execution{again})[0] },
		func() error { return s.Insert(t.Context(), []*core.Execution{anew})[0] },
		func() error { return s.Insert(t.Context(), []*core.Execution{free})[0] },
	)...)
	if g.batches.Load() != 1 || g.alone.Load() != aloneAtOnce+3 {
		t.Errorf("%d batches, %d single requests", g.batches.Load(), g.alone.Load())
	}
	var conflict *core.ConflictError
	if err := errs[aloneAtOnce]; !errors.As(err, &conflict) || conflict.Current.Nonce != moved.Nonce {
		t.Errorf("an update of an old revision: %v", err)
	}
	if err := errs[aloneAtOnce+1]; !errors.Is(err, core.ErrAlreadyExists) {
		t.Errorf("an insert under an id that is taken: %v", err)
	}
	if err := errs[aloneAtOnce+2]; err != nil || one(t, s, "expired").Nonce != anew.Nonce {
		t.Errorf("an insert in place of a record whose retention is over: %v", err)
	}
	if err := errs[aloneAtOnce+3]; err != nil || one(t, s, "free").Nonce != free.Nonce {
		t.Errorf("an insert beside them: %v", err)
	}
}

func TestABatchWhoseAnswerIsLostHappensOnce(t *testing.T) {
	t.Parallel()
	s, g := gatheredStore(t, Options{})
	g.batch = func(*dynamodb.BatchExecuteStatementInput) error { return errors.New("the connection was cut") }
	executions := someReady(aloneAtOnce + 5)
	if err := errors.Join(g.atOnce(s, inserts(t, s, executions)...)...); err != nil {
		t.Fatal(err)
	}
	updates := make([]func() error, len(executions))
	after := make([]*core.Execution, len(executions))
	for i, e := range executions {
		var err error
		if after[i], err = core.Transition(e, core.Cancel{Reason: "no"}, now); err != nil {
			t.Fatal(err)
		}
		after[i].Nonce = core.NewNonce()
		updates[i] = func() error { return s.Update(t.Context(), []core.Update{{Before: e, After: after[i]}})[0] }
	}
	if err := errors.Join(g.atOnce(s, updates...)...); err != nil {
		t.Fatal(err)
	}
	if g.batches.Load() != 2 {
		t.Errorf("%d batches", g.batches.Load())
	}
	for _, e := range after {
		if diff := cmp.Diff(e, one(t, s, e.ID)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// denied is DynamoDB's answer to a role without a permission.
func denied(t *testing.T) error {
	t.Helper()
	client := testClient(endpoint, nil)
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: new(string), Item: item{}})
	if err == nil || !definite(err) {
		t.Fatalf("it is not a refusal: %v", err)
	}
	return err
}

func TestARoleWithoutBatchesWritesOneByOne(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	s, g := gatheredStore(t, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	g.refuse = denied(t)
	for round := range 2 {
		executions := someReady(aloneAtOnce + 5)
		for _, e := range executions {
			e.ID = fmt.Sprintf("%s-%d", e.ID, round)
		}
		if round > 0 {
			close(g.open)
			insert(t, s, executions...)
		} else if err := errors.Join(g.atOnce(s, inserts(t, s, executions)...)...); err != nil {
			t.Fatal(err)
		}
		for _, e := range executions {
			one(t, s, e.ID)
		}
	}
	if g.batches.Load() != 1 || strings.Count(logged.String(), "batches of writes are refused") != 1 {
		t.Errorf("%d batches; it logged %q", g.batches.Load(), logged.String())
	}
}

func TestABatchHasAnItemOnce(t *testing.T) {
	t.Parallel()
	s, g := gatheredStore(t, Options{})
	twins := []*core.Execution{ready("twin", 20), ready("twin", 30), ready("other", 20)}
	errs := g.atOnce(s, append(inserts(t, s, someReady(aloneAtOnce)), inserts(t, s, twins)...)...)
	winner, loser := 0, 1
	if errs[aloneAtOnce] != nil {
		winner, loser = 1, 0
	}
	if err := errs[aloneAtOnce+winner]; err != nil {
		t.Error(err)
	}
	if err := errs[aloneAtOnce+loser]; !errors.Is(err, core.ErrAlreadyExists) {
		t.Errorf("the other of two under one id: %v", err)
	}
	if got := one(t, s, "twin").Nonce; got != twins[winner].Nonce {
		t.Errorf("the record is %s, not that of the one that was put", got)
	}
}

func TestAWriteThatIsGivenUpWhileItWaitsIsNotWritten(t *testing.T) {
	t.Parallel()
	s, g := gatheredStore(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	givenUp := make(chan error, 1)
	writes := append(inserts(t, s, someReady(aloneAtOnce)),
		func() error {
			err := s.Insert(ctx, []*core.Execution{ready("given-up", 20)})[0]
			givenUp <- err
			return err
		},
		func() error { // waits as well, and sees to it that the one before has ended
			cancel()
			<-givenUp
			return s.Insert(t.Context(), []*core.Execution{ready("last", 20)})[0]
		})
	errs := g.atOnceButOne(s, writes)
	if err := errs[aloneAtOnce]; !errors.Is(err, core.ErrUnknownOutcome) {
		t.Errorf("a write that was given up: %v", err)
	}
	found, err := s.Get(t.Context(), []string{"given-up", "last"}, core.Filter{})
	if err != nil || found[0] != nil || found[1] == nil {
		t.Errorf("there are %v, error %v", found, err)
	}
}

// atOnceButOne is atOnce for writes of which one is given up before the last one waits.
func (g *gathering) atOnceButOne(s *TestStore, writes []func() error) []error {
	errs := make([]error, len(writes))
	var group sync.WaitGroup
	for i, write := range writes {
		group.Go(func() { errs[i] = write() })
		for want := min(i+1, len(writes)-1); !s.batches.has(want); {
			runtime.Gosched()
		}
	}
	close(g.open)
	group.Wait()
	return errs
}

// An answer with one entry for the table was taken for the first statement's, and the others were reckoned on top: up to
// twice what was billed.
func TestBatchUsage_IsWhatTheAnswerSaysWhetherByTableOrByStatement(t *testing.T) {
	t.Parallel()
	batch := []*statement{{id: "a", units: 4}, {id: "b", units: 2}, {id: "refused", units: 9}, {id: "throttled", units: 9}}
	responses := []types.BatchStatementResponse{
		{},
		{},
		{Error: &types.BatchStatementError{Code: types.BatchStatementErrorCodeEnumConditionalCheckFailed}},
		{Error: &types.BatchStatementError{Code: types.BatchStatementErrorCodeEnumThrottlingError}},
	}
	capacity := func(units, index float64) types.ConsumedCapacity {
		return types.ConsumedCapacity{
			CapacityUnits: &units, GlobalSecondaryIndexes: map[string]types.Capacity{"queue": {CapacityUnits: &index}},
		}
	}
	for name, c := range map[string]struct {
		told    []types.ConsumedCapacity
		indexes float64
	}{
		"one entry for the table":      {[]types.ConsumedCapacity{capacity(7, 3)}, 3},
		"one entry for each statement": {[]types.ConsumedCapacity{capacity(4, 2), capacity(2, 1), capacity(1, 0), {}}, 3},
		"nothing is told":              {nil, 0},
	} {
		got, indexes := map[string]float64{}, 0.0
		b := &batcher{report: func(u Usage) { got[u.ID], indexes = u.Write, indexes+u.Indexes["queue"] }}
		b.tell(batch, &dynamodb.BatchExecuteStatementOutput{Responses: responses, ConsumedCapacity: c.told}, 0, nil)
		if diff := cmp.Diff(map[string]float64{"a": 4, "b": 2, "refused": 1, "throttled": 0}, got); diff != "" || indexes != c.indexes {
			t.Errorf("%s: index units %v, write units (-want +got):\n%s", name, indexes, diff)
		}
	}
}

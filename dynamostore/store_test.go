package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/meter"
)

var endpoint string

func TestMain(m *testing.M) {
	server, err := dynamolocal.Start(context.Background(), dynamolocal.Options{Log: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	endpoint = server.Endpoint()
	code := m.Run()
	transport.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := errors.Join(server.Close(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// transport is that of all clients that have none of their own.
var transport = http.DefaultTransport.(*http.Transport).Clone()

func testClient(endpoint string, httpClient dynamodb.HTTPClient) *dynamodb.Client {
	if httpClient == nil {
		httpClient = &http.Client{Transport: transport}
	}
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), HTTPClient: httpClient,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
}

var tables atomic.Int32

// testTable creates a table of its own, without a list.
func testTable(t *testing.T) string {
	t.Helper()
	return testTableWith(t, TableOptions{})
}

func testTableWith(t *testing.T, opts TableOptions) string {
	t.Helper()
	table := fmt.Sprintf("%s-%d", strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name()), tables.Add(1))
	if len(table) > 200 {
		table = table[len(table)-200:]
	}
	if err := CreateTable(t.Context(), testClient(endpoint, nil), table, opts); err != nil {
		t.Fatal(err)
	}
	return table
}

func testStore(t *testing.T) *TestStore {
	t.Helper()
	return testStoreWith(t, testClient(endpoint, nil), Options{})
}

// testStoreWith returns a store in a table of its own, which has a list when the options ask for it.
func testStoreWith(t *testing.T, api TestAPI, opts Options) *TestStore {
	t.Helper()
	s, err := NewForTest(api, testTableWith(t, TableOptions{List: opts.List}), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func one(t *testing.T, s core.Store, id string) *core.Execution {
	t.Helper()
	found, err := s.Get(t.Context(), []string{id}, core.Filter{})
	if err != nil || found[0] == nil {
		t.Fatalf("get %s: %v, error %v", id, found, err)
	}
	return found[0]
}

// next writes what an event makes of an execution.
func next(t *testing.T, s core.Store, e *core.Execution, ev core.Event) *core.Execution {
	t.Helper()
	after, err := core.Transition(e, ev, now)
	if err != nil {
		t.Fatal(err)
	}
	after.Nonce = core.NewNonce()
	if err := s.Update(t.Context(), []core.Update{{Before: e, After: after}})[0]; err != nil {
		t.Fatal(err)
	}
	return after
}

func insert(t *testing.T, s core.Store, executions ...*core.Execution) {
	t.Helper()
	for _, err := range s.Insert(t.Context(), executions) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func claimed(t *testing.T, s core.Store, id string) *core.Execution {
	t.Helper()
	swept, err := s.ClaimReady(t.Context(), core.ReadyClaim{
		Now: now, Limit: 1, ExecutorID: executor, Left: time.Hour, Leeway: 5 * time.Second, IDs: []string{id},
	})
	if err != nil || len(swept.Executions) != 1 {
		t.Fatalf("claim %s: %+v, error %v", id, swept, err)
	}
	return swept.Executions[0]
}

const executor = "abcdefghijklmnopqrstuvwxyz"

func ready(id string, payload int) *core.Execution {
	e := core.NewExecution(id, core.Spec{TaskID: "count_words", Timeout: time.Minute, Input: jsonOf(payload)}, now)
	e.Nonce = core.NewNonce()
	return e
}

// jsonOf returns a JSON text of n bytes.
func jsonOf(n int) []byte { return []byte(`"` + strings.Repeat("x", max(0, n-2)) + `"`) }

func TestABlindClaimIsWhatTheTransitionMakes(t *testing.T) {
	t.Parallel()
	const left, leeway = time.Hour + 400*time.Microsecond, 5*time.Second + 700*time.Microsecond
	at := now.Add(time.Hour + 600*time.Microsecond)
	for name, change := range map[string]func(*core.Execution){
		"first attempt": func(*core.Execution) {},
		"delayed": func(e *core.Execution) {
			e.Delay, e.StartAt, e.DueAt = time.Minute, now.Add(time.Minute), now.Add(time.Minute)
		},
		"retried, recovered and given back": func(e *core.Execution) {
			e.Attempts, e.Recoveries, e.UnknownSince, e.StartedAt = 3, 2, now, now.Add(time.Second)
			e.Failure = &core.Failure{Code: core.CodePanicked, Message: "no", Detail: core.Payload{Data: jsonOf(90)}}
			e.StartAt, e.DueAt = now.Add(time.Minute), now.Add(time.Minute)
		},
		"child": func(e *core.Execution) {
			e.RootID, e.Parent = "root", &core.Parent{ID: "parent", TaskID: "parent_task", Index: 1, Siblings: 3}
		},
		"finalize":    func(e *core.Execution) { e.Parent = &core.Parent{ID: "parent", TaskID: "parent_task", Index: -1} },
		"large input": func(e *core.Execution) { e.Input.Data = jsonOf(5000) },
		"just due and just fitting": func(e *core.Execution) {
			e.Timeout, e.StartAt, e.DueAt = time.Hour, core.Millis(at), core.Millis(at)
		},
		"not due":      func(e *core.Execution) { e.StartAt, e.DueAt = at.Add(time.Second), at.Add(time.Second) },
		"does not fit": func(e *core.Execution) { e.Timeout = time.Hour + time.Millisecond },
		"fits nobody":  func(e *core.Execution) { e.Timeout = 2*time.Hour + time.Millisecond },
		"fits nobody, with a large input": func(e *core.Execution) {
			e.Timeout, e.Input.Data = 3*time.Hour, jsonOf(5000)
		},
		"fits nobody, and is not due": func(e *core.Execution) {
			e.Timeout, e.StartAt, e.DueAt = 3*time.Hour, at.Add(time.Second), at.Add(time.Second)
		},
		"waited too long": func(e *core.Execution) { e.Timeout, e.ScheduleToStart = 90*time.Minute, time.Hour },
		"waited too long by less than a millisecond": func(e *core.Execution) {
			e.Timeout, e.ScheduleToStart = 90*time.Minute, time.Hour-time.Millisecond
		},
		"took too long": func(e *core.Execution) {
			e.Timeout, e.StartToFinish, e.FinishBy = 90*time.Minute, time.Hour, core.Millis(at)
		},
		"in no queue":   func(e *core.Execution) { e.Queue, e.DueAt = core.QueueNone, time.Time{} },
		"another queue": func(e *core.Execution) { e.Status, e.Queue = core.StatusRunning, core.QueueRunning },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testStore(t)
			e := ready("root", 100)
			change(e)
			insert(t, s, e)
			before := one(t, s, "root")
			want, refused := core.Transition(before, core.StartAttempt{ExecutorID: executor, Left: left, Most: 2 * time.Hour, Leeway: leeway}, at)
			swept, err := s.ClaimReady(t.Context(), core.ReadyClaim{
				Now: at, Limit: 1, ExecutorID: executor, Left: left, Most: 2 * time.Hour, Leeway: leeway, IDs: []string{"root"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if refused != nil {
				if len(swept.Executions) != 0 {
					t.Errorf("claimed %+v, but: %v", swept.Executions[0], refused)
				}
				if diff := cmp.Diff(before, one(t, s, "root")); diff != "" {
					t.Errorf("(-before +after):\n%s", diff)
				}
				return
			}
			if len(swept.Executions) != 1 {
				t.Fatal("it was not claimed")
			}
			got := swept.Executions[0]
			want.Nonce = got.Nonce
			want.WriteUnits += claimUnits
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-transition +claim):\n%s", diff)
			}
			if diff := cmp.Diff(got, one(t, s, "root")); diff != "" {
				t.Errorf("(-returned +stored):\n%s", diff)
			}
		})
	}
}

func TestARootOf500BytesStaysWithinOneUnit(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	id := core.NewID()
	insert(t, s, ready(id, 250))
	check := func(stage string, e *core.Execution) {
		if size := itemSize(s.encode(e)); size > unit || e.Input.Ref != "" || e.Output.Ref != "" {
			t.Errorf("%s: %d bytes, %+v %+v", stage, size, e.Input.Ref, e.Output.Ref)
		} else {
			t.Logf("%s: %d bytes", stage, size)
		}
	}
	check("ready", one(t, s, id))
	e := claimed(t, s, id)
	check("running", e)
	next(t, s, e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: jsonOf(250)}})
	check("closed", one(t, s, id))
}

// TestWhatAnOperationConsumes pins write units and requests of each step of an execution's life.
func TestWhatAnOperationConsumes(t *testing.T) {
	t.Parallel()
	m, err := meter.Start(t.Context(), endpoint, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	table := testTable(t)
	s, err := New(testClient(m.Endpoint(), nil), table, Options{})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("warm", 1)) // reads and writes the settings once
	before := m.Total()
	step := func(what string, write float64, requests int) {
		t.Helper()
		total := m.Total()
		if w, r := total.Write-before.Write, total.Requests-before.Requests; w != write || r != requests {
			t.Errorf("%s: %v write units in %d requests, want %v in %d", what, w, r, write, requests)
		}
		before = m.Total()
	}
	insert(t, s, ready("root", 250))
	step("insert", 2, 1)
	e := claimed(t, s, "root")
	step("claim", 3, 1)
	next(t, s, e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: jsonOf(250)}})
	step("finish and close a root", 2, 1)

	insert(t, s, ready("retried", 250))
	step("insert", 2, 1)
	e = claimed(t, s, "retried")
	step("claim", 3, 1)
	e.Retry.MaxAttempts = 2
	next(t, s, e, core.FailAttempt{ExecutorID: executor, Failure: core.Failure{Code: core.CodeFailed, Message: "no"}})
	step("fail for a retry", 3, 1)

	insert(t, s, ready("parent", 250))
	step("insert", 2, 1)
	parent := claimed(t, s, "parent")
	step("claim", 3, 1)
	parent = next(t, s, parent, core.CommitChildren{
		ExecutorID: executor, RunOutput: core.Payload{Data: jsonOf(10)}, Nonce: "n", Size: 3,
		Manifest: core.Payload{Data: jsonOf(100)}, CheckAt: now.Add(10 * time.Second),
	})
	step("commit to children", 3, 1)
	parent = next(t, s, parent, core.ChildrenSpawned{})
	step("note that the children exist", 2, 1)
	child := ready(parent.ChildID(0), 250)
	child.RootID, child.Parent = "parent", &core.Parent{ID: "parent", TaskID: "parent_task", Siblings: 3}
	insert(t, s, child)
	step("insert a child", 2, 1)
	child = claimed(t, s, child.ID)
	step("claim a child", 3, 1)
	child = next(t, s, child, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: jsonOf(200)}})
	step("finish a child", 1, 1)
	count := func(indexes ...int) *core.Execution {
		r := s.CountFinished(t.Context(), now, []core.Count{{ParentID: "parent", Siblings: 3, Indexes: indexes}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Parent
	}
	count(0)
	step("count a child", 1, 1)
	next(t, s, child, core.Close{})
	step("close a child", 2, 1)
	parent = count(1, 2)
	step("count the last children", 3, 2) // a union that may complete the set is refused for one unit
	next(t, s, parent, core.CompleteFamily{})
	step("complete and close a parent", 2, 1)

	insert(t, s, ready("sequence", 250))
	step("insert", 2, 1)
	parent = next(t, s, claimed(t, s, "sequence"), core.CommitChildren{
		ExecutorID: executor, Nonce: "n", Size: 4, Manifest: core.Payload{Data: jsonOf(200)}, Sequential: true, CheckAt: now.Add(10 * time.Second),
	})
	step("claim and commit to the first step", 6, 2)
	parent = next(t, s, parent, core.CommitStep{
		Finished: 0, Manifest: parent.Family.Manifest, KeepUntil: now, CheckAt: now.Add(10 * time.Second),
	})
	step("count a step and commit to the next at once", 1, 1)
	parent = next(t, s, parent, core.CommitStep{
		Finished: 1, Manifest: core.Payload{Data: jsonOf(210)}, KeepUntil: now.Add(time.Minute), CheckAt: now.Add(70 * time.Second),
	})
	step("count a step and commit to the next after a sleep", 3, 1)
	next(t, s, parent, core.EndSequence{Finished: 2})
	step("count the last step, end and close a sequence", 2, 1)

	sleeper := core.NewExecution(core.SleepID("key"), core.Spec{TaskID: "sleeper", SleepKey: "key", Timeout: time.Hour}, now)
	sleeper.Parent = &core.Parent{ID: "parent", TaskID: "parent_task", Siblings: 3}
	insert(t, s, sleeper)
	step("insert a sleeper", 2, 1)
	sleeper = next(t, s, sleeper, core.Wake{Output: core.Payload{Data: jsonOf(200)}})
	step("wake a sleeper", 3, 1)
	next(t, s, sleeper, core.Close{})
	step("close a sleeper", 2, 1)

	big := ready("big", 10_000)
	insert(t, s, big)
	step("insert with 10 KB that compress to less than 1 KB", 3, 2)
}

// A sweep once stopped at the first entry of a shard's last page.
func TestTheLastPageOfAShardIsReadWhole(t *testing.T) {
	t.Parallel()
	s, err := New(testClient(endpoint, nil), testTable(t), Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("a", 10), ready("b", 10), ready("c", 10))
	swept, err := s.ClaimReady(t.Context(), core.ReadyClaim{Now: now, Limit: 10, ExecutorID: executor, Left: time.Hour})
	if err != nil || len(swept.Executions) != 3 {
		t.Errorf("%d executions were claimed, want 3; error %v", len(swept.Executions), err)
	}
}

func TestATableWithAnotherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	client := testClient(endpoint, nil)
	if err := CheckTable(t.Context(), client, testTable(t), TableOptions{}); err != nil {
		t.Error(err)
	}
	in := TableInput("other-schema", TableOptions{})
	in.GlobalSecondaryIndexes = in.GlobalSecondaryIndexes[:1]
	in.AttributeDefinitions = in.AttributeDefinitions[:4]
	in.StreamSpecification = nil
	if _, err := client.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	err := CreateTable(t.Context(), client, "other-schema", TableOptions{List: true})
	for _, says := range []string{"table other-schema", "index cancel is missing", "index list is missing", "projecting INCLUDE t", "its stream must be enabled"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for says, opts := range map[string]Options{
		"Shards is 65":        {Shards: 65},
		"Shards is -1":        {Shards: -1},
		"Retention is 1h0m0s": {Retention: time.Hour},
	} {
		if _, err := New(testClient(endpoint, nil), "t", opts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func TestAnItemThatDoesNotDecodeIsAnError(t *testing.T) {
	t.Parallel()
	s := &Store{opts: Options{Shards: 4, Retention: KeepForever}}
	good := func() item { return s.encode(ready("x", 10)) }
	if _, err := decode(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(item){
		"a later schema":     func(it item) { it[aVersion] = number(2) },
		"no status":          func(it item) { delete(it, aStatus) },
		"a bad revision":     func(it item) { it[aRev] = text("x") },
		"an unknown queue":   func(it item) { it[indexQueue] = text("nope#01") },
		"a number too large": func(it item) { it[aAttempts] = number(1 << 40) },
		"a bad policy":       func(it item) { it[aRetry] = text("1/2") },
		"no family":          func(it item) { it[aStatus] = text(string(core.StatusWaitingForChildren)) },
	} {
		it := good()
		change(it)
		if e, err := decode(it); err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%s: decoded to %+v, error %v", name, e, err)
		}
	}
}

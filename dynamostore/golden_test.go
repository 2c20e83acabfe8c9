package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

var writeGolden = flag.Bool("golden", false, "write testdata/items-v<schema version>.json anew: only for a new schema version")

// goldenTasks are the tasks of which the golden items are. Code that is to be caught at work waits for the gate.
type goldenTasks struct {
	gate            chan struct{}
	echo            *core.Task[string, string]
	gated           *core.Task[string, string]
	retried         *core.Task[string, string]
	parent          *core.Task[string, string]
	plainParent     *core.Task[string, core.Results[string]]
	finalizedByTask *core.Task[string, string]
	sequence        *core.Task[string, string]
	loop            *core.Task[string, core.LoopResult[string]]
	sleeper         *core.Task[string, string]
	finalize        *core.Task[core.Results[string], string]
	poll            *core.Task[string, core.Iteration[string, string]]
}

func newGoldenTasks() *goldenTasks {
	g := &goldenTasks{gate: make(chan struct{})}
	g.echo = core.NewTask("echo", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{})
	wait := func(ctx context.Context, s string) (string, error) {
		select {
		case <-g.gate:
			return s, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	g.gated = core.NewTask("gated", wait, core.TaskOptions{})
	g.retried = core.NewTask("retried", func(_ context.Context, s string) (string, error) {
		select {
		case <-g.gate:
			return s, nil
		default:
			return "", core.RetryAfter(errors.New("not yet: "+strings.Repeat("why ", 100)), time.Second)
		}
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 1000, BaseDelay: time.Second, Multiplier: 1.5, MaxDelay: time.Minute, Jitter: 0.25}})
	children := func(tasks ...*core.Task[string, string]) func(context.Context, string) (string, []core.Child, error) {
		return func(_ context.Context, s string) (string, []core.Child, error) {
			var out []core.Child
			for i, task := range tasks {
				out = append(out, task.Child(fmt.Sprint(s, i)))
			}
			return s, out, nil
		}
	}
	join := func(_ context.Context, r core.Results[string]) (string, error) {
		out := r.Output + ":"
		for _, c := range r.Children {
			var s string
			task := g.echo
			if c.TaskID == g.gated.ID() {
				task = g.gated
			}
			s, err := task.Result(c)
			if err != nil {
				return "", err
			}
			out += s
		}
		return out, nil
	}
	g.parent = core.NewParentTaskWithFinalize("parent", children(g.echo, g.gated), join, core.TaskOptions{})
	g.plainParent = core.NewParentTask("plain_parent", children(g.gated), core.TaskOptions{})
	g.finalize = core.NewTask("finalize", func(ctx context.Context, r core.Results[string]) (string, error) {
		if _, err := wait(ctx, ""); err != nil {
			return "", err
		}
		return join(ctx, r)
	}, core.TaskOptions{})
	g.finalizedByTask = core.NewParentTaskWithFinalizeTask("finalized_by_task", children(g.echo, g.echo), g.finalize, core.TaskOptions{})
	g.sequence = core.NewSequentialTask("sequence", core.Then(core.Then(g.echo, g.gated), g.echo), core.TaskOptions{})
	g.poll = core.NewTask("poll", func(_ context.Context, s string) (core.Iteration[string, string], error) {
		select {
		case <-g.gate:
			return core.Done[string](s), nil
		default:
			return core.Again[string, string](), nil
		}
	}, core.TaskOptions{})
	g.loop = core.NewLoopingTask("loop", g.poll, core.LoopOptions{MaxIterations: 1000, Sleep: 500 * time.Millisecond}, core.TaskOptions{})
	g.sleeper = core.NewSleepingTask[string]("sleeper", core.TaskOptions{})
	return g
}

func (g *goldenTasks) registry(t *testing.T) *core.Registry {
	t.Helper()
	r, err := core.NewRegistry(g.echo, g.gated, g.retried, g.parent, g.plainParent, g.finalizedByTask, g.sequence, g.loop, g.sleeper, g.finalize, g.poll)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// goldenWants is what is in the outputs of the golden items' roots, by their ids.
var goldenWants = map[string]string{
	"ready": `"r"`, "delayed": `"d"`, "large": `"` + large + `"`, "gated": `"g"`, "retried": `"t"`, "parent": `"p:p0p1"`,
	"plain": `"output":"x0"`, "finalized": `"f:f0f1"`, "sequence": `"s"`, "loop": `"output":"l"`, "done": `"` + large + `"`,
}

// large is a text that does not fit a record and compresses little.
var large = func() string {
	var b strings.Builder
	for i := range 600 {
		fmt.Fprintf(&b, "%x.", i*i*2654435761)
	}
	return b.String()
}()

func goldenPath() string { return fmt.Sprintf("testdata/items-v%d.json", schemaVersion) }

// TestGoldenItemsAreWritten writes the items of a table in the middle of work of every kind. It only runs with -golden.
func TestGoldenItemsAreWritten(t *testing.T) {
	t.Parallel()
	if !*writeGolden {
		return
	}
	s := testStoreWith(t, testClient(endpoint, nil), Options{Retention: KeepForever})
	g := newGoldenTasks()
	client, err := core.NewClient(s, core.ClientOptions{Registry: g.registry(t)})
	if err != nil {
		t.Fatal(err)
	}
	enqueue := func(id, task, input string, opts core.EnqueueOptions) {
		opts.ID = id
		if _, err := client.EnqueueRaw(t.Context(), task, []byte(`"`+input+`"`), opts); err != nil {
			t.Fatal(err)
		}
	}
	enqueue("done", "echo", large, core.EnqueueOptions{})
	enqueue("gated", "gated", "g", core.EnqueueOptions{})
	enqueue("retried", "retried", "t", core.EnqueueOptions{})
	enqueue("parent", "parent", "p", core.EnqueueOptions{})
	enqueue("plain", "plain_parent", "x", core.EnqueueOptions{})
	enqueue("finalized", "finalized_by_task", "f", core.EnqueueOptions{})
	enqueue("sequence", "sequence", "s", core.EnqueueOptions{})
	enqueue("loop", "loop", "l", core.EnqueueOptions{})
	if _, err := client.EnqueueRaw(t.Context(), "sleeper", []byte(`"asleep"`), core.EnqueueOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Wakeup(t.Context(), client, g.sleeper, "kept", "early"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	startEngine(ctx, t, s, g)
	await := func(id string, status core.Status) {
		poll(t, func() bool { return one(t, s, id).Status == status })
	}
	await("done", core.StatusCompleted)
	await("parent", core.StatusWaitingForChildren)
	await("plain", core.StatusWaitingForChildren)
	await("finalized", core.StatusWaitingForFinalize)
	poll(t, func() bool { e := one(t, s, "sequence"); return e.Family != nil && e.Family.Step == 1 })
	poll(t, func() bool { e := one(t, s, "loop"); return e.Family != nil && e.Family.Step >= 1 })
	poll(t, func() bool { return one(t, s, "retried").Failure != nil })
	enqueue("ready", "echo", "r", core.EnqueueOptions{Delay: 5 * time.Second})
	enqueue("delayed", "echo", "d", core.EnqueueOptions{Delay: 10 * time.Second})
	enqueue("large", "echo", large, core.EnqueueOptions{Delay: 10 * time.Second})
	out, err := testClient(endpoint, nil).Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(s.table), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range out.Items {
		d := decoder{item: it}
		sleeps := parseQueue(d.text(indexQueue)) == core.QueueSleeping
		if sleeps || d.bool(aKept) { // these wait for longer than anybody will run the tests
			end := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
			it[aExpires] = number(end.UnixMilli())
			if sleeps {
				it[indexDueAt] = it[aExpires]
			} else {
				it[attributeTTL] = number(end.Unix())
			}
		}
	}
	slices.SortFunc(out.Items, func(a, b item) int { return cmp.Compare(itemID(a), itemID(b)) })
	if err := os.WriteFile(goldenPath(), itemsToJSON(t, out.Items), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startEngine runs an engine on the store until the context ends.
func startEngine(ctx context.Context, t *testing.T, s *TestStore, g *goldenTasks) {
	t.Helper()
	engine, err := core.NewEngine(core.Config{Store: s, Registry: g.registry(t)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		if err := engine.Run(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

// poll waits until the condition holds, a minute at most.
func poll(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("it did not come to pass within a minute")
		}
	}
}

// What an earlier program left behind in the middle of its work, a later one finishes: the items in testdata are those of
// a table whose executor died, one file for each version of the schema.
func TestItemsOfEveryEarlierVersionStillRun(t *testing.T) {
	t.Parallel()
	for version := 1; version <= schemaVersion; version++ {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(fmt.Sprintf("testdata/items-v%d.json", version))
			if err != nil {
				t.Fatal(err)
			}
			s := testStoreWith(t, testClient(endpoint, nil), Options{Retention: KeepForever})
			statuses := map[core.Status]int{}
			for _, it := range itemsFromJSON(t, data) {
				d := decoder{item: it}
				if d.text(keySK) == sortExecution {
					e, err := decode(it)
					if err != nil {
						t.Fatal(err)
					}
					statuses[e.Status]++
				}
				if _, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.table), Item: it}); err != nil {
					t.Fatal(err)
				}
			}
			for _, status := range []core.Status{
				core.StatusReady, core.StatusRunning, core.StatusWaitingForChildren, core.StatusWaitingForFinalize, core.StatusCompleted,
			} {
				if statuses[status] == 0 {
					t.Errorf("no golden item is %s", status)
				}
			}
			g := newGoldenTasks()
			close(g.gate)
			startEngine(t.Context(), t, s, g)
			client, err := core.NewClient(s, core.ClientOptions{Registry: g.registry(t)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := core.Wakeup(t.Context(), client, g.sleeper, "asleep", "late"); err != nil {
				t.Error(err)
			}
			kept, err := g.sleeper.Enqueue(t.Context(), client, "kept")
			if err != nil {
				t.Fatal(err)
			}
			wants := map[string]string{core.SleepID("asleep"): `"late"`, kept.ID(): `"early"`}
			for id, want := range goldenWants {
				wants[id] = want
			}
			for id, want := range wants {
				poll(t, func() bool { return one(t, s, id).Status.Finished() })
				e := one(t, s, id)
				out, _, err := client.ResultJSON(t.Context(), e)
				if err != nil || e.Status != core.StatusCompleted || !strings.Contains(string(out), want) {
					t.Errorf("%s is %s with %s, error %v, want %s", id, e.Status, out, err, want)
				}
			}
			poll(t, func() bool {
				left := 0
				for _, q := range append(core.Queues(), QueueQuarantine) {
					n, err := s.Depth(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					left += n
				}
				return left == 0
			})
		})
	}
}

package dynamostore

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func TestARecordTellsWhatItsWritesWereBilledAt(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	billed := map[string]float64{} // by execution
	s, err := New(testClient(endpoint, nil), testTableWith(t, TableOptions{List: true}), Options{List: true, Usage: func(u Usage) {
		mu.Lock()
		defer mu.Unlock()
		if !u.ConditionFailed {
			billed[u.ID] += u.Write
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat(core.NewNonce(), 1000) // 13 KB, which compress to fewer
	flaky := core.NewTask("flaky", func(ctx context.Context, n int) (string, error) {
		if n%2 > 0 && core.InfoOf(ctx).Attempt == 1 {
			return "", core.RetryAfter(context.DeadlineExceeded, time.Millisecond)
		}
		return large[:n], nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	fan := core.NewParentTask("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = flaky.Child(i * 1000)
		}
		return n, children, nil
	}, core.TaskOptions{})
	text := core.NewTask("text", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(core.Then(text, text), text), core.TaskOptions{})
	registry, err := core.NewRegistry(flaky, fan, text, chain)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: s, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(s, core.ClientOptions{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	roots := make([]string, 3)
	for i, enqueue := range []func() (string, error){
		func() (string, error) { return idOf(fan.Enqueue(t.Context(), client, 12)) },
		func() (string, error) { return idOf(chain.Enqueue(t.Context(), client, large)) },
		func() (string, error) { return idOf(text.Enqueue(t.Context(), client, "small")) },
	} {
		if roots[i], err = enqueue(); err != nil {
			t.Fatal(err)
		}
	}
	x := engine.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(time.Hour)})
	for done := false; !done; {
		if _, err := x.Repeat(t.Context(), core.LoopStartReady, time.Now().Add(5*time.Second)); err != nil {
			t.Fatal(err)
		}
		done = true
		for _, id := range roots {
			e, err := client.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			done = done && e.Status.Finished()
		}
	}
	x.Flush()
	for _, id := range roots {
		tree, err := client.Tree(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		tree.Walk(func(_ int, e *core.Execution) {
			sum += billed[e.ID]
			if e.Status != core.StatusCompleted || e.WriteUnits == 0 || float64(e.WriteUnits) != billed[e.ID] {
				t.Errorf("%s of task %s is %s: its record tells %d units, DynamoDB told %v", e.ID, e.TaskID, e.Status, e.WriteUnits, billed[e.ID])
			}
		})
		if got := tree.WriteUnits(); float64(got) != sum {
			t.Errorf("tree %s: %d units, want %v", id, got, sum)
		}
	}
}

func idOf[Out any](h *core.Handle[Out], err error) (string, error) {
	if err != nil {
		return "", err
	}
	return h.ID(), nil
}

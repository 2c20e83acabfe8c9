package core_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an engine that runs on a store of its own, in time that passes only when everybody waits.
type world struct {
	*testing.T
	ctx    context.Context
	store  *memstore.Store
	config core.Config
	client *core.Client
}

// inWorld calls test in a bubble. While test runs, the engine runs the tasks; afterwards nothing may be left to do
// but what left says.
func inWorld(t *testing.T, tasks []core.Definition, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tasks)
		stop := w.start()
		test(w)
		stop()
		w.checkClosed()
	})
}

// inIdleWorld is inWorld without an engine: test starts it.
func inIdleWorld(t *testing.T, tasks []core.Definition, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t, tasks)) })
}

func newWorld(t *testing.T, tasks []core.Definition) *world {
	t.Helper()
	registry, err := core.NewRegistry(tasks...)
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New(memstore.Options{})
	client, err := core.NewClient(store, core.ClientOptions{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		T: t, ctx: t.Context(), store: store, client: client,
		config: core.Config{Store: store, Registry: registry, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
	}
}

func (w *world) engine() *core.Engine {
	w.Helper()
	e, err := core.NewEngine(w.config)
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// start runs the engine's loops until stop is called.
func (w *world) start() (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	e := w.engine()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// checkClosed fails the test when anything in the store is not finished, closed and out of the queues.
func (w *world) checkClosed() {
	w.Helper()
	w.store.Each(func(e *core.Execution) {
		if e.CloseStatus != core.CloseClosed || e.Queue != core.QueueNone || !e.Status.Finished() || e.NeedsCancellation {
			w.Errorf("left behind: execution %s of %s is %s, close status %s, queue %q, flagged %t",
				e.ID, e.TaskID, e.Status, e.CloseStatus, e.Queue, e.NeedsCancellation)
		}
	})
}

// closed reports whether nothing is left to do.
func (w *world) closed() bool {
	closed := true
	w.store.Each(func(e *core.Execution) {
		closed = closed && e.CloseStatus == core.CloseClosed && !e.NeedsCancellation
	})
	return closed
}

func (w *world) get(id string) *core.Execution {
	w.Helper()
	e, err := w.client.Get(w.ctx, id)
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// settle lets enough time pass for every sweep and every lease of the default length.
func (w *world) settle() { time.Sleep(2 * time.Minute) }

// enqueue fails the test when the task is not enqueued.
func enqueue[In, Out any](w *world, task *core.Task[In, Out], in In) *core.Handle[Out] {
	w.Helper()
	return enqueueWith(w, task, in, core.EnqueueOptions{})
}

func enqueueWith[In, Out any](w *world, task *core.Task[In, Out], in In, opts core.EnqueueOptions) *core.Handle[Out] {
	w.Helper()
	h, err := task.EnqueueWith(w.ctx, w.client, in, opts)
	if err != nil {
		w.Fatal(err)
	}
	return h
}

func wait[Out any](w *world, h *core.Handle[Out]) Out {
	w.Helper()
	out, err := h.Wait(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// update writes what ev makes of an execution, as an executor would that dies right after it.
func (w *world) update(e *core.Execution, ev core.Event) *core.Execution {
	w.Helper()
	after, err := core.Transition(e, ev, time.Now())
	if err != nil {
		w.Fatal(err)
	}
	after.Nonce = core.NewNonce()
	if err := w.store.Update(w.ctx, []core.Update{{Before: e, After: after}})[0]; err != nil {
		w.Fatal(err)
	}
	return after
}

// claim takes a ready execution as an executor that dies would.
func (w *world) claim(id string) *core.Execution {
	w.Helper()
	swept, err := w.store.ClaimReady(w.ctx, core.ReadyClaim{
		Now: core.Millis(time.Now()), Limit: 1, ExecutorID: "dead", Left: time.Hour, Leeway: 5 * time.Second, IDs: []string{id},
	})
	if err != nil || len(swept.Executions) != 1 {
		w.Fatalf("claim %s: %d executions, error %v", id, len(swept.Executions), err)
	}
	return swept.Executions[0]
}

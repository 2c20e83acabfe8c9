// Package coretest runs workflows in unit tests, in milliseconds: on a store in memory, with executors that run in the
// background, and in time that passes only when everybody waits (testing/synctest). A sleep of thirty days, the pauses
// between retries and the leases of a crashed executor are over at once.
//
//	func TestOrder(t *testing.T) {
//		coretest.Run(t, []core.Definition{order, charge, approval}, func(w *coretest.World) {
//			h := coretest.Enqueue(w, order, "17")
//			w.Until(h, core.StatusWaitingForChildren)
//			coretest.Wake(w, approval, "17", "yes")
//			receipt := coretest.Wait(w, h)
//			...
//			w.CheckTree(h, `
//				order completed attempts=1 output="receipt 17"
//				  [0] charge completed attempts=2 output=400
//				  [1] approval completed key="17" output="yes"`)
//		})
//	}
//
// What the tasks come to does not depend on the machine or on how fast it is. The ids of root executions are random,
// unless a test chooses them; all else that Tree shows is the same each time.
//
// A test fails, with the tree and what is due in the message, when an execution that it waits for ends otherwise, or
// never: when nothing is left to happen, or when it goes on for more than Options.Patience or Options.Operations. Code
// that waits for something outside of the test, such as the network, or computes for ever, stops the time: that is for
// the -timeout of go test to find. Tasks and test run in one synctest bubble, so T.Run and T.Parallel cannot be used
// inside; call T.Parallel before Run.
package coretest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
	"github.com/perdure-dev/perdure/core/memstore"
)

// Options are the options of a World; the zero value works.
type Options struct {
	// Registry is used in place of one of the tasks: with the program's own, a test finds what it does not name. Default:
	// one of the tasks.
	Registry *core.Registry
	// Config is the executors'. Store and Registry are the world's own; Logger is the test's output by default.
	Config core.Config
	// Client is the client's. Registry is the world's own.
	Client core.ClientOptions
	// Store is the store's.
	Store memstore.Options
	// Patience is how much of the world's time may pass before what a test waits for counts as never happening.
	// Default 400 days.
	Patience time.Duration
	// Operations is how many operations the executors may do on the store before that; it finds what goes on for ever without time
	// passing. Default 1,000,000.
	Operations int
	// NoExecutors leaves it to the test to call Start, so that it can prepare what the executors find.
	NoExecutors bool
}

// World is a store, a client and executors in time of their own. The test that it embeds is the bubble's. Its methods
// may be called by the test and by the code of tasks.
type World struct {
	*testing.T
	opts     Options
	registry *core.Registry
	memory   *memstore.Store
	client   *core.Client
	changes  changes

	mu        sync.Mutex
	executors *executors // at work now; nil for none
	fault     func(faultstore.Op) faultstore.Fault
	ops       int
	most      int  // operations after which what is waited for counts as never happening; 0 while nobody waits
	runaway   bool // most was exceeded, which killed the executors
	ended     bool
	all       sync.WaitGroup // executors, dead ones included
}

// Run calls test in a world of its own in which the tasks are registered and executors are at work. It returns when
// test has and all code has come to its end.
func Run(t *testing.T, tasks []core.Definition, test func(w *World)) {
	t.Helper()
	RunWith(t, tasks, Options{}, test)
}

// RunWith is Run with options.
func RunWith(t *testing.T, tasks []core.Definition, opts Options, test func(w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tasks, opts)
		defer w.end()
		if !opts.NoExecutors {
			w.Start()
		}
		test(w)
	})
}

func newWorld(t *testing.T, tasks []core.Definition, opts Options) *World {
	t.Helper()
	registry := opts.Registry
	if registry == nil {
		var err error
		if registry, err = core.NewRegistry(tasks...); err != nil {
			t.Fatal(err)
		}
	}
	if opts.Patience == 0 {
		opts.Patience = 400 * 24 * time.Hour
	}
	if opts.Operations == 0 {
		opts.Operations = 1_000_000
	}
	if opts.Config.Logger == nil {
		opts.Config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	w := &World{T: t, opts: opts, registry: registry, memory: memstore.New(opts.Store)}
	opts.Client.Registry = registry
	client, err := core.NewClient(telling{w.memory, &w.changes}, opts.Client)
	if err != nil {
		t.Fatal(err)
	}
	w.client = client
	return w
}

// end stops everything, and waits for code that is still running.
func (w *World) end() {
	w.mu.Lock()
	w.ended = true
	x := w.executors
	w.executors = nil
	w.mu.Unlock()
	if x != nil {
		x.store.Kill()
	}
	w.all.Wait()
}

// Client returns a client of the world, for whatever this package has no shorter way to say.
func (w *World) Client() *core.Client { return w.client }

// Store returns the world's store as it is, without faults.
func (w *World) Store() *memstore.Store { return w.memory }

// Skip lets time pass, and all that is due in it happen. It is for the test; a task calls time.Sleep.
func (w *World) Skip(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Identified names an execution: a core.Handle, or an ID.
type Identified interface{ ID() string }

// ID is the id of an execution.
type ID string

// ID returns the id.
func (id ID) ID() string { return string(id) }

// Get returns the record of an execution.
func (w *World) Get(h Identified) *core.Execution {
	w.Helper()
	e, err := w.client.Get(w.Context(), h.ID())
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// Cancel cancels an execution, with all below it.
func (w *World) Cancel(h Identified, reason string) {
	w.Helper()
	if err := w.client.Cancel(w.Context(), h.ID(), reason); err != nil {
		w.Fatal(err)
	}
}

// Enqueue enqueues a task.
func Enqueue[In, Out any](w *World, task *core.Task[In, Out], in In) *core.Handle[Out] {
	w.Helper()
	return EnqueueWith(w, task, in, core.EnqueueOptions{})
}

// EnqueueWith is Enqueue with options.
func EnqueueWith[In, Out any](w *World, task *core.Task[In, Out], in In, opts core.EnqueueOptions) *core.Handle[Out] {
	w.Helper()
	h, err := task.EnqueueWith(w.Context(), w.client, in, opts)
	if err != nil {
		w.Fatal(err)
	}
	return h
}

// Wake wakes the execution of a sleeping task that has the key, also when it does not sleep yet.
func Wake[Out any](w *World, task *core.Task[string, Out], key string, out Out) *core.Handle[Out] {
	w.Helper()
	h, err := core.Wakeup(w.Context(), w.client, task, key, out)
	if err != nil {
		w.Fatal(err)
	}
	return h
}

// WakeWithError is Wake with an error in place of an output: the sleeper ends failed.
func WakeWithError[Out any](w *World, task *core.Task[string, Out], key string, failure error) *core.Handle[Out] {
	w.Helper()
	h, err := core.WakeupWithError(w.Context(), w.client, task, key, failure)
	if err != nil {
		w.Fatal(err)
	}
	return h
}

// Wait waits until an execution is finished and returns its output. The test fails when it does not complete.
func Wait[Out any](w *World, h *core.Handle[Out]) Out {
	w.Helper()
	w.await(h.ID(), core.Status.Finished, "finished")
	out, err := h.Wait(w.Context())
	if err != nil {
		w.Fatalf("%v\n%s", err, w.Tree(h))
	}
	return out
}

// WaitError waits until an execution is finished and returns why it did not complete. The test fails when it does.
func WaitError[Out any](w *World, h *core.Handle[Out]) *core.ExecutionError {
	w.Helper()
	w.await(h.ID(), core.Status.Finished, "finished")
	_, err := h.Wait(w.Context())
	var failed *core.ExecutionError
	if !errors.As(err, &failed) {
		w.Fatalf("execution %s did not fail: error %v\n%s", h.ID(), err, w.Tree(h))
	}
	return failed
}

// Until waits until an execution has the status, such as core.StatusWaitingForChildren. The test fails when it ends
// with another one.
func (w *World) Until(h Identified, status core.Status) {
	w.Helper()
	e := w.await(h.ID(), func(s core.Status) bool { return s == status || s.Finished() }, string(status))
	if e.Status != status {
		w.Fatalf("execution %s of task %s is %s and will never be %s\n%s", e.ID, e.TaskID, e.Status, status, w.Tree(h))
	}
}

// await waits until an execution's status is good.
func (w *World) await(id string, good func(core.Status) bool, what string) *core.Execution {
	w.Helper()
	ctx := context.WithoutCancel(w.Context())
	limit := time.NewTimer(w.opts.Patience)
	defer limit.Stop()
	w.bound(w.opts.Operations)
	defer w.bound(0)
	for {
		changed := w.changes.next()
		e, err := w.client.Get(ctx, id)
		switch {
		case err != nil:
			w.Fatal(err)
		case good(e.Status):
			return e
		case w.hasRunAway():
			w.Fatalf("execution %s of task %s is %s after %d operations of the store and not %s: does it go on for ever?\n%s%s",
				e.ID, e.TaskID, e.Status, w.opts.Operations, what, w.Tree(ID(id)), w.due())
		}
		select {
		case <-changed:
			time.Sleep(time.Millisecond) // so that what happens at one time is seen at once
		case <-limit.C:
			w.Fatalf("execution %s of task %s is %s after %s and not %s: what does it wait for?\n%s%s",
				e.ID, e.TaskID, e.Status, w.opts.Patience, what, w.Tree(ID(id)), w.due())
		}
	}
}

// bound allows so many operations from now on; 0 allows any number.
func (w *World) bound(operations int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.most = 0; operations > 0 {
		w.most = w.ops + operations
	}
}

func (w *World) hasRunAway() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runaway
}

package simtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/core/storewrap"
)

// Cut names an operation of a scenario, in the same way in every run.
type Cut struct {
	Op     string
	Name   string // of the execution, see Names; empty for a sweep
	Number int    // from 1, among those of the same Op and Name
}

// String returns the operation as a text.
func (c Cut) String() string { return fmt.Sprintf("%s %s #%d", c.Op, c.Name, c.Number) }

// What the engines of the matrix live by. No task of a scenario has a longer timeout than lease.
const (
	lease  = 30 * time.Second
	leeway = 5 * time.Second
	// tick is the longest wait of a loop in which nothing happens, and of the one that starts what another found.
	tick = 5*time.Second + time.Second
	// Repair is how long the repair of a fault may take, on top of what the scenario takes without one.
	Repair = lease + leeway + tick
)

// MatrixOptions are the options of Matrix; the zero value works.
type MatrixOptions struct {
	// Faults are those that are tried. Default: all.
	Faults []faultstore.Fault
	// Whole cuts between calls of the store, which gather what comes together, and not within them.
	Whole bool
	// Progress is told after each run how many there were, and of how many. Default: nobody is.
	Progress func(done, of int)
}

// MatrixResult is what a matrix came to.
type MatrixResult struct {
	Operations int // of the scenario, without a fault
	Cuts       int // runs, each with one fault at one operation
	Missed     int // runs that did not come to their operation: goroutines were faster or slower than in the first run
	// Longest is the longest repair: what a run took from its fault on, less what the scenario takes without one.
	Longest time.Duration
	At      string // where that was
}

// Matrix runs a scenario once for each operation that it performs on its store and each fault, all in time of their own
// that passes only when everybody waits. After each it checks that the scenario comes to its end, in the time that a repair
// may take, and at each quiet moment every invariant.
func Matrix(t *testing.T, s Scenario, opts MatrixOptions) MatrixResult {
	t.Helper()
	if opts.Faults == nil {
		opts.Faults = faultstore.Faults()
	}
	whole := runOnce(t, s, opts, faultstore.None, Cut{})
	if t.Failed() {
		return MatrixResult{}
	}
	result := MatrixResult{Operations: len(whole.cuts)}
	for _, fault := range opts.Faults {
		for _, cut := range whole.cuts {
			r := runOnce(t, s, opts, fault, cut)
			if result.Cuts++; opts.Progress != nil {
				opts.Progress(result.Cuts, len(opts.Faults)*len(whole.cuts))
			}
			where := fmt.Sprintf("%s %s", cut, fault)
			switch repair := r.took - whole.took; {
			case t.Failed():
				t.Errorf("%s: cut at %s", s.Name, where)
				return result
			case r.faultAt == 0:
				result.Missed++
			case repair > Repair:
				t.Errorf("%s: cut at %s: the repair took %s, more than the %s of a lease, the leeway and one tick", s.Name, where, repair, Repair)
			case repair > result.Longest:
				result.Longest, result.At = repair, where
			}
		}
	}
	return result
}

// matrixRun is what one run came to.
type matrixRun struct {
	cuts    []Cut
	took    time.Duration // until everything was closed
	faultAt time.Duration // since the beginning; 0 when there was no fault
}

// runOnce runs a scenario with a fault at one operation.
func runOnce(t *testing.T, s Scenario, opts MatrixOptions, fault faultstore.Fault, at Cut) (run matrixRun) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, opts)
		w.prepare()
		run = w.play(fault, at)
	})
	return run
}

// world is a store with the processes that work on it.
type world struct {
	*testing.T
	ctx     context.Context
	s       Scenario
	opts    MatrixOptions
	store   *memstore.Store
	names   *Names
	ledger  *Ledger
	history History
}

func newWorld(t *testing.T, s Scenario, opts MatrixOptions) *world {
	t.Helper()
	w := &world{T: t, ctx: t.Context(), s: s, opts: opts, names: NewNames(), ledger: NewLedger()}
	w.store = memstore.New(memstore.Options{})
	return w
}

// records returns the records of the store as they are.
func (w *world) records() (all []*core.Execution) {
	w.store.Each(func(e *core.Execution) { all = append(all, e) })
	return all
}

// process is one process: an engine at work and a client.
type process struct {
	*Process
	client *core.Client
	stop   func()
}

// start starts a process on a store.
func (w *world) start(name string, store core.Store) process {
	w.Helper()
	if w.opts.Whole {
		store = gathered(store)
	}
	p := w.ledger.Process(name)
	registry, err := core.NewRegistry(Tasks(p)...)
	if err != nil {
		w.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry, Concurrency: w.s.Concurrency, Leeway: leeway})
	if err != nil {
		w.Fatal(err)
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: registry})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := engine.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
	return process{p, client, func() {
		cancel()
		<-done
	}}
}

// prepare does what comes before the scenario.
func (w *world) prepare() {
	w.Helper()
	if w.s.Before == nil {
		return
	}
	p := w.start("before", w.store)
	if err := w.s.Before(w.ctx, p.client); err != nil {
		w.Fatal(err)
	}
	for !closed(w.records()) {
		time.Sleep(time.Second)
	}
	p.stop()
}

// closed reports whether nothing is left to do.
func closed(records []*core.Execution) bool {
	return !slices.ContainsFunc(records, func(e *core.Execution) bool {
		return e.CloseStatus != core.CloseClosed || e.NeedsCancellation
	})
}

// look is how often the world is looked at.
func (w *world) look() time.Duration {
	if w.opts.Whole {
		return 5 * time.Second // a large family takes long to check
	}
	return 100 * time.Millisecond
}

// gathered returns the store with small calls gathered, each of which takes a moment, so that others come meanwhile.
func gathered(store core.Store) core.Store {
	return storewrap.Coalescing(unhurried{store}, storewrap.CoalescingOptions{Batch: 100})
}

type unhurried struct{ core.Store }

func (u unhurried) Insert(ctx context.Context, executions []*core.Execution) []error {
	time.Sleep(time.Millisecond)
	return u.Store.Insert(ctx, executions)
}

// play plays the scenario with a fault at one operation. When the process dies by it, another one takes its place.
func (w *world) play(fault faultstore.Fault, at Cut) (run matrixRun) {
	w.Helper()
	began := time.Now()
	var mu sync.Mutex
	seen := map[Cut]int{}
	hook := func(op faultstore.Op) faultstore.Fault {
		mu.Lock()
		defer mu.Unlock()
		cut := Cut{Op: op.Name}
		if !w.opts.Whole {
			cut.Name = w.name(op.ID)
		}
		seen[cut]++
		cut.Number = seen[cut]
		if fault == faultstore.None {
			run.cuts = append(run.cuts, cut)
		}
		if cut != at || run.faultAt != 0 {
			return faultstore.None
		}
		run.faultAt = max(1, time.Since(began))
		return fault
	}
	faulty := faultstore.New(w.store, hook)
	if w.opts.Whole {
		faulty = faultstore.NewWhole(w.store, hook)
	}
	second := faultstore.New(w.store, func(faultstore.Op) faultstore.Fault { return faultstore.None })
	p := w.start("first", faulty)
	acts, due, ops := w.s.Acts, false, -1
	limit := began.Add(10 * time.Minute)
	for over := false; len(acts) > 0 || !over; {
		time.Sleep(w.look())
		synctest.Wait()
		select {
		case <-faulty.Died():
			if p.name == "first" {
				p.Die()
				p.stop()
				p = w.start("second", second)
			}
		default:
		}
		if n := faulty.Ops() + second.Ops(); n != ops {
			records := w.records()
			w.check(records, CheckOptions{})
			over, ops = closed(records), n
		}
		if time.Now().After(limit) || w.Failed() {
			w.check(w.records(), CheckOptions{Settled: true})
			w.Errorf("%s, cut at %s, %s: not over after %s", w.s.Name, at, fault, time.Since(began))
			break
		}
		if len(acts) == 0 {
			continue
		}
		if due = due || acts[0].When == nil || acts[0].When(w.root()); due && acts[0].Do(w.ctx, p.client) == nil {
			acts, due, over, ops = acts[1:], false, false, -1
		}
	}
	run.took = time.Since(began)
	p.stop()
	w.checkEnd()
	return run
}

// name returns the name of an execution, which may not exist yet.
func (w *world) name(id string) string {
	if name := w.names.Of(id); name != id || id == "" {
		return name
	}
	for _, e := range w.records() {
		w.names.Learn(e)
	}
	return w.names.Of(id)
}

func (w *world) root() *core.Execution {
	for _, e := range w.records() {
		if e.ID == w.s.Root && !e.Kept {
			return e
		}
	}
	return nil
}

func (w *world) check(records []*core.Execution, opts CheckOptions) {
	w.Helper()
	all := slices.Values(records)
	if err := errors.Join(Check(all, time.Now(), opts), w.history.See(all, false)); err != nil {
		w.Error(err)
	}
}

// checkEnd checks what the scenario came to.
func (w *world) checkEnd() {
	w.Helper()
	c, err := core.NewClient(w.store, core.ClientOptions{})
	if err != nil {
		w.Fatal(err)
	}
	records := w.records()
	w.check(records, CheckOptions{Settled: true})
	if err := w.ledger.Check(slices.Values(records), Coded); err != nil {
		w.Error(err)
	}
	e := w.root()
	if e == nil {
		w.Errorf("%s: there is no root", w.s.Name)
		return
	}
	output, _, err := c.ResultJSON(w.ctx, e)
	if e.Status != w.s.Status || w.s.Output != "" && string(output) != w.s.Output {
		w.Errorf("%s: root is %s, output %s, error %v; want %s, %s", w.s.Name, e.Status, output, err, w.s.Status, w.s.Output)
	}
}

// String returns the result as a line of a report.
func (r MatrixResult) String() string {
	return fmt.Sprintf("%d operations, %d cut points, %d of them not reached; longest repair %s, after %s",
		r.Operations, r.Cuts, r.Missed, r.Longest, r.At)
}

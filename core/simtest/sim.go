package simtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// SimOptions are the options of Simulate; the zero value works.
type SimOptions struct {
	// Log gets what happened to every operation, in order. Default: nothing.
	Log io.Writer
}

// SimReport is what a simulation came to.
type SimReport struct {
	Operations int // of all processes on the store
	Faults     int // lost, unanswered, refused, repeated and late ones among them
	Crashes    int // of processes
	Executions int
	Runs       int // of tasks' code
	Took       time.Duration
	// Digest names the run: all operations with their times and fates. Two runs of a seed have the same.
	Digest string
}

// Simulate runs the program of a seed in time of its own: several processes enqueue, cancel, wake and redrive trees of
// every kind of task, while operations are lost, repeated and late, indexes lag, clocks differ and processes die. Then it
// calms down, and everything has to come to its end. Every two seconds, and at the end, every invariant is checked.
func Simulate(t *testing.T, seed uint64, opts SimOptions) (report SimReport) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, seed, opts)
		s.run()
		report = s.report()
	})
	return report
}

// simulation is one run.
type simulation struct {
	*testing.T
	ctx    context.Context
	seed   uint64
	opts   SimOptions
	plan   plan
	began  time.Time
	store  *memstore.Store
	names  *Names
	ledger *Ledger

	slots    []*slot
	requests sync.WaitGroup // on their way
	history  History

	mu       sync.Mutex
	lags     map[string]int
	log      []string
	faults   int
	crashes  int
	enqueued map[string]Part // acknowledged roots, by id
	unsure   map[string]bool // roots whose end somebody interfered with
}

func newSimulation(t *testing.T, seed uint64, opts SimOptions) *simulation {
	t.Helper()
	s := &simulation{
		T: t, ctx: t.Context(), seed: seed, opts: opts, began: time.Now(), names: NewNames(), ledger: NewLedger(),
		lags: map[string]int{}, enqueued: map[string]Part{}, unsure: map[string]bool{},
	}
	s.plan = newPlan(s.rand("plan"))
	s.store = memstore.New(memstore.Options{Lag: s.lag, Inline: s.plan.inline, Broken: func(err error) {
		s.Errorf("seed %d, at %s: %v", s.seed, s.now(), err)
	}})
	return s
}

// now returns how long the simulation has been running.
func (s *simulation) now() time.Duration { return time.Since(s.began) }

// weather is how likely an operation fails, or is the last of its process.
type weather struct{ fault, crash float64 }

func (s *simulation) weather() weather {
	if s.now() > s.plan.storm {
		return weather{}
	}
	return s.plan.weather
}

// lag is how late the index shows a change.
func (s *simulation) lag(c memstore.Change) int {
	if s.now() > s.plan.storm || s.plan.lag == 0 {
		return 0
	}
	name := fmt.Sprintf("lag %s %s %t", s.names.Of(c.ID), c.Queue, c.Removed)
	s.mu.Lock()
	s.lags[name]++
	name = fmt.Sprintf("%s #%d", name, s.lags[name])
	s.mu.Unlock()
	r := s.rand(name)
	if r.Float64() > s.plan.lag {
		return 0
	}
	return r.IntN(5) - 1
}

// note logs an operation that takes effect, or fails to.
func (s *simulation) note(name, fate string) {
	line := fmt.Sprintf("%s %s%s", s.now(), name, fate)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
	if fate != "" {
		s.faults++
	}
	if s.opts.Log != nil {
		_, _ = fmt.Fprintln(s.opts.Log, line) // the log is for people
	}
}

// crash ends a process; its slot starts another one.
func (s *simulation) crash(process string) {
	for _, slot := range s.slots {
		if slot.kill(process) {
			s.mu.Lock()
			s.crashes++
			s.mu.Unlock()
		}
	}
}

// settleTime is how long after the storm everything has to be over. An executor of one attempt at a time takes that long
// for a large tree.
const settleTime = 20 * time.Minute

func (s *simulation) run() {
	s.Helper()
	over := make(chan struct{})
	var processes, actors sync.WaitGroup
	for i := range s.plan.slots {
		s.slots = append(s.slots, &slot{sim: s, number: i + 1, plan: s.plan.slots[i]})
	}
	for _, slot := range s.slots {
		processes.Go(func() { slot.work(over) })
	}
	for i, act := range s.plan.acts {
		actors.Go(func() { s.act(i, act) })
	}
	acted := make(chan struct{})
	go func() {
		actors.Wait()
		close(acted)
	}()
	for done := false; !done; {
		time.Sleep(2 * time.Second)
		synctest.Wait()
		records := s.records()
		s.check(records, CheckOptions{})
		if s.now() > s.plan.storm {
			s.store.Settle()
		} else if s.rand(fmt.Sprint("settle ", s.now())).IntN(4) == 0 {
			s.store.Settle()
		}
		select {
		case <-acted:
			done = s.now() > s.plan.storm && closed(records)
		default:
		}
		if s.Failed() || s.now() > s.plan.storm+settleTime {
			break
		}
	}
	close(over)
	processes.Wait()
	actors.Wait()
	s.requests.Wait()
	s.checkEnd()
}

func (s *simulation) records() (all []*core.Execution) {
	s.store.Each(func(e *core.Execution) { all = append(all, e) })
	return all
}

func (s *simulation) check(records []*core.Execution, opts CheckOptions) {
	s.Helper()
	all := slices.Values(records)
	if err := errors.Join(Check(all, time.Now(), opts), s.history.See(all, false)); err != nil {
		s.Errorf("seed %d, at %s: %s", s.seed, s.now(), s.names.In(err.Error()))
	}
}

// checkEnd checks what everything came to.
func (s *simulation) checkEnd() {
	s.Helper()
	records := s.records()
	s.check(records, CheckOptions{Settled: true})
	if err := s.ledger.Check(slices.Values(records), runsCode); err != nil {
		s.Errorf("seed %d: %s", s.seed, s.names.In(err.Error()))
	}
	client, err := core.NewClient(s.store, core.ClientOptions{})
	if err != nil {
		s.Fatal(err)
	}
	roots := map[string]*core.Execution{}
	for _, e := range records {
		if e.Parent == nil && !e.Kept {
			roots[e.ID] = e
		}
		// What crashed too often, or was cut off, tells nothing.
		if e.Failure != nil && e.Failure.Code != core.CodeFailed {
			s.unsure[e.RootID] = true
		}
	}
	for id, part := range s.enqueued {
		e := roots[id]
		if e == nil {
			s.Errorf("seed %d: root %s was acknowledged and does not exist", s.seed, id)
			continue
		}
		want, sure := part.expected()
		if !sure || s.unsure[id] {
			continue
		}
		if got := s.outcome(client, e); got != want {
			s.Errorf("seed %d: root %s came to %q, want %q", s.seed, id, got, want)
		}
	}
}

// outcome tells what a root came to, as a parent would see it.
func (s *simulation) outcome(c *core.Client, e *core.Execution) string {
	result := core.ChildResult{TaskID: e.TaskID, Status: e.Status}
	if e.Status == core.StatusCompleted {
		data, _, err := c.ResultJSON(s.ctx, e)
		if err != nil {
			return "broken: " + err.Error()
		}
		text := fmt.Sprintf(`{"task_id":%q,"status":%q,"output":%s}`, e.TaskID, e.Status, data)
		if err := result.UnmarshalJSON([]byte(text)); err != nil {
			return "broken: " + err.Error()
		}
	}
	return newProgram(s, nil).outcome(result)
}

func (s *simulation) report() SimReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	for _, line := range s.log {
		_, _ = io.WriteString(h, line+"\n") // a hash takes everything
	}
	return SimReport{
		Operations: len(s.log), Faults: s.faults, Crashes: s.crashes, Executions: s.store.Len(), Runs: s.ledger.Runs(), Took: s.now(),
		Digest: hex.EncodeToString(h.Sum(nil)[:8]),
	}
}

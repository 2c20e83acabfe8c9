package simtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Ledger is where the code of tasks notes that it runs. It stands outside of the store, as what code does to the world
// does.
type Ledger struct {
	mu     sync.Mutex
	runs   map[string][]*codeRun // by execution id
	broken []error
	total  int
}

// codeRun is one call of an execution's code.
type codeRun struct {
	process *Process
	began   time.Time
	ended   time.Time // zero while it runs
	until   time.Time // when its context ends
	info    core.Info
	failed  bool
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{runs: map[string][]*codeRun{}} }

// Process is one process that runs code, until it dies.
type Process struct {
	ledger *Ledger
	name   string
	died   time.Time
}

// Process returns a new process whose code notes its runs in l.
func (l *Ledger) Process(name string) *Process { return &Process{ledger: l, name: name} }

// Die ends the process: its code runs no more, whatever its goroutines do.
func (p *Process) Die() {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	if p.died.IsZero() {
		p.died = time.Now()
	}
}

// Begin notes that the code of the execution that ctx belongs to begins to run; ended notes that it returned, and
// whether with an error. Two live processes must not run an execution inside one lease, nor may one process run it twice.
func (p *Process) Begin(ctx context.Context) (ended func(err error)) {
	info, now := core.InfoOf(ctx), time.Now()
	l := p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.died.IsZero() {
		return func(error) {}
	}
	run := &codeRun{process: p, began: now, until: info.Deadline, info: info}
	for _, other := range l.runs[info.ExecutionID] {
		if other.ended.IsZero() && other.process.died.IsZero() && now.Before(other.until) {
			l.broken = append(l.broken, fmt.Errorf("execution %s: process %s runs its attempt %d at %s, while %s runs attempt %d since %s and may until %s",
				info.ExecutionID, p.name, info.Attempt, now, other.process.name, other.info.Attempt, other.began, other.until))
		}
	}
	l.runs[info.ExecutionID] = append(l.runs[info.ExecutionID], run)
	l.total++
	return func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if p.died.IsZero() {
			run.ended, run.failed = time.Now(), err != nil
		}
	}
}

// Runs returns how often code was run.
func (l *Ledger) Runs() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Check returns which runs overlapped that must not have, and which of the records are of completed executions whose code
// did not run to its end. coded tells which tasks have code that notes its runs.
func (l *Ledger) Check(records iter.Seq[*core.Execution], coded func(taskID string) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	broken := append([]error(nil), l.broken...)
	for e := range records {
		if e.Status != core.StatusCompleted || e.OutputOf != "" || !coded(e.TaskID) {
			continue
		}
		done := false
		for _, run := range l.runs[e.ID] {
			done = done || !run.ended.IsZero() && !run.failed
		}
		if !done {
			broken = append(broken, fmt.Errorf("execution %s of task %s: it completed, but its code never did", e.ID, e.TaskID))
		}
	}
	return errors.Join(broken...)
}

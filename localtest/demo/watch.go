package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/progress"
)

const (
	// lookEvery is the time between two looks at the job.
	lookEvery = 200 * time.Millisecond
	// standstill is after how long without a change it is said what the job waits for.
	standstill = time.Second
)

// tally says where the executions of a job, or of a part of it, are: each of them in one place.
type tally struct {
	toCome  int // not in the table yet: not enqueued, or a child that is put when it has run
	ready   int
	running int
	waiting int // for children
	done    int
	failed  int // or ended otherwise than completed
}

func (t tally) total() int { return t.toCome + t.ready + t.running + t.waiting + t.done + t.failed }

func (t tally) String() string {
	return fmt.Sprintf("%d executions: %d to come, %d ready, %d running, %d waiting for children, %d done, %d failed",
		t.total(), t.toCome, t.ready, t.running, t.waiting, t.done, t.failed)
}

func (t *tally) plus(u tally) {
	t.toCome += u.toCome
	t.ready += u.ready
	t.running += u.running
	t.waiting += u.waiting
	t.done += u.done
	t.failed += u.failed
}

// count adds an execution.
func (t *tally) count(e *core.Execution) {
	switch e.Status {
	case core.StatusReady:
		t.ready++
	case core.StatusRunning:
		t.running++
	case core.StatusWaitingForChildren, core.StatusWaitingForFinalize:
		t.waiting++
	case core.StatusCompleted:
		t.done++
	case core.StatusFailed, core.StatusTimedOut, core.StatusFinalizeFailed, core.StatusCancelled:
		t.failed++
	}
}

// file is one of the job's files: a root execution, and all below it.
type file struct {
	path     string
	expected int    // executions of its tree
	root     string // empty until it is enqueued
	finished bool
	counted  tally
}

// job is what the demo runs and looks at.
type job struct {
	store  core.Store // to look at it
	killed bool

	mu    sync.Mutex
	files []file
}

func newJob(store core.Store, in *input) *job {
	j := &job{store: store, files: make([]file, len(in.files))}
	for i, path := range in.files {
		j.files[i] = file{path: path, expected: in.executions[path], counted: tally{toCome: in.executions[path]}}
	}
	return j
}

// enqueued tells the job that a file is enqueued.
func (j *job) enqueued(i int, root string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files[i].root = root
}

// roots returns the ids of what is enqueued, in the order of the files.
func (j *job) roots() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for _, f := range j.files {
		if f.root != "" {
			ids = append(ids, f.root)
		}
	}
	return ids
}

// watch shows the progress until every file is done, and calls halfway once, when half of the executions are. also is added
// to what it shows; it and halfway may be nil.
func (j *job) watch(ctx context.Context, p *progress.Printer, also func() string, halfway func(tally) error) error {
	defer p.Step("counting the words of %d files", len(j.files))()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var last tally
	moved := time.Now()
	for {
		all, unfinished, err := j.look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return err
		}
		if all != last {
			last, moved = all, time.Now()
		}
		text := all.String()
		if also != nil {
			text += "; " + also()
		}
		if still := time.Since(moved); still >= standstill && len(unfinished) > 0 {
			text += "; waits for " + waitsFor(unfinished, time.Now(), j.killed)
		}
		p.Show("%s", text)
		if all.done+all.failed == all.total() {
			return nil
		}
		if halfway != nil && 2*(all.done+all.failed) >= all.total() {
			if err := halfway(all); err != nil {
				return err
			}
			halfway = nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// look reads where the executions are. It returns the unfinished ones as well.
func (j *job) look(ctx context.Context) (all tally, unfinished []*core.Execution, err error) {
	var open []int
	var ids []string
	j.mu.Lock()
	for i, f := range j.files {
		if f.root != "" && !f.finished {
			open, ids = append(open, i), append(ids, f.root)
		}
	}
	j.mu.Unlock()
	roots, err := j.store.Get(ctx, ids, core.Filter{})
	if err != nil {
		return all, nil, err
	}
	var parents []string
	for _, e := range roots {
		if e != nil && e.Family != nil && e.Status != core.StatusCompleted {
			parents = append(parents, e.ID)
		}
	}
	families := map[string][]*core.Execution{}
	if len(parents) > 0 {
		children, err := j.store.Children(ctx, parents)
		if err != nil {
			return all, nil, err
		}
		for i, id := range parents {
			families[id] = children[i]
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for k, e := range roots {
		if e == nil {
			continue
		}
		f := &j.files[open[k]]
		f.counted, f.finished = treeOf(e, families[e.ID], f.expected), e.Status.Finished()
		for _, e := range append([]*core.Execution{e}, families[e.ID]...) {
			if !e.Status.Finished() {
				unfinished = append(unfinished, e)
			}
		}
	}
	for _, f := range j.files {
		all.plus(f.counted)
	}
	return all, unfinished, nil
}

// treeOf returns where the executions of one file are.
func treeOf(root *core.Execution, children []*core.Execution, expected int) tally {
	if root.Family != nil {
		expected = 1 + root.Family.Size + 1 // itself, its children, and what merges their counts
	}
	if root.Status == core.StatusCompleted {
		return tally{done: expected}
	}
	var t tally
	t.count(root)
	for _, e := range children {
		t.count(e)
	}
	if !root.Status.Finished() { // what is missing of a tree that failed does not come any more
		t.toCome = max(0, expected-t.total())
	}
	return t
}

// waitsFor says what has to happen before a job that stands still goes on.
func waitsFor(unfinished []*core.Execution, now time.Time, killed bool) string {
	var next *core.Execution
	for _, e := range unfinished {
		if !e.DueAt.IsZero() && (next == nil || e.DueAt.Before(next.DueAt)) {
			next = e
		}
	}
	if next == nil {
		return "the children that are under way"
	}
	within := next.DueAt.Sub(now)
	if within <= 0 {
		return fmt.Sprintf("a function to take up what is due (queue %s); they are invoked every %s", next.Queue, tick)
	}
	what := "what is in queue " + string(next.Queue) + " to be due"
	switch next.Queue { //nolint:exhaustive // the others are named as they are
	case core.QueueRunning, core.QueueParentClaimed, core.QueueClosing:
		what = "a lease to end"
		if killed {
			what = "the lease of the process that was killed to end"
		}
	case core.QueueReady:
		what = "the time of a retry"
	case core.QueueParent:
		what = "the look whether all children of a parent exist"
		if killed {
			what = "the look for children that were lost with the process that was killed"
		}
	}
	return fmt.Sprintf("%s, in %.1f s", what, within.Seconds())
}

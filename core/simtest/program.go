package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Part is the input of every task of a simulated program: it says what the task does, and so what it comes to.
type Part struct {
	Kind  string        `json:"k"`
	Name  string        `json:"n"` // of its own in the program; a sleeper's key
	Takes time.Duration `json:"t,omitempty"`
	// Rounds is how many attempts fail before one succeeds, or how often a loop goes round besides its last.
	Rounds int    `json:"r,omitempty"`
	Fails  bool   `json:"f,omitempty"` // in the end, whatever it does before
	Parts  []Part `json:"p,omitempty"`
}

// The kinds of parts, by the ids of their tasks.
const (
	kindLeaf  = "part_leaf"
	kindPlain = "part_plain"
	kindFunc  = "part_func"
	kindTask  = "part_task"
	kindSeq   = "part_seq"
	kindLoop  = "part_loop"
	kindSleep = "part_sleep"
)

const (
	partAttempts = 3
	partTimeout  = 5 * time.Second
	sleepTimeout = 40 * time.Second
)

// newPart draws a part with at most depth levels below it.
func newPart(r *rand.Rand, name string, depth int) Part {
	kinds := []string{kindLeaf, kindLeaf, kindLeaf, kindSeq, kindLoop, kindSleep}
	if depth > 0 {
		kinds = []string{kindLeaf, kindPlain, kindFunc, kindFunc, kindTask, kindTask, kindSeq, kindLoop, kindSleep}
	}
	p := Part{Kind: kinds[r.IntN(len(kinds))], Name: name, Fails: r.IntN(10) == 0}
	if p.Kind != kindSleep {
		p.Takes = []time.Duration{0, 0, 0, 30 * time.Millisecond, 490 * time.Millisecond, 510 * time.Millisecond, 2 * time.Second}[r.IntN(7)]
	}
	if r.IntN(4) == 0 {
		p.Rounds = 1 + r.IntN(partAttempts-1)
	}
	switch p.Kind {
	case kindPlain, kindFunc, kindTask:
		n := r.IntN(6)
		if r.IntN(12) == 0 {
			n = []int{20, 25, 30, 30, core.CountDirect + 10}[r.IntN(5)]
			depth = 1
		}
		for i := range n {
			p.Parts = append(p.Parts, newPart(r, fmt.Sprintf("%s.%d", name, i), depth-1))
		}
	}
	return p
}

// sleepers returns the names of the sleepers in a part.
func (p Part) sleepers() (names []string) {
	if p.Kind == kindSleep {
		names = append(names, p.Name)
	}
	for _, part := range p.Parts {
		names = append(names, part.sleepers()...)
	}
	return names
}

// code is what each part's code does but for its output: it takes its time, and fails as often as it is told to. The time
// is a part's own to the nanosecond, so that no two end at once, also when all are cancelled together.
func (p Part) code(ctx context.Context, s *simulation) error {
	info := core.InfoOf(ctx)
	own := time.Duration(s.rand("code " + s.names.Of(info.ExecutionID)).Int64N(int64(time.Millisecond)))
	if _, err := takes(p.Takes+own)(ctx, 0); err != nil {
		time.Sleep(own)
		return err
	}
	switch {
	case p.Kind != kindLoop && info.Attempt <= p.Rounds:
		return errors.New("not yet")
	case p.Fails:
		return core.NonRetryable(errors.New("never"))
	}
	return nil
}

// program is the tasks of a simulated program, as one process has them.
type program struct {
	leaf, fn, task *core.Task[Part, string]
	plain          *core.Task[Part, core.Results[string]]
	seq            *core.Task[Part, string]
	loop           *core.Task[Part, core.LoopResult[string]]
	sleep          *core.Task[string, string]
	all            []core.Definition
}

func newProgram(s *simulation, p *Process) *program {
	opts := core.TaskOptions{Timeout: partTimeout, Retry: core.RetryPolicy{MaxAttempts: partAttempts, BaseDelay: 300 * time.Millisecond}}
	g := &program{}
	leaf := noted(p, func(ctx context.Context, in Part) (string, error) { return "leaf " + in.Name, in.code(ctx, s) })
	parent := notedParent(p, func(ctx context.Context, in Part) (string, []core.Child, error) {
		children := make([]core.Child, len(in.Parts))
		for i, part := range in.Parts {
			children[i] = g.child(part)
		}
		return in.Name, children, in.code(ctx, s)
	})
	combine := noted(p, func(_ context.Context, r core.Results[string]) (string, error) {
		outcomes := make([]string, len(r.Children))
		for i, c := range r.Children {
			outcomes[i] = g.outcome(c)
		}
		return combined(r.Output, outcomes), nil
	})
	g.leaf = core.NewTask(kindLeaf, leaf, opts)
	g.plain = core.NewParentTask(kindPlain, parent, opts)
	g.fn = core.NewParentTaskWithFinalize(kindFunc, parent, combine, opts)
	finalize := core.NewTask("part_finalize", combine, opts)
	g.task = core.NewParentTaskWithFinalizeTask(kindTask, parent, finalize, opts)
	step := core.NewTask("part_step", noted(p, func(ctx context.Context, in Part) (Part, error) {
		first := in
		first.Fails, first.Rounds = false, 0
		return in, first.code(ctx, s)
	}), opts)
	last := core.NewTask("part_last", leaf, opts)
	g.seq = core.NewSequentialTask(kindSeq, core.Then(core.Then(step, step), last), opts)
	iteration := core.NewTask("part_iteration", noted(p, func(ctx context.Context, in Part) (core.Iteration[Part, string], error) {
		if in.Rounds > 0 {
			next, now := in, in
			next.Rounds--
			now.Fails = false
			return core.AgainWith[Part, string](next), now.code(ctx, s)
		}
		return core.Done[Part]("loop " + in.Name), in.code(ctx, s)
	}), opts)
	g.loop = core.NewLoopingTask(kindLoop, iteration, core.LoopOptions{MaxIterations: 9, Sleep: 200 * time.Millisecond}, opts)
	g.sleep = core.NewSleepingTask[string](kindSleep, core.TaskOptions{Timeout: sleepTimeout})
	g.all = []core.Definition{g.leaf, g.plain, g.fn, finalize, g.task, step, last, g.seq, iteration, g.loop, g.sleep}
	return g
}

func (g *program) child(p Part) core.Child {
	switch p.Kind {
	case kindPlain:
		return g.plain.Child(p)
	case kindFunc:
		return g.fn.Child(p)
	case kindTask:
		return g.task.Child(p)
	case kindSeq:
		return g.seq.Child(p)
	case kindLoop:
		return g.loop.Child(p)
	case kindSleep:
		return g.sleep.Child(p.Name)
	}
	return g.leaf.Child(p)
}

// enqueue enqueues a part as a root.
func (g *program) enqueue(ctx context.Context, c *core.Client, p Part, opts core.EnqueueOptions) error {
	var err error
	switch p.Kind {
	case kindPlain:
		_, err = g.plain.EnqueueWith(ctx, c, p, opts)
	case kindFunc:
		_, err = g.fn.EnqueueWith(ctx, c, p, opts)
	case kindTask:
		_, err = g.task.EnqueueWith(ctx, c, p, opts)
	case kindSeq:
		_, err = g.seq.EnqueueWith(ctx, c, p, opts)
	case kindLoop:
		_, err = g.loop.EnqueueWith(ctx, c, p, opts)
	case kindSleep:
		_, err = g.sleep.EnqueueWith(ctx, c, p.Name, core.EnqueueOptions{})
	default:
		_, err = g.leaf.EnqueueWith(ctx, c, p, opts)
	}
	return err
}

// outcome tells as a text how a child ended and what it came to.
func (g *program) outcome(c core.ChildResult) string {
	if c.Status != core.StatusCompleted {
		return string(c.Status)
	}
	var out string
	var err error
	switch c.TaskID {
	case kindPlain:
		var r core.Results[string]
		if r, err = g.plain.Result(c); err == nil {
			outcomes := make([]string, len(r.Children))
			for i, child := range r.Children {
				outcomes[i] = string(child.Status)
			}
			out = combined(r.Output, outcomes)
		}
	case kindLoop:
		var r core.LoopResult[string]
		r, err = g.loop.Result(c)
		out = fmt.Sprintf("%s %t %d", r.Output, r.Succeeded, r.Iterations)
	case kindFunc:
		out, err = g.fn.Result(c)
	case kindTask:
		out, err = g.task.Result(c)
	case kindSeq:
		out, err = g.seq.Result(c)
	case kindSleep:
		out, err = g.sleep.Result(c)
	default:
		out, err = g.leaf.Result(c)
	}
	if err != nil {
		return "broken: " + err.Error()
	}
	return out
}

func combined(name string, outcomes []string) string {
	return name + "(" + strings.Join(outcomes, ", ") + ")"
}

// expected is what a part comes to: how it ends, and, as outcome tells it, its output. sure is false for what depends on who
// comes first: a sleeper, and whatever has one in it.
func (p Part) expected() (text string, sure bool) {
	if p.Kind == kindSleep {
		return "", false
	}
	if p.Fails {
		return string(core.StatusFailed), true
	}
	outcomes := make([]string, len(p.Parts))
	sure = true
	for i, part := range p.Parts {
		outcome, known := part.expected()
		if p.Kind == kindPlain && !strings.HasPrefix(outcome, string(core.StatusFailed)) {
			outcome = string(core.StatusCompleted)
		}
		outcomes[i] = outcome
		sure = sure && known
	}
	switch p.Kind {
	case kindPlain, kindFunc, kindTask:
		return combined(p.Name, outcomes), sure
	case kindLoop:
		return fmt.Sprintf("loop %s true %d", p.Name, p.Rounds+1), true
	}
	return "leaf " + p.Name, true
}

// runsCode reports whether a task of a simulated program has code that notes its runs.
func runsCode(taskID string) bool {
	return !slices.Contains([]string{kindSeq, kindLoop, kindSleep}, taskID)
}

package storewrap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// CoalescingOptions are the options of Coalescing; the zero value works.
type CoalescingOptions struct {
	// Batch is how many records one gathered call has at most. Default 100.
	Batch int
	// InFlight is how many gathered calls of one operation are under way at once. A call goes at once as long as
	// there are fewer, so that one that is alone never waits. Default 1.
	InFlight int
}

// Coalescing returns the store with the small calls of Insert, Update, CountFinished and of Get without a filter
// gathered: those that come while others are under way go together, as one call. Every caller gets the answer for its
// own records. A caller whose context ends stops waiting, with an error that matches core.ErrUnknownOutcome for a
// write; the call itself goes on for the others.
func Coalescing(store core.Store, opts CoalescingOptions) core.Store {
	if opts.Batch <= 0 {
		opts.Batch = 100
	}
	opts.InFlight = max(1, opts.InFlight)
	c := &coalescing{Store: store, batch: opts.Batch}
	c.insert = gather[*core.Execution, error]{opts: opts, call: func(ctx context.Context, all []*core.Execution) ([]error, error) {
		return store.Insert(ctx, all), nil
	}}
	c.update = gather[core.Update, error]{opts: opts, call: func(ctx context.Context, all []core.Update) ([]error, error) {
		return store.Update(ctx, all), nil
	}}
	c.count = gather[timedCount, core.CountResult]{opts: opts, call: func(ctx context.Context, all []timedCount) ([]core.CountResult, error) {
		counts := make([]core.Count, len(all))
		var now time.Time
		for i, c := range all {
			counts[i] = c.Count
			if c.now.After(now) {
				now = c.now
			}
		}
		return store.CountFinished(ctx, now, counts), nil
	}}
	c.get = gather[string, *core.Execution]{opts: opts, call: func(ctx context.Context, ids []string) ([]*core.Execution, error) {
		return store.Get(ctx, ids, core.Filter{})
	}}
	return c
}

type timedCount struct {
	core.Count
	now time.Time
}

type coalescing struct {
	core.Store
	batch  int
	insert gather[*core.Execution, error]
	update gather[core.Update, error]
	count  gather[timedCount, core.CountResult]
	get    gather[string, *core.Execution]
}

// unknown returns an error for each of n records whose caller did not wait for the answer.
func unknown(n int, cause error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = fmt.Errorf("%w: %w", core.ErrUnknownOutcome, cause)
	}
	return errs
}

func (c *coalescing) Insert(ctx context.Context, executions []*core.Execution) []error {
	if len(executions) >= c.batch {
		return c.Store.Insert(ctx, executions)
	}
	// A caller that gives up goes on with its records while the store works on them.
	own := make([]*core.Execution, len(executions))
	for i, e := range executions {
		if e != nil { // the store refuses it
			own[i] = e.Clone()
		}
	}
	errs, err := c.insert.do(ctx, own)
	if err != nil {
		return unknown(len(executions), err)
	}
	return errs
}

func (c *coalescing) Update(ctx context.Context, updates []core.Update) []error {
	if len(updates) >= c.batch {
		return c.Store.Update(ctx, updates)
	}
	own := make([]core.Update, len(updates))
	for i, u := range updates {
		if own[i] = u; u.After != nil { // the store refuses it
			own[i].After = u.After.Clone()
		}
	}
	errs, err := c.update.do(ctx, own)
	if err != nil {
		return unknown(len(updates), err)
	}
	return errs
}

func (c *coalescing) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	if len(counts) >= c.batch {
		return c.Store.CountFinished(ctx, now, counts)
	}
	timed := make([]timedCount, len(counts))
	for i, count := range counts {
		timed[i] = timedCount{count, now}
	}
	results, err := c.count.do(ctx, timed)
	if err != nil {
		results = make([]core.CountResult, len(counts))
		for i, err := range unknown(len(counts), err) {
			results[i].Err = err
		}
	}
	return results
}

func (c *coalescing) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	if filter != (core.Filter{}) || len(ids) >= c.batch {
		return c.Store.Get(ctx, ids, filter)
	}
	return c.get.do(ctx, ids)
}

// gather makes calls on many items out of calls on few.
type gather[In, Out any] struct {
	opts CoalescingOptions
	call func(ctx context.Context, all []In) ([]Out, error)

	mu       sync.Mutex
	waiting  []*gathered[In, Out]
	inFlight int
}

// gathered is one caller's part of a call.
type gathered[In, Out any] struct {
	in      []In
	out     []Out
	err     error
	answers chan struct{} // closed when out or err is set
}

func (g *gather[In, Out]) do(ctx context.Context, in []In) ([]Out, error) {
	if len(in) == 0 {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	mine := &gathered[In, Out]{in: in, answers: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, mine)
	lead := g.inFlight < g.opts.InFlight
	if lead {
		g.inFlight++
	}
	g.mu.Unlock()
	if lead {
		go g.work(context.WithoutCancel(ctx)) // the calls are everybody's: no caller's end may end them
	}
	select {
	case <-mine.answers:
		return mine.out, mine.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// work makes calls until nobody waits.
func (g *gather[In, Out]) work(ctx context.Context) {
	for {
		parts := g.take()
		if len(parts) == 0 {
			return
		}
		var all []In
		for _, p := range parts {
			all = append(all, p.in...)
		}
		out, err := g.call(ctx, all)
		for _, p := range parts {
			if p.err = err; err == nil {
				p.out, out = out[:len(p.in):len(p.in)], out[len(p.in):]
			}
			close(p.answers)
		}
	}
}

// take returns what the next call is made of; none ends the worker.
func (g *gather[In, Out]) take() []*gathered[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, items := 0, 0
	for n < len(g.waiting) && (n == 0 || items+len(g.waiting[n].in) <= g.opts.Batch) {
		items += len(g.waiting[n].in)
		n++
	}
	parts := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	if n == 0 {
		g.inFlight--
	}
	return parts
}

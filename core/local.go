package core

import (
	"context"
	"slices"
	"sync"
	"time"
)

// NewClient returns a client of the engine's store, with the engine's registry, codec and limits. While the engine
// runs in this process (Run, or Repeat of LoopStartReady) what the client enqueues is started here at once, as far as
// there is room, and put as running in the first place, which saves its claim; and Handle.Wait sees an end as soon as
// the engine wrote it. An execution that was started so waits for the end of its lease when the process dies, as any
// running one does.
func (e *Engine) NewClient(opts ClientOptions) (*Client, error) {
	opts.Registry, opts.Codec, opts.Limits = e.cfg.Registry, e.cfg.Codec, e.cfg.Limits
	c, err := NewClient(e.cfg.Store, opts)
	if err != nil {
		return nil, err
	}
	c.local, c.writer.local = &e.local, &e.local
	return c, nil
}

// NewClient is Engine.NewClient for a client whose follow-ups the executor does: a parent whose last child it wakes or
// cancels goes past it at once, where any other client leaves that to ProcessChildren. It calls no user code, so a parent
// with a finalize function is left all the same. The client is of no use after the executor's Flush.
func (x *Executor) NewClient(opts ClientOptions) (*Client, error) {
	c, err := x.Engine.NewClient(opts)
	if err == nil {
		c.executor = x
	}
	return c, err
}

// local is what the executors and clients of one engine tell each other, so that none has to look into the store for
// what is known in its process. A nil *local knows nothing.
type local struct {
	mu        sync.Mutex
	executors []*Executor // whose loop starts ready executions
	waiting   map[string][]chan<- struct{}
	hints     hints
}

// hint calls do for what is known of hints.
func (l *local) hint(do func(*hints)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.hints)
}

// hinted returns what is known of hints.
func (l *local) hinted() hints {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hints
}

// join makes an executor known until leave is called.
func (l *local) join(x *Executor) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.executors = append(l.executors, x)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.executors, x)
		l.executors = slices.Delete(l.executors, i, i+1)
	}
}

// executor returns one that starts ready executions, and lets nobody end it before done is called; nil when there is
// none.
func (l *local) executor() (x *Executor, done func()) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.executors {
		if x.begin() {
			return x, x.work.Done
		}
	}
	return nil, nil
}

// wait returns a channel that gets an element once somebody here finished the execution, and what ends that.
func (l *local) wait(id string) (finished <-chan struct{}, end func()) {
	if l == nil {
		return nil, func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[string][]chan<- struct{}{}
	}
	c := make(chan struct{}, 1)
	l.waiting[id] = append(l.waiting[id], c)
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if others := slices.DeleteFunc(l.waiting[id], func(o chan<- struct{}) bool { return o == c }); len(others) > 0 {
			l.waiting[id] = others
		} else {
			delete(l.waiting, id)
		}
	}
}

// wrote tells whom it concerns what became of an execution.
func (l *local) wrote(e *Execution) {
	switch {
	case l == nil:
	case e.Queue == QueueReady:
		l.expect(e.DueAt)
	case e.Status.Finished():
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.waiting[e.ID] {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// expect makes the executors look for ready executions at the given time.
func (l *local) expect(at time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.executors {
		x.expect(at)
	}
}

// insertNew puts new executions, and starts those that an executor here has room for. The errors are in the order of
// the executions.
func (c *Client) insertNew(ctx context.Context, executions []*Execution) []error {
	x, done := c.local.executor()
	if x == nil {
		return c.writer.insertAll(ctx, executions)
	}
	defer done()
	return x.insertNew(ctx, executions)
}

func (x *Executor) insertNew(ctx context.Context, executions []*Execution) []error {
	born := make([]*Execution, len(executions))
	for i, e := range executions {
		if born[i] = x.startBorn(ctx, e, false); born[i] == nil {
			born[i] = e
		}
	}
	errs := x.follow.insertAll(ctx, born)
	for i, e := range born {
		switch {
		case e == executions[i]:
			x.local.wrote(e)
		case errs[i] != nil:
			x.release(ctx)
		default:
			x.work.Go(func() { x.run(context.WithoutCancel(ctx), e) })
		}
	}
	return errs
}

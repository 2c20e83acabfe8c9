package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

var (
	chain10 = core.NewSequentialTask("chain10", core.Then(core.Then(core.Then(core.Then(core.Then(core.Then(core.Then(core.Then(core.Then(
		noop, noop), noop), noop), noop), noop), noop), noop), noop), noop), core.TaskOptions{})
	asleep = core.NewSleepingTask[int]("asleep", core.TaskOptions{})
	waits  = core.NewParentTask("waits", func(_ context.Context, key string) (int, []core.Child, error) {
		return 0, []core.Child{asleep.Child(key)}, nil
	}, core.TaskOptions{})
)

// timed returns how long f takes.
func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// run enqueues a task and waits for its result.
func run[In, Out any](ctx context.Context, c *core.Client, task *core.Task[In, Out], in In) (*core.Handle[Out], error) {
	h, err := task.Enqueue(ctx, c, in)
	if err == nil {
		_, err = h.Wait(ctx)
	}
	return h, err
}

// Single enqueues a no-op task and returns how long it took until that was started, by the record, and until its result
// was there, as its caller sees it.
func Single(ctx context.Context, c *core.Client) (start, result time.Duration, err error) {
	began := time.Now()
	h, err := run(ctx, c, noop, 1)
	if err != nil {
		return 0, 0, err
	}
	result = time.Since(began)
	e, err := h.Get(ctx)
	if err != nil {
		return 0, 0, err
	}
	return max(0, e.StartedAt.Sub(began)), result, nil
}

// Family returns how long a parent of 10 children takes.
func Family(ctx context.Context, c *core.Client) (time.Duration, error) {
	return timed(func() error { _, err := run(ctx, c, spread, 10); return err })
}

// Chain returns how long a sequence of 10 steps takes.
func Chain(ctx context.Context, c *core.Client) (time.Duration, error) {
	return timed(func() error { _, err := run(ctx, c, chain10, 1); return err })
}

// WakeUp returns how long it takes from the wake-up of a parent's sleeping child, by its task and key, until the parent
// is finished.
func WakeUp(ctx context.Context, c *core.Client, wake func(ctx context.Context, task, key string) error) (time.Duration, error) {
	key := core.NewID()
	h, err := waits.Enqueue(ctx, c, key)
	if err != nil {
		return 0, err
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		children, err := c.Children(ctx, h.ID())
		if err != nil {
			return 0, err
		}
		if len(children) == 1 && children[0].Sleeping() {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		}
	}
	return timed(func() error {
		if err := wake(ctx, asleep.ID(), key); err != nil {
			return err
		}
		_, err := h.Wait(ctx)
		return err
	})
}

// Timer enqueues a no-op task that is to start after a delay, and returns how late that was, by the record.
func Timer(ctx context.Context, c *core.Client, delay time.Duration) (time.Duration, error) {
	h, err := noop.EnqueueWith(ctx, c, 1, core.EnqueueOptions{Delay: delay})
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if _, err := h.Wait(ctx); err != nil {
		return 0, err
	}
	e, err := h.Get(ctx)
	if err != nil {
		return 0, err
	}
	if e.Attempts != 1 {
		return 0, fmt.Errorf("execution %s was started %d times", e.ID, e.Attempts)
	}
	return e.StartedAt.Sub(e.StartAt), nil
}

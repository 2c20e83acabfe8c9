package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// jammed is a store that takes nothing, as a throttled table under an AWS client: each call ends after 13 s of tries, or with
// its context, and its outcome is unknown.
type jammed struct {
	core.Store
	calls int
}

func (j *jammed) Insert(ctx context.Context, executions []*core.Execution) []error {
	j.calls++
	select {
	case <-time.After(13 * time.Second):
	case <-ctx.Done():
	}
	errs := make([]error, len(executions))
	for i := range errs {
		errs[i] = fmt.Errorf("%w: throttled: %w", core.ErrUnknownOutcome, ctx.Err())
	}
	return errs
}

// The writer's tries came on top of the client's: one enqueue made 72 requests in 77 s, longer than its function lives.
func TestEnqueue_EndsInSomeSecondsWhereTheStoreTakesNothing(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		failed := enqueueWith(w, double, 1, core.EnqueueOptions{ID: "old", Delay: time.Hour})
		if err := w.client.Cancel(w.ctx, failed.ID(), ""); err != nil {
			w.Fatal(err)
		}
		gone := errors.New("the caller hung up")
		for what, call := range map[string]func(context.Context, *core.Client) error{
			"enqueue": func(ctx context.Context, c *core.Client) error { _, err := double.Enqueue(ctx, c, 1); return err },
			"redrive": func(ctx context.Context, c *core.Client) error { _, err := c.Redrive(ctx, "old"); return err },
		} {
			store := &jammed{Store: w.store}
			client, err := core.NewClient(store, core.ClientOptions{})
			if err != nil {
				w.Fatal(err)
			}
			begin := time.Now()
			err = call(w.ctx, client)
			if took := time.Since(begin); took != 5*time.Second || store.calls > 2 || !errors.Is(err, core.ErrUnknownOutcome) {
				w.Errorf("%s took %s and %d calls: %v", what, took, store.calls, err)
			}
			ctx, cancel := context.WithTimeoutCause(w.ctx, time.Second, gone)
			begin = time.Now()
			err = call(ctx, client)
			cancel()
			if took := time.Since(begin); took != time.Second || !errors.Is(err, gone) {
				w.Errorf("%s of a caller that hung up took %s: %v", what, took, err)
			}
		}
	})
}

package docs_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// guarded runs f in a goroutine. A panic in it becomes an error, as one in the task's own goroutine does.
func guarded(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		done <- f()
	}()
	return done
}

func TestAPanicInAGuardedGoroutineFailsItsAttemptAlone(t *testing.T) {
	t.Parallel()
	branches := core.NewTask("branches", func(_ context.Context, n int) (int, error) {
		first := guarded(func() error { return nil })
		second := guarded(func() error {
			if n < 0 {
				panic("it is negative")
			}
			return nil
		})
		return n, errors.Join(<-first, <-second)
	}, core.TaskOptions{})
	coretest.Run(t, []core.Definition{branches}, func(w *coretest.World) {
		bad, good := coretest.Enqueue(w, branches, -1), coretest.Enqueue(w, branches, 1)
		if n := coretest.Wait(w, good); n != 1 {
			w.Errorf("it returned %d", n)
		}
		_, err := bad.Wait(context.Background())
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Status != core.StatusFailed || !strings.Contains(err.Error(), "panic: it is negative") {
			w.Errorf("it ended with %v", err)
		}
	})
}

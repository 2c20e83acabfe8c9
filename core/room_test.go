package core_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func TestPayloadsBoundHowManyAttemptsRun(t *testing.T) {
	for name, bytes := range map[string]int{"large": 100_000, "small": 100} {
		t.Run(name, func(t *testing.T) {
			var now, most atomic.Int64
			hold := core.NewTask("hold", func(context.Context, string) (int, error) {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Second)
				return 0, nil
			}, core.TaskOptions{})
			inIdleWorld(t, []core.Definition{hold}, func(w *world) {
				w.config.Concurrency, w.config.MaxPayload = 400, 4_000_000
				handles := make([]*core.Handle[int], 400)
				for i := range handles {
					handles[i] = enqueue(w, hold, strings.Repeat("x", bytes))
				}
				began := time.Now()
				stop := w.start()
				for _, h := range handles {
					wait(w, h)
				}
				took := time.Since(began)
				stop()
				// Of large ones as many as are begun before the first has told its size, then 40 at once.
				switch n := most.Load(); {
				case name == "large" && (n < 30 || n > 4_000_000/(64<<10)):
					t.Errorf("%d attempts ran at once, which have 100 KB each, of 4 MB", n)
				case name == "small" && (n < 200 || took > 4*time.Second):
					t.Errorf("%d attempts ran at once, in %s for all", n, took)
				}
			})
		})
	}
}

package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// watched notes when records are read.
type watched struct {
	core.Store
	reads []time.Time
}

func (s *watched) Get(ctx context.Context, ids []string, f core.Filter) ([]*core.Execution, error) {
	s.reads = append(s.reads, time.Now())
	return s.Store.Get(ctx, ids, f)
}

func TestACallerWaitsWithEverFewerReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, []core.Definition{double})
		store := &watched{Store: w.store}
		client, err := core.NewClient(store, core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		h := enqueue(w, double, 21) // nobody runs it
		why := errors.New("the caller is gone")
		ctx, cancel := context.WithCancelCause(w.ctx)
		began := time.Now()
		time.AfterFunc(time.Minute, func() { cancel(why) })
		_, err = double.HandleOf(client, h.ID()).Wait(ctx)
		if !errors.Is(err, why) || time.Since(began) != time.Minute {
			t.Errorf("after %s: error %v", time.Since(began), err)
		}
		if len(store.reads) < 3 || store.reads[0] != began || store.reads[1].Sub(began) != 20*time.Millisecond {
			t.Fatalf("it read at %v", store.reads)
		}
		for i := 2; i < len(store.reads); i++ {
			before, pause := store.reads[i-1].Sub(store.reads[i-2]), store.reads[i].Sub(store.reads[i-1])
			if pause < before || pause > time.Second {
				t.Errorf("read %d came %s after the one before, that one %s", i, pause, before)
			}
		}
		if n := len(store.reads); n > 80 {
			t.Errorf("%d reads in a minute", n)
		}
	})
}

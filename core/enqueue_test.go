package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func TestTheSameKeyGivesTheFirstExecution(t *testing.T) {
	inWorld(t, []core.Definition{double, half}, func(w *world) {
		keyed := core.EnqueueOptions{Key: "invoice 17 / überweisung"}
		first := enqueueWith(w, double, 21, keyed)
		if got := wait(w, first); got != 42 {
			w.Error(got)
		}
		again := enqueueWith(w, double, 21, keyed)
		if again.ID() != first.ID() || wait(w, again) != 42 || w.store.Len() != 1 {
			w.Errorf("%s and %s, %d records", first.ID(), again.ID(), w.store.Len())
		}
		if _, err := double.EnqueueWith(w.ctx, w.client, 22, keyed); !errors.Is(err, core.ErrAlreadyExists) || !strings.Contains(err.Error(), "another input") {
			w.Errorf("another input: error %v", err)
		}
		if _, err := half.EnqueueWith(w.ctx, w.client, 21, keyed); !errors.Is(err, core.ErrAlreadyExists) || !strings.Contains(err.Error(), "of task double") {
			w.Errorf("another task: error %v", err)
		}
		if id, err := w.client.EnqueueRaw(w.ctx, "double", []byte("21"), keyed); id != first.ID() || err != nil {
			w.Errorf("raw: id %s, error %v", id, err)
		}
	})
}

func TestBulkEnqueueTellsWhatBecameOfEachItem(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		enqueueWith(w, double, 0, core.EnqueueOptions{ID: "taken"})
		items := make([]core.BulkItem[int], 10_000)
		for i := range items {
			items[i].Input = i
		}
		items[17].Options.ID = "taken"
		items[4711].Options.Delay = -time.Second
		items[9998].Options.Key, items[9999].Options.Key = "k", "k"
		items[9999].Input = 9998
		var progress []int
		results := double.EnqueueMany(w.ctx, w.client, items, func(done int) { progress = append(progress, done) })
		for i, r := range results {
			switch i {
			case 17:
				if r.Handle != nil || !errors.Is(r.Err, core.ErrAlreadyExists) {
					w.Errorf("taken id: %+v", r)
				}
			case 4711:
				if r.Handle != nil || !errors.Is(r.Err, core.ErrInvalid) {
					w.Errorf("bad delay: %+v", r)
				}
			default:
				if r.Err != nil {
					w.Fatalf("item %d: %v", i, r.Err)
				}
			}
		}
		if results[9998].Handle.ID() != results[9999].Handle.ID() {
			w.Error("one key made two executions")
		}
		for i, r := range results[:100] {
			if i != 17 && wait(w, r.Handle) != 2*i {
				w.Errorf("item %d", i)
			}
		}
		if len(progress) != 100 || progress[99] != 10_000 {
			w.Errorf("progress %v", progress)
		}
		w.settle()
		if w.store.Len() != 9998 {
			w.Errorf("%d records", w.store.Len())
		}
	})
}

func TestABulkEnqueueThatIsStoppedSaysWhatWasNotTried(t *testing.T) {
	inWorld(t, []core.Definition{double}, func(w *world) {
		ctx, cancel := context.WithCancelCause(w.ctx)
		enough := errors.New("enough")
		results := double.EnqueueMany(ctx, w.client, make([]core.BulkItem[int], 1000), func(done int) {
			if done == 300 {
				cancel(enough)
			}
		})
		for i, r := range results {
			if tried := i < 300; (r.Handle != nil) != tried || !tried && !errors.Is(r.Err, enough) {
				w.Fatalf("item %d: %+v", i, r)
			}
		}
		w.settle()
	})
}

func TestATaskRefusesInputsThatItsCheckRefuses(t *testing.T) {
	limit := 10
	small := core.NewTask("small", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{
		Retry: core.RetryPolicy{MaxAttempts: 5},
	}).Validate(func(n int) error {
		if n > limit {
			return fmt.Errorf("%d is over %d", n, limit)
		}
		return nil
	})
	parent := core.NewParentTask("parent", func(_ context.Context, n int) (int, []core.Child, error) {
		return 0, []core.Child{small.Child(n)}, nil
	}, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(half, small), core.TaskOptions{})
	inWorld(t, []core.Definition{small, parent, half, seq}, func(w *world) {
		for _, err := range []error{
			func() error { _, err := small.Enqueue(w.ctx, w.client, 11); return err }(),
			func() error {
				_, err := w.client.EnqueueRaw(w.ctx, "small", []byte("11"), core.EnqueueOptions{})
				return err
			}(),
		} {
			if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "11 is over 10") || w.store.Len() != 0 {
				w.Errorf("error %v, %d records", err, w.store.Len())
			}
		}
		_, err := enqueue(w, parent, 11).Wait(w.ctx)
		if err == nil || !strings.Contains(err.Error(), "11 is over 10") {
			w.Errorf("as a child: error %v", err)
		}
		_, err = enqueue(w, seq, 22).Wait(w.ctx)
		if err == nil || !strings.Contains(err.Error(), "11 is over 10") {
			w.Errorf("as a step: error %v", err)
		}
		h := enqueueWith(w, small, 10, core.EnqueueOptions{Delay: time.Minute})
		limit = 9
		_, err = h.Wait(w.ctx)
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Failure.Code != core.CodeInvalid || w.get(h.ID()).Attempts != 1 {
			w.Errorf("before the run: error %v, attempt %d", err, w.get(h.ID()).Attempts)
		}
	})
}

func TestUnknownFieldsAreIgnoredOrRefused(t *testing.T) {
	t.Parallel()
	var v struct{ A int }
	if err := (core.JSON{}).Decode([]byte(`{"A":1,"B":2}`), &v); err != nil || v.A != 1 {
		t.Errorf("%+v, error %v", v, err)
	}
	if err := (core.JSON{Strict: true}).Decode([]byte(`{"A":1,"B":2}`), &v); err == nil || !strings.Contains(err.Error(), `"B"`) {
		t.Errorf("strict: error %v", err)
	}
}

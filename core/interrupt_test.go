package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// slowStore is a store some of whose operations take their time.
type slowStore struct {
	core.Store
	load, claim, get time.Duration
}

func (s slowStore) Load(ctx context.Context, p ...*core.Payload) error {
	time.Sleep(s.load)
	return s.Store.Load(ctx, p...)
}

// ClaimReady answers long after it has taken effect.
func (s slowStore) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	swept, err := s.Store.ClaimReady(ctx, c)
	if len(swept.Executions) > 0 {
		time.Sleep(s.claim)
	}
	return swept, err
}

func (s slowStore) Get(ctx context.Context, ids []string, f core.Filter) ([]*core.Execution, error) {
	time.Sleep(s.get)
	return s.Store.Get(ctx, ids, f)
}

func TestACancellationBeforeTheCodeBeginsKeepsItFromRunning(t *testing.T) {
	for name, slow := range map[string]slowStore{"while its input is read": {load: 10 * time.Second}, "while its claim is answered": {claim: 10 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			var began atomic.Bool
			code := core.NewTask("code", func(context.Context, string) (string, error) { began.Store(true); return "", nil }, core.TaskOptions{})
			inIdleWorld(t, []core.Definition{code, patient}, func(w *world) {
				slow.Store = w.store
				w.config.Store = slow
				defer w.start()()
				enqueue(w, patient, 1) // makes the executor ask for cancellations
				time.Sleep(15 * time.Second)
				h := enqueue(w, code, "x")
				time.Sleep(5 * time.Second)
				if e := w.get(h.ID()); e.Status != core.StatusRunning {
					w.Fatalf("it is %s", e.Status)
				}
				if err := h.Cancel(w.ctx, ""); err != nil {
					w.Fatal(err)
				}
				w.settle()
				if e := w.get(h.ID()); began.Load() || e.NeedsCancellation {
					w.Errorf("its code began: %t, flagged %t", began.Load(), e.NeedsCancellation)
				}
			})
		})
	}
}

func TestACancellationBeforeAFinalizeFunctionBeginsKeepsItFromRunning(t *testing.T) {
	var began atomic.Bool
	parent := core.NewParentTaskWithFinalize("parent", halves,
		func(context.Context, core.Results[string]) (string, error) { began.Store(true); return "", nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, half, patient}, func(w *world) {
		w.config.Store = slowStore{Store: w.store, get: 10 * time.Second}
		defer w.start()()
		h := enqueue(w, parent, []int{2})
		enqueue(w, patient, 1)
		for w.get(h.ID()).Family == nil || w.get(h.ID()).Family.Processing != core.ProcessingProcessing {
			time.Sleep(100 * time.Millisecond)
		}
		if err := h.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		w.settle()
		if began.Load() {
			w.Error("the finalize function was called")
		}
	})
}

func TestShutdownsGraceHoldsForWhatBeginsAfterIt(t *testing.T) {
	long := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Minute):
			return nil
		}
	}
	opts := core.TaskOptions{Timeout: time.Hour}
	late := core.NewTask("late", func(ctx context.Context, _ int) (int, error) { return 0, long(ctx) }, opts)
	finalized := core.NewParentTaskWithFinalize("finalized", func(ctx context.Context, _ int) (int, []core.Child, error) { return 0, nil, nil },
		func(ctx context.Context, _ core.Results[int]) (int, error) { return 0, long(ctx) }, opts)
	inIdleWorld(t, []core.Definition{late, finalized}, func(w *world) {
		w.config.Store = slowStore{Store: w.store, load: 3 * time.Second} // longer than the grace
		w.config.ShutdownGrace = 500 * time.Millisecond
		f := enqueue(w, finalized, 1)
		stop := w.start()
		for w.get(f.ID()).Family == nil || w.get(f.ID()).Family.Processing != core.ProcessingProcessing {
			time.Sleep(100 * time.Millisecond)
		}
		h := enqueue(w, late, 1)
		time.Sleep(time.Second)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 10*time.Second {
			w.Errorf("the shutdown took %s", took)
		}
		if e := w.get(h.ID()); e.Status != core.StatusReady || e.Attempts != 0 {
			w.Errorf("it is %s after %d attempts", e.Status, e.Attempts)
		}
		if e := w.get(f.ID()); e.Status.Finished() || e.Family.Processing == core.ProcessingProcessing {
			w.Errorf("the parent is %s, %s", e.Status, e.Family.Processing)
		}
	})
}

// lines is what a logger wrote.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

func TestCodeThatNeverReturnsHoldsNeitherItsSlotNorItsInvocation(t *testing.T) {
	inIdleWorld(t, []core.Definition{double}, func(w *world) {
		over := make(chan struct{})
		hung := core.NewTask("hung", func(context.Context, int) (int, error) { <-over; return 0, nil }, core.TaskOptions{Timeout: time.Second})
		var log lines
		var err error
		if w.config.Registry, err = core.NewRegistry(hung, double); err != nil {
			w.Fatal(err)
		}
		w.config.Logger, w.config.Concurrency = slog.New(slog.NewTextHandler(&log, nil)), 1
		hanging := make([]*core.Handle[int], 3)
		for i := range hanging {
			hanging[i] = enqueue(w, hung, i)
		}
		h := enqueue(w, double, 21)
		x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(15 * time.Minute)})
		begun := time.Now()
		if _, err := x.Repeat(w.ctx, core.LoopStartReady, begun.Add(time.Second)); err != nil {
			w.Fatal(err)
		}
		x.Flush()
		if took := time.Since(begun); took > 3*time.Minute {
			w.Errorf("the invocation took %s", took)
		}
		if got := wait(w, h); got != 42 {
			w.Error(got)
		}
		for _, h := range hanging {
			var ended *core.ExecutionError
			if _, err := h.Wait(w.ctx); !errors.As(err, &ended) || ended.Status != core.StatusTimedOut {
				w.Errorf("error %v", err)
			}
		}
		if !log.has("level=ERROR", "code of the task goes on", "task_id=hung") {
			w.Error("no line names the task whose code hangs")
		}
		close(over)
	})
}

func TestAnInvocationDoesNotWaitForCodeThatNeverReturns(t *testing.T) {
	inIdleWorld(t, []core.Definition{double}, func(w *world) {
		over := make(chan struct{})
		hung := core.NewTask("hung", func(context.Context, int) (int, error) { <-over; return 0, nil }, core.TaskOptions{Timeout: time.Second})
		var err error
		if w.config.Registry, err = core.NewRegistry(hung); err != nil {
			w.Fatal(err)
		}
		for name, invoke := range map[string]func(*core.Executor, string) error{
			"tick": func(x *core.Executor, _ string) error {
				_, err := x.Repeat(w.ctx, core.LoopStartReady, time.Now().Add(time.Second))
				return err
			},
			"stream": func(x *core.Executor, id string) error {
				_, err := x.StartHinted(w.ctx, []core.Hint{{ID: id}}, time.Now().Add(time.Second))
				return err
			},
		} {
			h := enqueue(w, hung, 1)
			x := w.engine().NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(15 * time.Minute)})
			begun := time.Now()
			if err := invoke(x, h.ID()); err != nil {
				w.Fatal(err)
			}
			x.Flush()
			if took := time.Since(begun); took > 10*time.Second {
				w.Errorf("%s: the invocation took %s", name, took)
			}
		}
		close(over)
		time.Sleep(time.Hour)
	})
}

func TestAParentWhoseCountedChildIsGoneFails(t *testing.T) {
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{double.Child(1), approval.Child("k"), double.Child(2)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, double, approval}, func(w *world) {
		h := enqueue(w, parent, 0)
		w.settle()
		gone := w.get(h.ID()).ChildID(2)
		if err := w.store.Delete(w.ctx, gone); err != nil {
			w.Fatal(err)
		}
		if _, err := wakeup(w, "k", "yes"); err != nil {
			w.Fatal(err)
		}
		_, err := h.Wait(w.ctx)
		var ended *core.ExecutionError
		if !errors.As(err, &ended) || ended.Status != core.StatusFailed || ended.Failure.Code != core.CodeInvalid || !strings.Contains(ended.Error(), gone) {
			w.Errorf("error %v", err)
		}
	})
}

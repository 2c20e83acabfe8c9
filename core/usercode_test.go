package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// nilError is an error whose method needs its receiver.
type nilError struct{ s string }

func (e *nilError) Error() string { return e.s }

// wildError is an error each of whose methods is a function of the test's.
type wildError struct {
	text   func() string
	unwrap func() error
	as     func(any) bool
}

func (e wildError) Error() string { return e.text() }
func (e wildError) Unwrap() error { return e.unwrap() }
func (e wildError) As(v any) bool { return e.as(v) }
func (e wildError) Is(error) bool { panic("Is") }

func wild() wildError {
	return wildError{
		text: func() string { return "wild" }, unwrap: func() error { return nil }, as: func(any) bool { return false },
	}
}

func TestAnErrorWhoseMethodsMisbehaveFailsItsAttemptAlone(t *testing.T) {
	typedNil := (*nilError)(nil)
	panics, exits, cyclic, hangs, asks := wild(), wild(), wild(), wild(), wild()
	panics.text = func() string { panic("Error") }
	exits.text = func() string { runtime.Goexit(); return "" }
	cyclic.unwrap = func() error { return cyclic }
	hangs.text = func() string { time.Sleep(time.Hour); return "" }
	asks.as = func(any) bool { panic("As") }
	unwraps := wild()
	unwraps.unwrap = func() error { panic("Unwrap") }
	for name, c := range map[string]struct {
		err  error
		code core.FailureCode
		text string
	}{
		"a typed nil":                 {typedNil, core.CodePanicked, "nil pointer"},
		"a typed nil that is wrapped": {core.NonRetryable(typedNil), core.CodePanicked, "nil pointer"},
		"Error panics":                {panics, core.CodePanicked, "panic: Error"},
		"Error ends the goroutine":    {exits, core.CodeFailed, "ended its goroutine"},
		"Error never returns":         {hangs, core.CodeTimedOut, "its code went on"},
		"Unwrap returns itself":       {cyclic, core.CodeFailed, "wild"},
		"Unwrap panics":               {unwraps, core.CodePanicked, "panic: Unwrap"},
		"As panics":                   {asks, core.CodeFailed, "wild"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := core.NewTask("bad", func(context.Context, int) (int, error) { return 0, c.err }, core.TaskOptions{})
			good := core.NewTask("good", func(ctx context.Context, n int) (int, error) {
				select { // it runs beside the bad one's end
				case <-time.After(10 * time.Second):
				case <-ctx.Done():
				}
				return n, ctx.Err()
			}, core.TaskOptions{})
			finalized := core.NewParentTaskWithFinalize("finalized", func(context.Context, int) (int, []core.Child, error) { return 0, nil, nil },
				func(context.Context, core.Results[int]) (int, error) { return 0, c.err }, core.TaskOptions{})
			inWorld(t, []core.Definition{bad, good, finalized}, func(w *world) {
				other := enqueue(w, good, 7)
				for _, h := range []*core.Handle[int]{enqueue(w, bad, 1), enqueue(w, finalized, 1)} {
					_, err := h.Wait(w.ctx)
					var ended *core.ExecutionError
					if !errors.As(err, &ended) || ended.Failure.Code != c.code || !strings.Contains(ended.Failure.Message, c.text) {
						w.Errorf("error %v, want code %s and %q", err, c.code, c.text)
					}
				}
				if got := wait(w, other); got != 7 {
					w.Error(got)
				}
				time.Sleep(2 * time.Hour) // what hangs ends, for the test to end
			})
		})
	}
}

// moody is a value whose methods misbehave when it says so.
type moody struct{ Mood string }

var errMoody = errors.New("moody")

func (m moody) do() error {
	switch m.Mood {
	case "panic":
		panic("moody")
	case "exit":
		runtime.Goexit()
	case "error":
		return errMoody
	}
	return nil
}

// marshals misbehaves when it is encoded, unmarshals when it is decoded, a moody one that is told so.
type marshals moody

func (m marshals) MarshalJSON() ([]byte, error) {
	if err := moody(m).do(); err != nil {
		return nil, err
	}
	return json.Marshal(moody(m))
}

type unmarshals moody

func (m *unmarshals) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, (*moody)(m)); err != nil {
		return err
	}
	return moody(*m).do()
}

var moods = []string{"panic", "exit", "error"}

func TestAValueWhoseMethodsMisbehaveIsRefusedAtEnqueue(t *testing.T) {
	encoded := core.NewTask("encoded", func(context.Context, marshals) (int, error) { return 0, nil }, core.TaskOptions{})
	decoded := core.NewTask("decoded", func(context.Context, unmarshals) (int, error) { return 0, nil }, core.TaskOptions{})
	validated := core.NewTask("validated", func(context.Context, moody) (int, error) { return 0, nil }, core.TaskOptions{}).
		Validate(func(m moody) error { return m.do() })
	answer := core.NewSleepingTask[marshals]("answer", core.TaskOptions{})
	answered := core.NewSleepingTask[unmarshals]("answered", core.TaskOptions{})
	inWorld(t, []core.Definition{encoded, decoded, validated, answer, answered}, func(w *world) {
		for _, mood := range moods {
			raw := []byte(`{"Mood":"` + mood + `"}`)
			for name, enqueue := range map[string]func() error{
				"MarshalJSON": func() error { _, err := encoded.Enqueue(w.ctx, w.client, marshals{mood}); return err },
				"MarshalJSON of one of many": func() error {
					results := encoded.EnqueueMany(w.ctx, w.client, []core.BulkItem[marshals]{{Input: marshals{}}, {Input: marshals{mood}}}, nil)
					if results[0].Err != nil {
						w.Errorf("%s: beside it: %v", mood, results[0].Err)
					}
					return results[1].Err
				},
				"UnmarshalJSON": func() error {
					_, err := w.client.EnqueueRaw(w.ctx, "decoded", raw, core.EnqueueOptions{})
					return err
				},
				"Validate": func() error { _, err := validated.Enqueue(w.ctx, w.client, moody{mood}); return err },
				"Validate of raw": func() error {
					_, err := w.client.EnqueueRaw(w.ctx, "validated", raw, core.EnqueueOptions{})
					return err
				},
				"MarshalJSON of a wake-up": func() error {
					_, err := core.Wakeup(w.ctx, w.client, answer, "k", marshals{mood})
					return err
				},
				"UnmarshalJSON of a wake-up": func() error {
					_, err := w.client.WakeupRaw(w.ctx, "answered", "k", raw, "")
					return err
				},
			} {
				if err := enqueue(); !errors.Is(err, core.ErrInvalid) || mood == "error" && !errors.Is(err, errMoody) {
					w.Errorf("%s, %s: error %v", name, mood, err)
				}
			}
		}
		if _, err := core.WakeupWithError(w.ctx, w.client, answer, "k", (*nilError)(nil)); !errors.Is(err, core.ErrInvalid) {
			w.Errorf("a wake-up with a typed nil error: %v", err)
		}
		w.store.Each(func(e *core.Execution) {
			if e.TaskID != "encoded" {
				w.Errorf("something was written: %+v", e)
			}
		})
		w.settle()
	})
}

func TestAMethodThatMisbehavesInTheEngineFailsWhatItBelongsToAlone(t *testing.T) {
	for _, mood := range moods {
		t.Run(mood, func(t *testing.T) {
			var validations atomic.Int32
			opts := core.TaskOptions{}
			simple := core.NewTask("simple", func(context.Context, moody) (int, error) { return 0, nil }, opts)
			validated := core.NewTask("validated", func(context.Context, string) (int, error) { return 0, nil }, opts).
				Validate(func(m string) error {
					if validations.Add(1) == 1 {
						return nil // at enqueue
					}
					return moody{m}.do()
				})
			picky := core.NewTask("picky", func(context.Context, moody) (int, error) { return 0, nil }, opts).
				Validate(func(m moody) error { return m.do() })
			encoded := core.NewTask("encoded", func(context.Context, marshals) (int, error) { return 0, nil }, opts)
			decoded := core.NewTask("decoded", func(context.Context, unmarshals) (int, error) { return 0, nil }, opts)
			parent := func(id string, child func(string) core.Child) *core.Task[string, core.Results[int]] {
				return core.NewParentTask(id, func(_ context.Context, m string) (int, []core.Child, error) {
					return 0, []core.Child{simple.Child(moody{}), child(m)}, nil
				}, opts)
			}
			validates := parent("validates", func(m string) core.Child { return picky.Child(moody{m}) })
			encodes := parent("encodes", func(m string) core.Child { return encoded.Child(marshals{m}) })
			decodes := parent("decodes", func(m string) core.Child { return decoded.Child(unmarshals{m}) })
			output := core.NewTask("output", func(_ context.Context, m string) (marshals, error) { return marshals{m}, nil }, opts)

			iteration := core.NewTask("iteration", func(_ context.Context, m unmarshals) (core.Iteration[unmarshals, unmarshals], error) {
				return core.AgainWith[unmarshals, unmarshals](unmarshals{"panic"}), nil
			}, opts)
			loop := core.NewLoopingTask("loop", iteration, core.LoopOptions{MaxIterations: 3}, opts)
			last := core.NewTask("last", func(_ context.Context, m unmarshals) (core.Iteration[unmarshals, unmarshals], error) {
				return core.Done[unmarshals](unmarshals{"panic"}), nil
			}, opts)
			result := core.NewLoopingTask("result", last, core.LoopOptions{MaxIterations: 3}, opts)
			again := core.NewTask("again", func(context.Context, int) (core.Iteration[int, int], error) { return core.Again[int, int](), nil }, opts)
			pauses := core.NewLoopingTask("pauses", again, core.LoopOptions{
				MaxIterations: 3, SleepFor: func(int) time.Duration { _ = moody{mood}.do(); return 0 },
			}, opts)
			good := core.NewTask("good", func(ctx context.Context, n int) (int, error) {
				select {
				case <-time.After(10 * time.Second):
				case <-ctx.Done():
				}
				return n, ctx.Err()
			}, opts)
			tasks := []core.Definition{simple, validated, picky, encoded, decoded, validates, encodes, decodes, output,
				iteration, loop, last, result, again, pauses, good}
			inWorld(t, tasks, func(w *world) {
				other := enqueue(w, good, 7)
				ids := map[string]string{
					"validated": enqueue(w, validated, mood).ID(),
					"validates": enqueue(w, validates, mood).ID(),
					"encodes":   enqueue(w, encodes, mood).ID(),
					"decodes":   enqueue(w, decodes, mood).ID(),
					"output":    enqueue(w, output, mood).ID(),
					"pauses":    enqueue(w, pauses, 0).ID(),
					"loop":      enqueue(w, loop, unmarshals{}).ID(),
					"result":    enqueue(w, result, unmarshals{}).ID(),
				}
				time.Sleep(3 * time.Hour) // what does not decode waits an hour for somebody who can
				for name, id := range ids {
					e := w.get(id)
					if name == "pauses" && mood == "error" {
						continue
					}
					if e.Status != core.StatusFailed {
						w.Errorf("%s: %s is %s: %v", mood, name, e.Status, e.Failure)
					}
				}
				if got := wait(w, other); got != 7 {
					w.Error(got)
				}
			})
		})
	}
}

// wildCodec is JSON that panics for one text.
type wildCodec struct{ core.JSON }

func (c wildCodec) Encode(v any) ([]byte, error) {
	if v == "encode" {
		panic("encode")
	}
	return c.JSON.Encode(v)
}

func (c wildCodec) Decode(data []byte, v any) error {
	if string(data) == `"decode"` {
		panic("decode")
	}
	return c.JSON.Decode(data, v)
}

func TestACodecThatPanicsFailsTheAttemptAlone(t *testing.T) {
	echo := core.NewTask("echo", func(_ context.Context, s string) (string, error) { return "encode", nil }, core.TaskOptions{})
	key := core.NewTask("key", func(_ context.Context, s string) (string, error) { return "decode", nil }, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(key, approval), core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, string) (int, []core.Child, error) {
		return 0, []core.Child{echo.Child("encode")}, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{echo, key, chain, parent, approval}, func(w *world) {
		w.config.Codec = wildCodec{}
		client, err := core.NewClient(w.store, core.ClientOptions{Codec: wildCodec{}})
		if err != nil {
			w.Fatal(err)
		}
		w.client = client
		defer w.start()()
		ids := []string{enqueue(w, echo, "x").ID(), enqueue(w, chain, "x").ID(), enqueue(w, parent, "x").ID()}
		if _, err := echo.Enqueue(w.ctx, w.client, "encode"); !errors.Is(err, core.ErrInvalid) {
			w.Errorf("at enqueue: error %v", err)
		}
		w.settle()
		for _, id := range ids {
			if e := w.get(id); e.Status != core.StatusFailed {
				w.Errorf("%s is %s: %v", e.TaskID, e.Status, e.Failure)
			}
		}
	})
}

// wildHandler is a log handler that panics.
type wildHandler struct{ slog.Handler }

func (wildHandler) Handle(context.Context, slog.Record) error { panic("handle") }
func (wildHandler) WithAttrs([]slog.Attr) slog.Handler        { panic("attributes") }
func (wildHandler) Enabled(context.Context, slog.Level) bool  { return true }

func TestAnObserverOrALoggerThatPanicsHurtsNothing(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panic": func() { panic("observer") }, "exit": runtime.Goexit, "hang": func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			observer := core.Observer{
				AttemptStarted: func(context.Context, core.AttemptStarted) context.Context { misbehave(); return nil },
				AttemptEnded:   func(context.Context, core.AttemptEnded) { misbehave() },
				Finished:       func(context.Context, *core.Execution) { misbehave() },
				Recovered:      func(context.Context, core.Recovered) { misbehave() },
			}
			parent := core.NewParentTaskWithFinalize("parent", halves, sum, core.TaskOptions{})
			inIdleWorld(t, []core.Definition{parent, half, approval}, func(w *world) {
				w.config.Observer = observer
				w.config.Logger = slog.New(wildHandler{slog.NewTextHandler(io.Discard, nil)})
				client, err := core.NewClient(w.store, core.ClientOptions{Observer: observer, Logger: w.config.Logger})
				if err != nil {
					w.Fatal(err)
				}
				w.client = client
				dead := enqueue(w, half, 2)
				w.claim(dead.ID())
				defer w.start()()
				h := enqueue(w, parent, []int{1, 2, 4, 6})
				if got := wait(w, h); got != halvesOf1246 {
					w.Error(got)
				}
				if got := wait(w, dead); got != 1 {
					w.Error(got)
				}
				if err := enqueueWith(w, half, 2, core.EnqueueOptions{Delay: time.Hour}).Cancel(w.ctx, ""); err != nil {
					w.Error(err)
				}
				time.Sleep(2 * time.Hour) // what hangs ends, for the test to end
			})
		})
	}
}

func TestAnObserverThatReturnsAnotherContextEndsNobodysCode(t *testing.T) {
	type key struct{}
	seen := core.NewTask("seen", func(ctx context.Context, _ int) (bool, error) { return ctx.Value(key{}) == "here", ctx.Err() }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{seen}, func(w *world) {
		w.config.Observer.AttemptStarted = func(ctx context.Context, _ core.AttemptStarted) context.Context {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, "here"))
			cancel()
			return ctx
		}
		defer w.start()()
		if got := wait(w, enqueue(w, seen, 1)); !got {
			w.Error("the observer's value is not there")
		}
	})
}

// Package fmt prints such a value until the stack is full, which ends the process.
func TestAPanicWithAValueThatContainsItselfFailsItsAttemptAlone(t *testing.T) {
	cyclic := map[string]any{}
	cyclic["again"] = []any{cyclic}
	list := []any{1, nil}
	list[1] = &list
	for name, c := range map[string]struct {
		value any
		text  string
	}{
		"a map in itself":      {cyclic, "panic: map[string]interface {}"},
		"a list through a map": {[]any{cyclic}, "panic: []interface {}"},
		"a list by a pointer":  {list, "panic: [1 0x"},
		"very much":            {make([]int, 1<<20), "panic: []int"},
		"a struct":             {struct{ Code int }{7}, "panic: {7}"},
		"a pointer to one":     {&struct{ Code int }{7}, "panic: &{7}"},
		"a nil pointer":        {(*int)(nil), "panic: <nil>"},
		"an error":             {errMoody, "panic: moody"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := core.NewTask("bad", func(context.Context, int) (int, error) { panic(c.value) }, core.TaskOptions{})
			inWorld(t, []core.Definition{bad}, func(w *world) {
				if f := ended(w, enqueue(w, bad, 1)).Failure; f.Code != core.CodePanicked || !strings.HasPrefix(f.Message, c.text) {
					w.Errorf("%s: %q, want %q", f.Code, f.Message, c.text)
				}
			})
		})
	}
}

// funcHandler is a log handler that does what a test wants with each line.
type funcHandler struct {
	slog.Handler
	handle func()
}

func (h funcHandler) Handle(context.Context, slog.Record) error { h.handle(); return nil }
func (h funcHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (funcHandler) Enabled(context.Context, slog.Level) bool    { return true }

// The line that tells of a recovered attempt ended the loop that recovers them.
func TestALogHandlerThatDoesNotReturnEndsNoLoop(t *testing.T) {
	for name, handle := range map[string]func(){"exit": runtime.Goexit, "hang": func() { time.Sleep(time.Hour) }} {
		t.Run(name, func(t *testing.T) {
			inIdleWorld(t, []core.Definition{half}, func(w *world) {
				w.config.Logger = slog.New(funcHandler{slog.DiscardHandler, handle})
				var dead []*core.Handle[int]
				for _, timeout := range []time.Duration{time.Minute, 20 * time.Minute, 40 * time.Minute} {
					h := enqueueWith(w, half, 2, core.EnqueueOptions{Timeout: timeout})
					w.claim(h.ID()) // its lease is over later than that of the one before
					dead = append(dead, h)
				}
				defer w.start()()
				time.Sleep(2 * time.Hour)
				for i, h := range dead {
					if e := w.get(h.ID()); e.Status != core.StatusCompleted {
						w.Errorf("number %d is %s", i, e.Status)
					}
				}
				time.Sleep(2 * time.Hour) // what hangs ends, for the test to end
			})
		})
	}
}

func TestAnObserverBehindOneThatPanicsIsToldAllTheSame(t *testing.T) {
	for name, misbehave := range map[string]func(){"panic": func() { panic("observer") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var started, finished, passes atomic.Int32
			var others atomic.Int32
			inIdleWorld(t, []core.Definition{half}, func(w *world) {
				w.config.Observer = core.Observers(core.Observer{
					AttemptStarted: func(context.Context, core.AttemptStarted) context.Context { misbehave(); return nil },
					AttemptEnded:   func(context.Context, core.AttemptEnded) { misbehave() },
					Finished:       func(context.Context, *core.Execution) { misbehave() },
					PassDone:       func(context.Context, core.PassDone) { misbehave() },
				}, core.Observer{
					AttemptStarted: func(ctx context.Context, _ core.AttemptStarted) context.Context { started.Add(1); return ctx },
					AttemptEnded:   func(context.Context, core.AttemptEnded) { others.Add(1) },
					Finished:       func(context.Context, *core.Execution) { finished.Add(1) },
					PassDone:       func(context.Context, core.PassDone) { passes.Add(1) },
				})
				defer w.start()()
				if got := wait(w, enqueue(w, half, 2)); got != 1 {
					w.Error(got)
				}
				w.settle()
				if started.Load() != 1 || others.Load() != 1 || finished.Load() != 1 || passes.Load() == 0 {
					w.Errorf("told of %d starts, %d ends, %d finished, %d passes", started.Load(), others.Load(), finished.Load(), passes.Load())
				}
			})
		})
	}
}

func TestAnOutputWhoseMethodsMisbehaveIsAnErrorOfWait(t *testing.T) {
	out := core.NewTask("out", func(_ context.Context, mood string) (unmarshals, error) { return unmarshals{mood}, nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{out}, func(w *world) {
		for _, mood := range moods {
			if _, err := enqueue(w, out, mood).Wait(w.ctx); err == nil || mood == "error" && !errors.Is(err, errMoody) {
				w.Errorf("%s: error %v", mood, err)
			}
		}
	})
}

// errors.Is and errors.As, as the enqueue function uses them, called the methods of the error that Validate returned.
func TestAnErrorOfValidateThatMisbehavesIsAskedSafely(t *testing.T) {
	panics, cyclic := wild(), wild()
	panics.as = func(any) bool { panic("As") }
	cyclic.unwrap = func() error { return cyclic }
	picky := core.NewTask("picky", func(context.Context, string) (int, error) { return 0, nil }, core.TaskOptions{}).
		Validate(func(which string) error {
			switch which {
			case "panics":
				return panics
			case "cyclic":
				return cyclic
			}
			return core.Fail("mine", errMoody, nil)
		})
	inWorld(t, []core.Definition{picky}, func(w *world) {
		for _, which := range []string{"panics", "cyclic"} {
			_, err := picky.Enqueue(w.ctx, w.client, which)
			var limit *json.SyntaxError
			if !errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrNotFound) || errors.As(err, &limit) {
				w.Errorf("%s: error %v", which, err)
			}
		}
		_, err := picky.Enqueue(w.ctx, w.client, "")
		var fail *core.FailError
		if !errors.Is(err, errMoody) || !errors.As(err, &fail) || fail.Code != "mine" {
			w.Errorf("error %v", err)
		}
	})
}

package handler

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestUserCodeThatPanicsDoesNotFailTheInvocation(t *testing.T) {
	t.Parallel()
	picky := core.NewTask("picky", func(context.Context, int) (int, error) { panic("run") }, core.TaskOptions{}).
		Validate(func(n int) error {
			if n > 1 {
				panic("validate")
			}
			return nil
		})
	var log strings.Builder
	app := &App{
		Config: Config{Tick: time.Millisecond}, Store: memstore.New(memstore.Options{}), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Options: Options{
			Observer: core.Observer{Finished: func(context.Context, *core.Execution) { panic("observer") }},
			Flush:    func(context.Context) error { panic("flush") },
		},
	}
	tasks := func() (*core.Registry, error) { return core.NewRegistry(picky) }
	enqueue, err := app.Enqueue(tasks)
	if err != nil {
		t.Fatal(err)
	}
	start, err := app.Loop(core.LoopStartReady, tasks)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := enqueue(t.Context(), json.RawMessage(`{"action":"enqueue","task":"picky","input":2}`)); err != nil || r.Error == nil || r.Error.Code != CodeBadRequest {
		t.Errorf("%+v, error %v", r.Error, err)
	}
	if r, err := enqueue(t.Context(), json.RawMessage(`{"action":"enqueue","task":"picky","input":1,"execution_id":"a"}`)); err != nil || r.Error != nil {
		t.Errorf("%+v, error %v", r.Error, err)
	}
	if _, err := start(t.Context(), nil); err != nil {
		t.Error(err)
	}
	r, err := enqueue(t.Context(), json.RawMessage(`{"action":"get","execution_id":"a"}`))
	if err != nil || r.Status != core.StatusFailed || r.Failure.Code != core.CodePanicked {
		t.Errorf("%+v, error %v", r, err)
	}
	for _, line := range []string{"panic: observer", "panic: flush"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no line says %q:\n%s", line, &log)
		}
	}
}

// wildError is an error without end, of which nobody can ask what it is.
type wildError struct{}

func (wildError) Error() string   { return "wild" }
func (e wildError) Unwrap() error { return e }
func (wildError) Is(error) bool   { panic("Is") }

func TestARefusalWhoseErrorMisbehavesIsAnswered(t *testing.T) {
	t.Parallel()
	picky := core.NewTask("picky", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{}).
		Validate(func(int) error { return wildError{} })
	app := &App{Config: Config{Tick: time.Millisecond}, Store: memstore.New(memstore.Options{})}
	enqueue, err := app.Enqueue(func() (*core.Registry, error) { return core.NewRegistry(picky) })
	if err != nil {
		t.Fatal(err)
	}
	r, err := enqueue(t.Context(), json.RawMessage(`{"action":"enqueue","task":"picky","input":1}`))
	if err != nil || r.Error == nil || r.Error.Code != CodeBadRequest || !strings.Contains(r.Error.Message, "wild") {
		t.Errorf("%+v, error %v", r.Error, err)
	}
}

func TestAFlushThatMisbehavesEndsItsInvocationAllTheSame(t *testing.T) {
	cyclic := map[string]any{}
	cyclic["again"] = cyclic
	for name, c := range map[string]struct {
		flush func(context.Context) error
		line  string
	}{
		"a panic without end": {func(context.Context) error { panic(cyclic) }, "panic: map[string]interface {}"},
		"it hangs":            {func(context.Context) error { time.Sleep(time.Hour); return nil }, "has not returned"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				app := &App{
					Config: Config{Tick: time.Millisecond}, Store: memstore.New(memstore.Options{}), Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Options: Options{Flush: c.flush},
				}
				enqueue, err := app.Enqueue(func() (*core.Registry, error) { return core.NewRegistry() })
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if r, err := enqueue(t.Context(), json.RawMessage(`{"action":"tasks"}`)); err != nil || r.Error != nil {
					t.Errorf("%+v, error %v", r.Error, err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %s", took)
				}
				if !strings.Contains(log.String(), c.line) {
					t.Errorf("no line says %q:\n%s", c.line, &log)
				}
				time.Sleep(2 * time.Hour) // what hangs ends
			})
		})
	}
}

func TestAnOutputThatNestsTooDeepForAnAnswerIsToldSo(t *testing.T) {
	t.Parallel()
	var parent *core.Task[int, core.Results[int]]
	leaf := core.NewTask("leaf", func(context.Context, int) (json.RawMessage, error) {
		return json.RawMessage(strings.Repeat("[", 8998) + strings.Repeat("]", 8998)), nil
	}, core.TaskOptions{})
	parent = core.NewParentTask("parent", func(_ context.Context, n int) (int, []core.Child, error) {
		if n == 0 {
			return n, []core.Child{leaf.Child(0)}, nil
		}
		return n, []core.Child{parent.Child(n - 1)}, nil
	}, core.TaskOptions{})
	app := &App{Config: Config{Tick: time.Millisecond}, Store: memstore.New(memstore.Options{})}
	tasks := func() (*core.Registry, error) { return core.NewRegistry(parent, leaf) }
	enqueue, err := app.Enqueue(tasks)
	if err != nil {
		t.Fatal(err)
	}
	start, err := app.Loop(core.LoopStartReady, tasks)
	if err != nil {
		t.Fatal(err)
	}
	for id, input := range map[string]string{"shallow": "1", "deep": "500"} {
		if r, err := enqueue(t.Context(), json.RawMessage(`{"action":"enqueue","task":"parent","input":`+input+`,"execution_id":"`+id+`"}`)); err != nil || r.Error != nil {
			t.Fatalf("%+v, error %v", r.Error, err)
		}
	}
	if _, err := start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r, err := enqueue(t.Context(), json.RawMessage(`{"action":"get","execution_id":"shallow"}`))
	if _, unanswerable := json.Marshal(r); err != nil || r.Error != nil || unanswerable != nil {
		t.Errorf("%+v, error %v, %v", r.Error, err, unanswerable)
	}
	r, err = enqueue(t.Context(), json.RawMessage(`{"action":"get","execution_id":"deep"}`))
	if err != nil || r.Error == nil || r.Error.Code != CodeTooLarge {
		t.Errorf("%s: %+v, error %v", r.Status, r.Error, err)
	}
}

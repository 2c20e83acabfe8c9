package core_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestFailKeepsItsCodeWhateverItIsWrappedIn(t *testing.T) {
	cause := errors.New("no card")
	for name, c := range map[string]struct {
		err      error
		code     string
		message  string
		attempts int
	}{
		"alone":             {core.Fail("a.b-c_1", cause, nil), "a.b-c_1", "no card", 3},
		"wrapped":           {fmt.Errorf("charge: %w", core.Fail("x", cause, nil)), "x", "charge: no card", 3},
		"not retried":       {core.NonRetryable(core.Fail("x", cause, nil)), "x", "no card", 1},
		"of one that is":    {core.Fail("x", core.NonRetryable(cause), nil), "x", "no card", 1},
		"retried later":     {core.RetryAfter(core.Fail("x", cause, nil), time.Minute), "x", "no card", 3},
		"joined":            {errors.Join(errors.New("first"), core.Fail("x", cause, nil)), "x", "first\nno card", 3},
		"the outermost":     {core.Fail("x", fmt.Errorf("again: %w", core.Fail("y", cause, nil)), nil), "x", "again: no card", 3},
		"no code":           {core.Fail("", cause, nil), "", `no card (the code "" is left out: it must have 1 to 64 letters, digits, '_', '-' and '.', and be none of the engine's)`, 3},
		"the engine's":      {core.Fail("timed_out", cause, nil), "", `no card (the code "timed_out" is left out: it must have 1 to 64 letters, digits, '_', '-' and '.', and be none of the engine's)`, 3},
		"the engine's too":  {core.Fail("failed", cause, nil), "", `no card (the code "failed" is left out: it must have 1 to 64 letters, digits, '_', '-' and '.', and be none of the engine's)`, 3},
		"odd":               {core.Fail("a b", cause, 17), "", `no card (the code "a b" is left out: it must have 1 to 64 letters, digits, '_', '-' and '.', and be none of the engine's)`, 3},
		"data that is none": {core.Fail("x", cause, make(chan int)), "x", "no card (the data is left out: json: unsupported type: chan int)", 3},
		"data that panics":  {core.Fail("x", cause, panicking{}), "x", "no card (the data is left out: panic: no JSON)", 3},
		"too much data": {core.Fail("x", cause, strings.Repeat("x", 9000)), "x",
			"no card (the data is left out: too large: it has 9002 bytes, the limit is 8192)", 3},
	} {
		t.Run(name, func(t *testing.T) {
			task := core.NewTask("task", func(context.Context, int) (int, error) { return 0, c.err },
				core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})
			inWorld(t, []core.Definition{task}, func(w *world) {
				h := enqueue(w, task, 1)
				_, err := h.Wait(w.ctx)
				var failed *core.ExecutionError
				if !errors.As(err, &failed) || failed.Status != core.StatusFailed || failed.Failure.Message != c.message ||
					len(failed.Failure.Message) > 200 || w.get(h.ID()).Attempts != c.attempts {
					w.Errorf("%d attempts, error %v", w.get(h.ID()).Attempts, err)
				}
				fail := new(core.FailError)
				if errors.As(err, &fail); fail.Code != c.code || fail.HasData() {
					w.Errorf("FailError %+v", fail)
				}
				if err := fail.Decode(new(int)); c.code != "" && !errors.Is(err, core.ErrInvalid) {
					w.Errorf("decoding no data: %v", err)
				}
			})
		})
	}
	if err := core.Fail("x", nil, 1); err != nil {
		t.Errorf("no error fails with %v", err)
	}
	err := core.Fail("x", fmt.Errorf("it is %w", cause), map[string]int{"a": 1})
	var fail *core.FailError
	var data map[string]int
	if !errors.Is(err, cause) || !errors.As(err, &fail) || fail.Decode(&data) != nil || data["a"] != 1 {
		t.Errorf("in the task itself: %v, data %v", err, data)
	}
}

func TestDataOfAFailureIsTakenWhenItIsHandedOver(t *testing.T) {
	task := core.NewTask("task", func(context.Context, int) (int, error) {
		data := []int{1, 2, 3}
		defer func() { data[0] = 17 }()
		return 0, core.Fail("x", errors.New("no"), data)
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{task}, func(w *world) {
		_, err := enqueue(w, task, 1).Wait(w.ctx)
		var fail *core.FailError
		var data []int
		if !errors.As(err, &fail) || fail.Decode(&data) != nil || !cmp.Equal(data, []int{1, 2, 3}) {
			w.Errorf("data %v, error %v", data, err)
		}
	})
}

// gobs encodes what JSON cannot.
type gobs struct{}

func (gobs) Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobs) Decode(data []byte, v any) error { return gob.NewDecoder(bytes.NewReader(data)).Decode(v) }

func TestDataOfAFailureIsTheCodecs(t *testing.T) {
	leaf := leafTask(func(context.Context) error {
		return core.Fail("complex", errors.New("no"), complex(1, 2)) // JSON has no such numbers
	})
	root, tasks := above(leaf)
	inIdleWorld(t, tasks, func(w *world) {
		w.config.Codec = gobs{}
		var err error
		if w.client, err = core.NewClient(w.store, core.ClientOptions{Codec: gobs{}}); err != nil {
			w.Fatal(err)
		}
		stop := w.start()
		defer stop()
		_, err = enqueue(w, root, "x").Wait(w.ctx)
		var fail *core.FailError
		var data complex128
		if !errors.As(err, &fail) || fail.Decode(&data) != nil || data != complex(1, 2) {
			w.Errorf("data %v, error %v", data, err)
		}
	})
}

func TestTheNextAttemptReadsTheDataOfTheOneBefore(t *testing.T) {
	progress := strings.Repeat("x", 3000)
	task := core.NewTask("task", func(ctx context.Context, _ int) (string, error) {
		var fail *core.FailError
		var data string
		if previous := core.InfoOf(ctx).Previous; previous == nil || !errors.As(previous, &fail) {
			return "", core.Fail("half_way", errors.New("no"), progress)
		}
		if err := fail.Decode(&data); err != nil || data != progress {
			return "other data", err
		}
		return "", nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2}})
	inIdleWorld(t, []core.Definition{task}, func(w *world) {
		w.store = memstore.New(memstore.Options{Inline: 16})
		w.config.Store = w.store
		var err error
		if w.client, err = core.NewClient(w.store, core.ClientOptions{}); err != nil {
			w.Fatal(err)
		}
		defer w.start()()
		if got := wait(w, enqueue(w, task, 1)); got != "" {
			w.Error(got)
		}
	})
}

// A code of the task's own once took away that something below was over its limit, and so did JSON.
func TestThatSomethingIsTooLargeIsToldUnderACodeOfTheTasksOwn(t *testing.T) {
	big := core.NewTask("big", func(context.Context, int) (string, error) { return strings.Repeat("x", 2<<20), nil }, core.TaskOptions{})
	parent := core.NewParentTaskWithFinalize("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{big.Child(1)}, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		var again core.ChildResult
		data, err := json.Marshal(r.Children[0])
		if err == nil {
			err = json.Unmarshal(data, &again)
		}
		if err != nil || !errors.Is(again.Failure, core.ErrTooLarge) {
			return 0, fmt.Errorf("from JSON %s: %w", data, err)
		}
		_, err = big.Result(r.Children[0])
		return 0, core.Fail("refused", err, nil)
	}, core.TaskOptions{})
	root := core.NewSequentialTask[int, int]("root", parent, core.TaskOptions{})
	inWorld(t, []core.Definition{big, parent, root}, func(w *world) {
		_, err := enqueue(w, root, 1).Wait(w.ctx)
		var fail *core.FailError
		if !errors.As(err, &fail) || fail.Code != "refused" || !errors.Is(err, core.ErrTooLarge) || !errors.Is(err, core.ErrInvalid) {
			w.Errorf("error %v", err)
		}
	})
}

// panicking panics when it is encoded.
type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic("no JSON") }

type typedNil struct{ text string }

func (e *typedNil) Error() string { return e.text }

func TestFailOfAnErrorThatPanicsFailsItsAttemptAlone(t *testing.T) {
	var none *typedNil
	var fail *core.FailError
	for name, failure := range map[string]error{"in Fail": core.Fail("x", none, 1), "a nil FailError": fail} {
		t.Run(name, func(t *testing.T) {
			task := core.NewTask("task", func(context.Context, int) (int, error) { return 0, failure }, core.TaskOptions{})
			sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{})
			inWorld(t, []core.Definition{task, sleeper}, func(w *world) {
				_, err := enqueue(w, task, 1).Wait(w.ctx)
				if !errors.Is(err, core.ErrPanicked) {
					w.Errorf("error %v", err)
				}
				if _, err := core.WakeupWithError(w.ctx, w.client, sleeper, "k", failure); !errors.Is(err, core.ErrInvalid) {
					w.Errorf("waking with it: %v", err)
				}
			})
		})
	}
}

package core_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// gobCodec is a codec of a user's, which uses one buffer again and again when it is told to.
type gobCodec struct{ buffer *bytes.Buffer }

func (c gobCodec) Encode(v any) ([]byte, error) {
	b := c.buffer
	if b == nil {
		b = &bytes.Buffer{}
	}
	b.Reset()
	err := gob.NewEncoder(b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Decode(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestAChildsInputIsTakenWhenTheChildIsMade(t *testing.T) {
	for name, codec := range map[string]core.Codec{"JSON": nil, "strict JSON": core.JSON{Strict: true}, "another codec": gobCodec{}} {
		t.Run(name, func(t *testing.T) {
			first := core.NewTask("first", func(_ context.Context, in []int) (int, error) { return in[0], nil }, core.TaskOptions{})
			flaky := core.NewTask("flaky", func(context.Context, []int) (int, error) { return 0, errors.New("flaky") }, core.TaskOptions{})
			parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
				buf := make([]int, 1)
				policy := core.RetryPolicy{MaxAttempts: 1, BaseDelay: time.Minute}
				var children []core.Child
				for i := range 3 {
					buf[0] = i
					policy.MaxAttempts = i + 1
					children = append(children, first.Child(buf), flaky.ChildWith(buf, core.EnqueueOptions{Retry: &policy}))
				}
				buf[0], policy.MaxAttempts = 99, 99
				return 0, children, nil
			}, core.TaskOptions{})
			inIdleWorld(t, []core.Definition{parent, first, flaky}, func(w *world) {
				w.config.Codec = codec
				client, err := core.NewClient(w.store, core.ClientOptions{Codec: codec})
				if err != nil {
					w.Fatal(err)
				}
				w.client = client
				defer w.start()()
				var got []int
				results := wait(w, enqueue(w, parent, 0))
				for i := 0; i < len(results.Children); i += 2 {
					n, err := first.Result(results.Children[i])
					if err != nil {
						w.Fatal(err)
					}
					got = append(got, n, w.get(results.Children[i+1].ExecutionID).Attempts)
				}
				if diff := cmp.Diff([]int{0, 1, 1, 2, 2, 3}, got); diff != "" {
					w.Errorf("inputs and attempts (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestABufferThatIsUsedAgainChangesNothingThatWasEnqueued(t *testing.T) {
	echo := core.NewTask("echo", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{echo, approval}, func(w *world) {
		e := w.engine()
		client, err := e.NewClient(core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		w.client = client
		ctx, stop := context.WithCancel(w.ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = e.Run(ctx) }()
		defer func() { stop(); <-ended }()
		time.Sleep(time.Second) // it runs

		input := []byte(`"one"`)
		id, err := w.client.EnqueueRaw(w.ctx, "echo", input, core.EnqueueOptions{})
		if err != nil {
			w.Fatal(err)
		}
		copy(input, `"two"`)
		if got := wait(w, echo.HandleOf(w.client, id)); got != "one" {
			w.Errorf("enqueued one, got %s", got)
		}
		output := []byte(`"yes"`)
		id, err = w.client.WakeupRaw(w.ctx, "approval", "k", output, "")
		if err != nil {
			w.Fatal(err)
		}
		copy(output, `"not"`)
		if h := enqueue(w, approval, "k"); h.ID() != id || wait(w, h) != "yes" {
			w.Errorf("woken with yes, got %s", wait(w, h))
		}
	})
}

func TestACodecMayUseItsBufferAgain(t *testing.T) {
	first := core.NewTask("first", func(_ context.Context, in []int) ([]int, error) { return in, nil }, core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 7, []core.Child{first.Child([]int{1}), first.Child([]int{2})}, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, first}, func(w *world) {
		w.config.Codec, w.config.Concurrency = gobCodec{&bytes.Buffer{}}, 1
		client, err := core.NewClient(w.store, core.ClientOptions{Codec: gobCodec{&bytes.Buffer{}}})
		if err != nil {
			w.Fatal(err)
		}
		w.client = client
		defer w.start()()
		results := wait(w, enqueue(w, parent, 0))
		for i, child := range results.Children {
			if got, err := first.Result(child); err != nil || !cmp.Equal(got, []int{i + 1}) {
				w.Errorf("child %d returned %v, error %v", i, got, err)
			}
		}
	})
}

// aliasCodec decodes a []byte without a copy.
type aliasCodec struct{ core.JSON }

func (c aliasCodec) Encode(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	return c.JSON.Encode(v)
}

func (c aliasCodec) Decode(data []byte, v any) error {
	if b, ok := v.(*[]byte); ok {
		*b = data
		return nil
	}
	return c.JSON.Decode(data, v)
}

// inPlace is text that is read in place, and leaves nothing of the bytes that it was read from.
type inPlace string

func (s *inPlace) UnmarshalJSON(data []byte) error {
	*s = inPlace(data[1 : len(data)-1])
	spoil(data[1 : len(data)-1])
	return nil
}

func spoil(b []byte) {
	for i := range b {
		b[i] = 'X'
	}
}

func TestCodeThatChangesTheBytesItIsGivenChangesThemForNobodyElse(t *testing.T) {
	t.Run("a codec without copies", func(t *testing.T) {
		changesWhatItIsGiven(t, aliasCodec{}, func(s string) []byte { return []byte(s) }, func(b []byte) string {
			defer spoil(b)
			return string(b)
		})
	})
	t.Run("UnmarshalJSON", func(t *testing.T) {
		changesWhatItIsGiven(t, nil, func(s string) inPlace { return inPlace(s) }, func(s inPlace) string { return string(s) })
	})
}

// changesWhatItIsGiven runs tasks of every kind on values that read returns the text of, and spoils.
func changesWhatItIsGiven[T any](t *testing.T, codec core.Codec, of func(string) T, read func(T) string) {
	t.Helper()
	opts := core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}}
	flaky := core.NewTask("flaky", func(ctx context.Context, in T) (T, error) {
		text := read(in)
		if core.InfoOf(ctx).Attempt < 3 {
			return in, errors.New("again")
		}
		return of(text), nil
	}, opts).Validate(func(in T) error { _ = read(in); return nil })
	parent := core.NewParentTaskWithFinalize("parent", func(_ context.Context, in T) (T, []core.Child, error) {
		text := read(in)
		return of(text), []core.Child{flaky.Child(of("child"))}, nil
	}, func(_ context.Context, r core.Results[T]) (T, error) {
		for range 2 { // the second reads the same again
			out, err := flaky.Result(r.Children[0])
			if text := read(out); err != nil || text != "child" {
				return out, fmt.Errorf("the child returned %q: %w", text, err)
			}
		}
		return of(read(r.Output)), nil
	}, opts)
	chain := core.NewSequentialTask("chain", core.Then(parent, flaky), opts)
	iteration := core.NewTask("iteration", func(ctx context.Context, in T) (core.Iteration[T, T], error) {
		if text := read(in); core.InfoOf(ctx).Index < 2 {
			return core.AgainWith[T, T](of(text)), nil
		}
		return core.Done[T](of("done")), nil
	}, opts)
	loop := core.NewLoopingTask("loop", iteration, core.LoopOptions{MaxIterations: 5}, opts)
	inIdleWorld(t, []core.Definition{flaky, parent, chain, iteration, loop}, func(w *world) {
		w.config.Codec = codec
		client, err := core.NewClient(w.store, core.ClientOptions{Codec: codec})
		if err != nil {
			w.Fatal(err)
		}
		w.client = client
		defer w.start()()
		for _, task := range []*core.Task[T, T]{flaky, parent, chain} {
			h := enqueue(w, task, of("text"))
			for range 2 {
				if got := read(wait(w, h)); got != "text" {
					w.Errorf("%s returned %q", task.ID(), got)
				}
			}
		}
		if got := wait(w, enqueue(w, loop, of("text"))); read(got.Output) != "done" {
			w.Errorf("the loop returned %+v", got)
		}
	})
}

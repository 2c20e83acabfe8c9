package core_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
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

package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// What was left out became null, which decodes into the zero value of nearly every type.
func TestAnInputOrOutputThatIsMissingIsNotNull(t *testing.T) {
	pointed := core.NewTask("pointed", func(_ context.Context, in *int) (bool, error) { return in == nil, nil }, core.TaskOptions{})
	nothing := core.NewTask("nothing", func(context.Context, struct{}) (string, error) { return "done", nil }, core.TaskOptions{})
	checked := core.NewTask("checked_nothing", func(context.Context, struct{}) (string, error) { return "", nil }, core.TaskOptions{}).
		Validate(func(struct{}) error { return errors.New("never") })
	inWorld(t, []core.Definition{double, pointed, nothing, checked, approval}, func(w *world) {
		for _, task := range []string{"double", "pointed", "approval"} {
			if id, err := w.client.EnqueueRaw(w.ctx, task, nil, core.EnqueueOptions{}); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "is missing") {
				w.Errorf("%s: id %q, error %v", task, id, err)
			}
		}
		if _, err := w.client.EnqueueRaw(w.ctx, "checked_nothing", nil, core.EnqueueOptions{}); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "never") {
			w.Errorf("it is not validated: %v", err)
		}
		for _, failure := range []string{"", "both"} {
			output := []byte(nil)
			if failure != "" {
				output = []byte(`"yes"`)
			}
			if id, err := w.client.WakeupRaw(w.ctx, "approval", "k", output, failure); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "one of them") {
				w.Errorf("wake-up with output %s and failure %q: id %q, error %v", output, failure, id, err)
			}
		}
		if w.store.Len() != 0 {
			w.Fatalf("%d records were written", w.store.Len())
		}

		// A null that is given is null, and there is only one struct{}: it is what Enqueue writes of it.
		id, err := w.client.EnqueueRaw(w.ctx, "pointed", []byte("null"), core.EnqueueOptions{})
		if err != nil || !wait(w, pointed.HandleOf(w.client, id)) {
			w.Errorf("null: error %v", err)
		}
		keyed := core.EnqueueOptions{Key: "k"}
		first := enqueueWith(w, nothing, struct{}{}, keyed)
		if id, err := w.client.EnqueueRaw(w.ctx, "nothing", nil, keyed); id != first.ID() || err != nil || wait(w, first) != "done" {
			w.Errorf("a task without an input: id %q, error %v", id, err)
		}
		if _, err := w.client.WakeupRaw(w.ctx, "approval", "k", []byte("null"), ""); err != nil {
			w.Errorf("null wakes: %v", err)
		}
	})
}

func TestTheRegistryTellsWhatEachTaskIs(t *testing.T) {
	t.Parallel()
	plain := core.NewTask("plain", func(context.Context, int) (core.Iteration[int, int], error) { return core.Done[int](1), nil }, core.TaskOptions{
		Timeout: time.Second, Delay: time.Minute, ScheduleToStart: time.Hour, StartToFinish: 2 * time.Hour, Retry: core.RetryPolicy{MaxAttempts: 3},
	})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) { return 0, nil, nil }, core.TaskOptions{})
	registry, err := core.NewRegistry(
		plain, parent, core.NewSequentialTask("sequence", plain, core.TaskOptions{}),
		core.NewLoopingTask("loop", plain, core.LoopOptions{MaxIterations: 2}, core.TaskOptions{}), core.NewSleepingTask[int]("asleep", core.TaskOptions{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]core.TaskInfo{
		{ID: "asleep", Kind: core.KindSleeping, Timeout: 24 * time.Hour, Sleeping: true},
		{ID: "loop", Kind: core.KindLooping, Timeout: 5 * time.Second},
		{ID: "parent", Kind: core.KindParent, Timeout: 30 * time.Second, MaxAttempts: 1},
		{ID: "plain", Kind: core.KindTask, Timeout: time.Second, MaxAttempts: 3, Delay: time.Minute, ScheduleToStart: time.Hour, StartToFinish: 2 * time.Hour},
		{ID: "sequence", Kind: core.KindSequential, Timeout: 5 * time.Second},
	}, registry.Tasks()); diff != "" {
		t.Error(diff)
	}
}

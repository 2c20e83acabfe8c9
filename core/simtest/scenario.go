package simtest

import (
	"context"
	"errors"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// RootID is the id of the root that a scenario makes, unless its Root says otherwise.
const RootID = "root"

// Scenario is something that must come to the same end whatever operation of the store fails.
type Scenario struct {
	Name string
	// Before happens before anything may fail: it enqueues what there has to be. It may be nil.
	Before func(ctx context.Context, c *core.Client) error
	// Acts are what the world does, one after the other, by a client whose operations may fail. Each is repeated until it
	// returns nil, as whoever needs an answer does.
	Acts []Act
	// Root is the id of the execution that Status and Output are about. Default RootID.
	Root   string
	Status core.Status
	Output string // JSON; empty for any
	// Concurrency is the engine's. Default its own.
	Concurrency int
}

// Act is one thing that somebody does.
type Act struct {
	// When tells by the root's record, which is nil when there is none, that the time has come. Default: at once.
	When func(root *core.Execution) bool
	Do   func(ctx context.Context, c *core.Client) error
}

// enqueue is the act that makes the root.
func enqueue(task, input string) Act {
	return Act{Do: func(ctx context.Context, c *core.Client) error {
		_, err := c.EnqueueRaw(ctx, task, []byte(input), core.EnqueueOptions{ID: RootID})
		return unless(err, core.ErrAlreadyExists)
	}}
}

// unless is err unless that matches what is as good as success.
func unless(err, good error) error {
	if errors.Is(err, good) {
		return nil
	}
	return err
}

func cancel(when func(*core.Execution) bool) Act {
	return Act{When: when, Do: func(ctx context.Context, c *core.Client) error {
		return unless(c.Cancel(ctx, RootID, "enough"), core.ErrFinished)
	}}
}

func wake(key string, when func(*core.Execution) bool) Act {
	return Act{When: when, Do: func(ctx context.Context, c *core.Client) error {
		_, err := c.WakeupRaw(ctx, "sleeper", key, []byte("8"), "")
		return unless(err, core.ErrFinished)
	}}
}

// in tells that the root has the status, for at least the given time.
func in(status core.Status, since time.Duration) func(*core.Execution) bool {
	return func(e *core.Execution) bool {
		return e != nil && e.Status == status && time.Since(e.UpdatedAt) >= since
	}
}

// past tells that a sequence has come to the given step.
func past(step int) func(*core.Execution) bool {
	return func(e *core.Execution) bool { return e != nil && e.Family != nil && e.Family.Step >= step }
}

// redriven makes a scenario of one that a root of the task has failed in, and that redrives it.
func redriven(name, task, output string) Scenario {
	old := "old"
	return Scenario{
		Name: name,
		Before: func(ctx context.Context, c *core.Client) error {
			_, err := c.EnqueueRaw(ctx, task, []byte("5"), core.EnqueueOptions{ID: old})
			return err
		},
		Acts: []Act{{
			Do: func(ctx context.Context, c *core.Client) error {
				_, err := c.Redrive(ctx, old)
				return unless(err, core.ErrAlreadyExists)
			},
		}},
		Root: core.RedriveID(old), Status: core.StatusCompleted, Output: output,
	}
}

// signalled is a scenario whose acts a wake-up follows.
func signalled(s Scenario, key string) Scenario {
	s.Acts = append(s.Acts, wake(key, nil))
	return s
}

// Scenarios returns every scenario but that of a large family, which is LargeFamily.
func Scenarios() []Scenario {
	const counted = `"5 completed failed completed"`
	anyTime := in(core.StatusWaitingForChildren, time.Second)
	all := []Scenario{
		{Name: "root", Acts: []Act{enqueue("leaf", "5")}, Status: core.StatusCompleted, Output: "5"},
		{Name: "root by key", Acts: []Act{{Do: func(ctx context.Context, c *core.Client) error {
			_, err := c.EnqueueRaw(ctx, "leaf", []byte("5"), core.EnqueueOptions{Key: "key"})
			return err
		}}}, Root: core.KeyID("key"), Status: core.StatusCompleted, Output: "5"},
		{Name: "retry", Acts: []Act{enqueue("flaky", "5")}, Status: core.StatusCompleted, Output: "5"},
		{Name: "failure", Acts: []Act{enqueue("odd", "5")}, Status: core.StatusFailed},
		{Name: "parent", Acts: []Act{enqueue("plain", "5")}, Status: core.StatusCompleted},
		{Name: "parent of none", Acts: []Act{enqueue("childless", "5")}, Status: core.StatusCompleted},
		{Name: "parent of slow children", Acts: []Act{enqueue("slow", "5")}, Status: core.StatusCompleted, Output: `"5 completed completed failed completed"`},
		{Name: "parent with little room", Acts: []Act{enqueue("slow", "5")}, Status: core.StatusCompleted, Concurrency: 2},
		{Name: "finalize function", Acts: []Act{enqueue("function", "5")}, Status: core.StatusCompleted, Output: counted},
		{Name: "finalize task", Acts: []Act{enqueue("with_task", "5")}, Status: core.StatusCompleted, Output: counted},
		{Name: "finalize parent", Acts: []Act{enqueue("with_parent", "5")}, Status: core.StatusCompleted, Output: counted},
		{Name: "parents of parents", Acts: []Act{enqueue("nested", "5")}, Status: core.StatusCompleted, Output: `"5 completed completed completed completed"`},
		{Name: "sequence", Acts: []Act{enqueue("seq", "5")}, Status: core.StatusCompleted, Output: "7"},
		{Name: "sequence of parents", Acts: []Act{enqueue("parent_steps", "5")}, Status: core.StatusCompleted, Output: "29"},
		{Name: "sequence that fails", Acts: []Act{enqueue("odd_seq", "4")}, Status: core.StatusFailed},
		{Name: "loop", Acts: []Act{enqueue("loop", "3")}, Status: core.StatusCompleted, Output: `{"succeeded":true,"output":7,"iterations":4}`},
		{Name: "sleeper woken late", Acts: []Act{enqueueSleeper(), wake("k", nil)}, Root: core.SleepID("k"), Status: core.StatusCompleted, Output: "8"},
		{Name: "sleeper woken early", Acts: []Act{wake("k", nil), enqueueSleeper()}, Root: core.SleepID("k"), Status: core.StatusCompleted, Output: "8"},
		{Name: "sleeper that nobody wakes", Acts: []Act{enqueue("drowsy", `5`)}, Status: core.StatusCompleted, Output: `"5 timed_out completed"`},
		{Name: "sleeping child woken late", Acts: []Act{enqueue("asleep", "5"), wake("a", anyTime)}, Status: core.StatusCompleted, Output: `"5 completed completed"`},
		{Name: "sleeping child woken early", Acts: []Act{wake("a", nil), enqueue("asleep", "5")}, Status: core.StatusCompleted, Output: `"5 completed completed"`},
		{Name: "sleeping step woken late", Acts: []Act{enqueue("sleep_step", "5"), wake("a", past(1))}, Status: core.StatusCompleted, Output: "9"},
		{Name: "sleeping step woken early", Acts: []Act{wake("a", nil), enqueue("sleep_step", "5")}, Status: core.StatusCompleted, Output: "9"},
		{Name: "cancel: ready", Acts: []Act{{Do: func(ctx context.Context, c *core.Client) error {
			_, err := c.EnqueueRaw(ctx, "leaf", []byte("5"), core.EnqueueOptions{ID: RootID, Delay: time.Hour})
			return unless(err, core.ErrAlreadyExists)
		}}, cancel(nil)}, Status: core.StatusCancelled},
		{Name: "cancel: running", Acts: []Act{enqueue("forever", "5"), cancel(in(core.StatusRunning, time.Second))}, Status: core.StatusCancelled},
		{Name: "cancel: sleeping", Acts: []Act{enqueueSleeper(), {Do: func(ctx context.Context, c *core.Client) error {
			return unless(c.Cancel(ctx, core.SleepID("k"), "enough"), core.ErrFinished)
		}}}, Root: core.SleepID("k"), Status: core.StatusCancelled},
		{Name: "cancel: waiting for children", Acts: []Act{enqueue("stuck", "5"), cancel(in(core.StatusWaitingForChildren, 0))}, Status: core.StatusCancelled},
		{Name: "cancel: children at work", Acts: []Act{enqueue("stuck", "5"), cancel(anyTime)}, Status: core.StatusCancelled},
		{Name: "cancel: finalize function at work", Acts: []Act{enqueue("endless_function", "5"), cancel(func(e *core.Execution) bool {
			return e != nil && e.Family != nil && e.Family.Processing == core.ProcessingProcessing
		})}, Status: core.StatusCancelled},
		{Name: "cancel: waiting for finalize", Acts: []Act{enqueue("endless_finalize", "5"), cancel(in(core.StatusWaitingForFinalize, time.Second))}, Status: core.StatusCancelled},
		{Name: "cancel: sequence", Acts: []Act{enqueue("sleep_step", "5"), cancel(past(1))}, Status: core.StatusCancelled},
		{Name: "cancel: loop", Acts: []Act{enqueue("loop", "5"), cancel(past(2))}, Status: core.StatusCancelled},
		{Name: "start to finish", Acts: []Act{enqueue("hurried", "5")}, Status: core.StatusTimedOut},
		redriven("redrive of a root", "mending", "5"),
		redriven("redrive of a tree", "mending_parent", `"5 completed completed completed"`),
		redriven("redrive of a sequence", "mending_seq", "7"),
		redriven("redrive of a fan-out and a gather", "mending_fan_seq", `"5 completed completed"`),
		signalled(redriven("redrive of a sleeper", "mending_asleep", `"5 completed completed"`), "r"),
		// The redrive would wait for the signal for an hour if it was lost.
		{Name: "cancel, redrive and a signal", Acts: []Act{enqueue("asleep", "5"), cancel(anyTime), {Do: func(ctx context.Context, c *core.Client) error {
			_, err := c.Redrive(ctx, RootID)
			return unless(err, core.ErrAlreadyExists)
		}}, wake("a", nil)}, Status: core.StatusCancelled},
		{Name: "bulk enqueue", Acts: []Act{{Do: func(ctx context.Context, c *core.Client) error {
			items := make([]core.BulkItem[int], 4)
			for i := range items {
				items[i] = core.BulkItem[int]{Input: i, Options: core.EnqueueOptions{Key: string(rune('a' + i))}}
			}
			for _, r := range leafTask(nil).EnqueueMany(ctx, c, items, nil) {
				if r.Err != nil {
					return r.Err
				}
			}
			return nil
		}}}, Root: core.KeyID("d"), Status: core.StatusCompleted, Output: "3"},
	}
	for i := range all {
		if all[i].Root == "" {
			all[i].Root = RootID
		}
	}
	return all
}

// LargeFamily is the scenario of a parent of n children.
func LargeFamily(n string) Scenario {
	return Scenario{Name: "large family", Root: RootID, Acts: []Act{enqueue("many", n)}, Status: core.StatusCompleted}
}

func enqueueSleeper() Act {
	return Act{Do: func(ctx context.Context, c *core.Client) error {
		_, err := c.EnqueueRaw(ctx, "sleeper", []byte(`"k"`), core.EnqueueOptions{})
		return unless(err, core.ErrAlreadyExists)
	}}
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
	"github.com/perdure-dev/perdure/core/faultstore"
	"github.com/perdure-dev/perdure/core/simtest"
)

type observedKey struct{}

// notes is an observer that writes down what it is told, without what differs from one time to the next.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) observer() core.Observer {
	code := func(finalize bool) string {
		if finalize {
			return "finalize of "
		}
		return ""
	}
	return core.Observer{
		AttemptStarted: func(ctx context.Context, a core.AttemptStarted) context.Context {
			n.add("%s%s started, attempt %d, waited %s", code(a.Finalize), a.Execution.TaskID, a.Execution.Attempts, a.Waited.Round(time.Second))
			return context.WithValue(ctx, observedKey{}, a.Execution.ID)
		},
		AttemptEnded: func(ctx context.Context, a core.AttemptEnded) {
			if ctx.Value(observedKey{}) != a.Execution.ID {
				n.add("%s ended in another context", a.Execution.TaskID)
			}
			line := fmt.Sprintf("%s%s %s after %s", code(a.Finalize), a.Execution.TaskID, a.Outcome, a.Duration.Round(time.Second))
			if a.After != nil {
				line += fmt.Sprintf(", is %s", a.After.Status)
			}
			if a.Failure != nil {
				line += ": " + a.Failure.Message
			}
			n.add("%s", line)
		},
		Finished: func(_ context.Context, e *core.Execution) { n.add("%s finished %s", e.TaskID, e.Status) },
		Recovered: func(_ context.Context, r core.Recovered) {
			n.add("%s recovered from queue %s, %d times, stuck %t", r.Execution.TaskID, r.Claim, r.Times, r.Stuck)
		},
	}
}

// check compares what was noted with what is wanted, in any order.
func (n *notes) check(t *testing.T, want string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	got := slices.Clone(n.lines)
	slices.Sort(got)
	var wanted []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			wanted = append(wanted, line)
		}
	}
	slices.Sort(wanted)
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("what the observer was told (-want +got):\n%s", diff)
	}
}

// observe runs a test in a world whose executors and client tell notes.
func observe(t *testing.T, tasks []core.Definition, test func(w *coretest.World, n *notes)) {
	t.Helper()
	t.Parallel()
	n := &notes{}
	coretest.RunWith(t, tasks, coretest.Options{
		Config: core.Config{Observer: n.observer()}, Client: core.ClientOptions{Observer: n.observer()},
	}, func(w *coretest.World) { test(w, n) })
}

func TestTheObserverIsToldOfAFamilyWhoseChildrenArePutOnce(t *testing.T) {
	var inside sync.Map
	leaf := core.NewTask("leaf", func(ctx context.Context, n int) (int, error) {
		inside.Store(ctx.Value(observedKey{}), core.InfoOf(ctx).ExecutionID)
		if n == 2 {
			time.Sleep(2 * time.Second) // it is put as running
		}
		if n == 3 {
			return 0, core.NonRetryable(errors.New("no third"))
		}
		return n, nil
	}, core.TaskOptions{})
	parent := core.NewParentTaskWithFinalize("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{leaf.Child(1), leaf.Child(2), leaf.Child(3)}, nil
	}, func(ctx context.Context, _ core.Results[int]) (int, error) {
		inside.Store(ctx.Value(observedKey{}), core.InfoOf(ctx).ExecutionID)
		return 7, nil
	}, core.TaskOptions{Delay: time.Minute})
	observe(t, []core.Definition{parent, leaf}, func(w *coretest.World, n *notes) {
		coretest.Wait(w, coretest.Enqueue(w, parent, 1))
		w.Skip(time.Minute)
		n.check(w.T, `
			parent started, attempt 1, waited 0s
			parent succeeded after 0s, is waiting_for_children
			leaf started, attempt 1, waited 0s
			leaf started, attempt 1, waited 0s
			leaf started, attempt 1, waited 0s
			leaf succeeded after 0s, is completed
			leaf finished completed
			leaf succeeded after 2s, is completed
			leaf finished completed
			leaf failed after 0s, is failed: no third
			leaf finished failed
			finalize of parent started, attempt 1, waited 0s
			finalize of parent succeeded after 0s, is completed
			parent finished completed`)
		inside.Range(func(seen, id any) bool {
			if seen != id {
				w.Errorf("the code of execution %v has the context of %v", id, seen)
			}
			return true
		})
	})
}

func TestTheObserverIsToldOfRetriesAndSequencesAndSleepers(t *testing.T) {
	flaky := core.NewTask("flaky", func(ctx context.Context, n int) (string, error) {
		if core.InfoOf(ctx).Attempt == 1 {
			return "", errors.New("not yet")
		}
		return "key", nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Hour}})
	sleeper := core.NewSleepingTask[int]("sleeper", core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(flaky, sleeper), core.TaskOptions{})
	observe(t, []core.Definition{seq, flaky, sleeper}, func(w *coretest.World, n *notes) {
		h := coretest.Enqueue(w, seq, 1)
		w.Skip(2 * time.Hour)
		coretest.Wake(w, sleeper, "key", 5)
		coretest.Wait(w, h)
		coretest.EnqueueWith(w, sleeper, "other", core.EnqueueOptions{Timeout: time.Hour})
		w.Skip(2 * time.Hour)
		coretest.Wake(w, sleeper, "early", 6)
		coretest.Wait(w, coretest.Enqueue(w, sleeper, "early"))
		w.Skip(time.Minute)
		n.check(w.T, `
			seq started, attempt 1, waited 0s
			seq succeeded after 0s, is waiting_for_children
			flaky started, attempt 1, waited 0s
			flaky retried after 0s, is ready: not yet
			flaky started, attempt 2, waited 0s
			flaky succeeded after 0s, is completed
			flaky finished completed
			sleeper finished completed
			seq finished completed
			sleeper finished timed_out
			sleeper finished completed`)
	})
}

func TestTheObserverIsToldOfCancellations(t *testing.T) {
	forever := core.NewTask("forever", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: time.Hour})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{forever.Child(1)}, nil
	}, core.TaskOptions{})
	observe(t, []core.Definition{parent, forever}, func(w *coretest.World, n *notes) {
		h := coretest.Enqueue(w, parent, 1)
		w.Skip(10*time.Second + 500*time.Millisecond) // between two looks for cancellations
		w.Cancel(h, "")
		w.Skip(10 * time.Second)
		n.check(w.T, `
			parent started, attempt 1, waited 0s
			parent succeeded after 0s, is waiting_for_children
			forever started, attempt 1, waited 0s
			parent finished cancelled
			forever finished cancelled
			forever cancelled after 11s`)
	})
}

func TestTheObserverIsToldOfCrashesAndGivingUp(t *testing.T) {
	var w *coretest.World
	deadly := core.NewTask("deadly", func(context.Context, int) (int, error) {
		w.Crash()
		return 0, nil
	}, core.TaskOptions{})
	n := &notes{}
	observer := n.observer()
	ended := observer.AttemptEnded
	observer.AttemptEnded = func(ctx context.Context, a core.AttemptEnded) {
		if a.Outcome != core.AttemptUnwritten { // a process that is dead tells nothing
			ended(ctx, a)
		}
	}
	t.Parallel()
	coretest.RunWith(t, []core.Definition{deadly}, coretest.Options{Config: core.Config{Observer: observer, MaxRecoveries: 2}},
		func(world *coretest.World) {
			w = world
			if err := coretest.WaitError(w, coretest.Enqueue(w, deadly, 1)); err.Failure.Code != core.CodeCrashed {
				w.Error(err)
			}
			n.check(w.T, `
				deadly started, attempt 1, waited 0s
				deadly recovered from queue running, 1 times, stuck false
				deadly started, attempt 1, waited 0s
				deadly recovered from queue running, 2 times, stuck false
				deadly started, attempt 1, waited 0s
				deadly recovered from queue running, 3 times, stuck true
				deadly finished failed`)
		})
}

// Whatever operation fails, each end is told once, by a process that goes on.
func TestTheObserverIsToldOfEachEndOnceWhateverAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, fault := range []faultstore.Fault{faultstore.Lost, faultstore.Unanswered, faultstore.Refused} {
		for at := 1; at <= 25; at++ {
			counts, starts := map[string]int{}, 0
			var mu sync.Mutex
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				counts[what]++
			}
			observer := core.Observer{
				AttemptStarted: func(ctx context.Context, _ core.AttemptStarted) context.Context {
					mu.Lock()
					defer mu.Unlock()
					starts++
					return ctx
				},
				AttemptEnded: func(_ context.Context, _ core.AttemptEnded) { note("attempts ended") },
				Finished:     func(_ context.Context, e *core.Execution) { note("finished " + e.ID) },
			}
			coretest.RunWith(t, simtest.Tasks(nil), coretest.Options{Config: core.Config{Observer: observer}}, func(w *coretest.World) {
				w.Fault(func(op faultstore.Op) faultstore.Fault {
					if op.Number == at {
						return fault
					}
					return faultstore.None
				})
				id, err := w.Client().EnqueueRaw(w.Context(), "function", []byte("5"), core.EnqueueOptions{}) // a parent with a finalize function
				if err != nil {
					w.Fatal(err)
				}
				w.Until(coretest.ID(id), core.StatusCompleted)
				w.Skip(10 * time.Minute)
				w.CheckNothingLeft()
				mu.Lock()
				defer mu.Unlock()
				w.Store().Each(func(e *core.Execution) {
					if n := counts["finished "+e.ID]; n != 1 {
						w.Errorf("%s at operation %d: %s of task %s was told to be finished %d times", fault, at, e.ID, e.TaskID, n)
					}
				})
				if counts["attempts ended"] != starts {
					w.Errorf("%s at operation %d: %d attempts started, %d ended", fault, at, starts, counts["attempts ended"])
				}
			})
		}
	}
}

func TestAPassIsToldWithWhatWasDue(t *testing.T) {
	t.Parallel()
	type pass struct {
		loop      core.Loop
		done, due int
		age       time.Duration
	}
	var passes []pass
	observer := core.Observer{PassDone: func(_ context.Context, p core.PassDone) {
		if p.Result.Due == 0 || p.Result.Unseen {
			return
		}
		passes = append(passes, pass{p.Loop, p.Result.Done, p.Result.Due, time.Since(p.Result.OldestDue).Round(time.Second)})
	}}
	leaf := task("leaf", func(n int) (int, error) { return n, nil })
	coretest.RunWith(t, []core.Definition{leaf}, coretest.Options{Config: core.Config{Observer: observer}, NoExecutors: true}, func(w *coretest.World) {
		coretest.Enqueue(w, leaf, 1)
		w.Skip(time.Minute)
		coretest.Enqueue(w, leaf, 2)
		coretest.EnqueueWith(w, leaf, 3, core.EnqueueOptions{Delay: time.Hour})
		w.Skip(time.Minute)
		w.Start()
		w.Skip(time.Second)
		want := []pass{{core.LoopStartReady, 2, 2, 2 * time.Minute}}
		if diff := cmp.Diff(want, passes, cmp.AllowUnexported(pass{})); diff != "" {
			w.Error(diff)
		}
	})
}

func TestObserversAreToldInOrder(t *testing.T) {
	t.Parallel()
	var told []string
	one := func(name string) core.Observer {
		return core.Observer{
			AttemptStarted: func(ctx context.Context, _ core.AttemptStarted) context.Context {
				before, _ := ctx.Value(observedKey{}).(string)
				return context.WithValue(ctx, observedKey{}, before+name)
			},
			Finished: func(context.Context, *core.Execution) { told = append(told, name) },
		}
	}
	joined := core.Observers(core.Observer{}, one("a"), core.Observer{}, one("b"))
	ctx := joined.AttemptStarted(t.Context(), core.AttemptStarted{})
	joined.Finished(ctx, nil)
	if diff := cmp.Diff([]string{"a", "b"}, told); diff != "" || ctx.Value(observedKey{}) != "ab" || joined.PassDone != nil {
		t.Errorf("told %v, context %v", told, ctx.Value(observedKey{}))
	}
}

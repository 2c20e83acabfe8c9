package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// poison is a task that kills its process some time after it began, and beside is one that takes two seconds.
type poison struct {
	world  *coretest.World
	kill   *core.Task[time.Duration, int]
	beside *core.Task[int, int]
	kills  int
}

func newPoison(kill, beside core.TaskOptions) *poison {
	p := &poison{}
	p.kill = core.NewTask("kill", func(ctx context.Context, after time.Duration) (int, error) {
		select {
		case <-time.After(after):
			p.kills++
			p.world.Crash()
			<-ctx.Done()
		case <-ctx.Done():
		}
		return 0, context.Cause(ctx)
	}, kill)
	p.beside = core.NewTask("beside", func(ctx context.Context, in int) (int, error) {
		select {
		case <-time.After(2 * time.Second):
			return in, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, beside)
	return p
}

// crashed fails the test when an execution did not end as one that kills its process.
func crashed[Out any](w *coretest.World, h *core.Handle[Out]) {
	w.Helper()
	_, err := h.Wait(w.Context())
	var failed *core.ExecutionError
	if !errors.As(err, &failed) || failed.Failure.Code != core.CodeCrashed {
		w.Errorf("what kills its process ended with %v", err)
	}
}

func TestPoison_FailsNothingThatRunsBesideIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                              string
		tasks, concurrency, maxRecoveries int
		after                             time.Duration
		kill, beside                      core.TaskOptions
	}{
		{name: "as it comes", tasks: 20, after: time.Second},
		{name: "at once", tasks: 20},
		{name: "one recovery", tasks: 20, maxRecoveries: 1},
		{name: "one recovery, late", tasks: 20, maxRecoveries: 1, after: 1900 * time.Millisecond},
		{name: "two recoveries, little room", tasks: 20, concurrency: 3, maxRecoveries: 2, after: time.Second},
		{name: "no room beside it", tasks: 8, concurrency: 1, after: time.Second},
		{name: "many", tasks: 250, after: time.Second},
		{name: "many, little room", tasks: 120, concurrency: 7, after: 1500 * time.Millisecond},
		{name: "it has a short timeout", tasks: 20, after: 900 * time.Millisecond, kill: core.TaskOptions{Timeout: time.Second}},
		{name: "others have a short timeout", tasks: 20, after: time.Second, beside: core.TaskOptions{Timeout: 3 * time.Second}},
		{name: "others have a long timeout", tasks: 20, after: time.Second, beside: core.TaskOptions{Timeout: 15 * time.Minute}},
		{name: "many recoveries", tasks: 20, maxRecoveries: 12, after: time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPoison(c.kill, c.beside)
			opts := coretest.Options{Config: core.Config{Concurrency: c.concurrency, MaxRecoveries: c.maxRecoveries}}
			coretest.RunWith(t, []core.Definition{p.kill, p.beside}, opts, func(w *coretest.World) {
				p.world = w
				var handles []*core.Handle[int]
				var killer *core.Handle[int]
				for i := range c.tasks {
					if i == c.tasks/2 {
						killer = coretest.Enqueue(w, p.kill, c.after)
					}
					handles = append(handles, coretest.Enqueue(w, p.beside, i))
				}
				for i, h := range handles {
					if got := coretest.Wait(w, h); got != i {
						w.Errorf("%d returned %d", i, got)
					}
				}
				crashed(w, killer)
				recoveries := c.maxRecoveries
				if recoveries == 0 {
					recoveries = 5
				}
				if p.kills != recoveries+1 {
					w.Errorf("it killed %d processes, not %d", p.kills, recoveries+1)
				}
			})
		})
	}
}

// New work comes all the time: it must neither keep what was recovered from running apart nor fail for it.
func TestPoison_EndsThoughNewWorkComesAllTheTime(t *testing.T) {
	t.Parallel()
	p := newPoison(core.TaskOptions{}, core.TaskOptions{})
	coretest.RunWith(t, []core.Definition{p.kill, p.beside}, coretest.Options{Config: core.Config{Concurrency: 10}}, func(w *coretest.World) {
		p.world = w
		killers := []*core.Handle[int]{coretest.Enqueue(w, p.kill, time.Second), coretest.Enqueue(w, p.kill, 0)}
		var handles []*core.Handle[int]
		for i := range 1500 {
			handles = append(handles, coretest.Enqueue(w, p.beside, i))
			time.Sleep(700 * time.Millisecond)
		}
		for _, h := range handles {
			coretest.Wait(w, h)
		}
		for _, k := range killers {
			crashed(w, k)
			if e := w.Get(k); e.FinishedAt.Sub(e.CreatedAt) > 15*time.Minute {
				w.Errorf("it ended after %s", e.FinishedAt.Sub(e.CreatedAt))
			}
		}
	})
}

// What has no record before it ends, what was put as running, children of children, steps and finalize functions all run
// beside it.
func TestPoison_FailsNoChildStepOrFinalizeFunctionBesideIt(t *testing.T) {
	t.Parallel()
	p := newPoison(core.TaskOptions{}, core.TaskOptions{})
	fan := core.NewParentTaskWithFinalize("fan", func(_ context.Context, n int) (int, []core.Child, error) {
		children := make([]core.Child, n)
		for i := range children {
			children[i] = p.beside.Child(i)
		}
		return n, children, nil
	}, func(ctx context.Context, _ core.Results[int]) (int, error) {
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		return 1, nil
	}, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(core.Then(p.beside, p.beside), p.beside), core.TaskOptions{})
	coretest.Run(t, []core.Definition{p.kill, p.beside, fan, chain}, func(w *coretest.World) {
		p.world = w
		var handles []*core.Handle[int]
		for range 5 {
			handles = append(handles, coretest.Enqueue(w, fan, 30), coretest.Enqueue(w, chain, 1))
		}
		killer := coretest.Enqueue(w, p.kill, 1500*time.Millisecond)
		for _, h := range handles {
			coretest.Wait(w, h)
		}
		crashed(w, killer)
		w.Store().Each(func(e *core.Execution) {
			if e.TaskID != "kill" && e.Status != core.StatusCompleted {
				w.Errorf("%s %s is %s: %v", e.TaskID, e.ID, e.Status, e.Failure)
			}
		})
	})
}

// A finalize function that kills its process fails its parent, and nothing that runs beside it.
func TestPoison_InAFinalizeFunctionFailsItsParentAlone(t *testing.T) {
	t.Parallel()
	for _, maxRecoveries := range []int{1, 5} {
		t.Run(fmt.Sprint(maxRecoveries), func(t *testing.T) {
			t.Parallel()
			p := newPoison(core.TaskOptions{}, core.TaskOptions{})
			kills := 0
			finalize := func(id string, kill bool) *core.Task[int, int] {
				return core.NewParentTaskWithFinalize(id, func(context.Context, int) (int, []core.Child, error) {
					return 0, []core.Child{p.beside.Child(1)}, nil
				}, func(ctx context.Context, _ core.Results[int]) (int, error) {
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
						return 0, context.Cause(ctx)
					}
					if kill {
						kills++
						p.world.Crash()
						<-ctx.Done()
						return 0, context.Cause(ctx)
					}
					return 1, nil
				}, core.TaskOptions{})
			}
			good, bad := finalize("good", false), finalize("bad", true)
			opts := coretest.Options{Config: core.Config{MaxRecoveries: maxRecoveries}}
			coretest.RunWith(t, []core.Definition{p.kill, p.beside, good, bad}, opts, func(w *coretest.World) {
				p.world = w
				killer := coretest.Enqueue(w, bad, 0)
				var handles []*core.Handle[int]
				for i := range 20 {
					handles = append(handles, coretest.Enqueue(w, good, i), coretest.Enqueue(w, p.beside, i))
				}
				for i := range 60 { // others go on beside it
					handles = append(handles, coretest.Enqueue(w, p.beside, i))
					time.Sleep(time.Second)
				}
				for _, h := range handles {
					coretest.Wait(w, h)
				}
				crashed(w, killer)
				if kills > maxRecoveries+2 {
					w.Errorf("it killed %d processes", kills)
				}
			})
		})
	}
}

// What had to run apart once waited for that though the bound of its time was over and no code was to run for it.
func TestWhatHasToRunApartEndsWithItsTime(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	long := core.NewTask("long", func(ctx context.Context, _ int) (int, error) {
		close(started)
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: 10 * time.Hour})
	parent := core.NewParentTaskWithFinalize("parent", func(context.Context, int) (int, []core.Child, error) { return 0, nil, nil },
		func(context.Context, core.Results[int]) (int, error) { return 0, nil }, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{long, double, parent}, func(w *world) {
		w.config.MaxRecoveries = 1
		recovered := []*core.Handle[int]{
			enqueueWith(w, double, 1, core.EnqueueOptions{StartToFinish: 5 * time.Minute}),
			enqueueWith(w, double, 1, core.EnqueueOptions{ScheduleToStart: 5 * time.Minute}),
			enqueueWith(w, parent, 1, core.EnqueueOptions{StartToFinish: 5 * time.Minute}),
		}
		for i, h := range recovered { // their executor dies
			e := w.claim(h.ID())
			if i == 2 {
				e = w.update(e, core.CommitChildren{ExecutorID: "dead", RunOutput: core.Payload{Data: []byte("0")}, Nonce: core.NewNonce()})
				w.update(e, core.ClaimChildren{ExecutorID: "dead", ExpiresAt: time.Now().Add(35 * time.Second)})
			}
		}
		enqueue(w, long, 1)
		stop := w.start()
		<-started
		time.Sleep(2 * time.Minute)
		for _, h := range recovered {
			if e := w.get(h.ID()); e.Status.Finished() {
				w.Errorf("%s ended %s beside what it has to run apart from", e.TaskID, e.Status)
			}
		}
		time.Sleep(4 * time.Minute)
		for _, h := range recovered {
			if e := w.get(h.ID()); e.Status != core.StatusTimedOut {
				w.Errorf("%s is %s after its time: %v", e.TaskID, e.Status, e.Failure)
			}
		}
		stop()
	})
}

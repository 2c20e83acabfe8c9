package core_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
)

// invocations run the engine as functions do that are started once a minute: each is a process of its own, and ends.
type invocations struct {
	*world
	tasks func(kill func()) []core.Definition
	life  time.Duration
	all   sync.WaitGroup
}

// invoke begins an invocation of a loop's function.
func (v *invocations) invoke(loop core.Loop) {
	v.all.Go(func() {
		store := faultstore.NewWhole(v.store, func(faultstore.Op) faultstore.Fault { return faultstore.None })
		registry, err := core.NewRegistry(v.tasks(store.Kill)...)
		if err != nil {
			v.Error(err)
			return
		}
		e, err := core.NewEngine(core.Config{Store: store, Registry: registry, FunctionTimeout: v.life})
		if err != nil {
			v.Error(err)
			return
		}
		x := e.NewExecutor(core.ExecutorOptions{Deadline: time.Now().Add(v.life), SweepOnly: loop != core.LoopStartReady})
		ctx, end := context.WithCancel(context.WithoutCancel(v.ctx))
		defer end()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = x.Repeat(ctx, loop, time.Now().Add(time.Minute)) // it fails when it dies
			x.Flush()
		}()
		select {
		case <-done:
		case <-store.Died():
			end()
			x.Shutdown(ctx)
			<-done
		}
	})
}

// What had to run apart once never found an invocation that had time left for it when all else there had ended.
func TestPoison_EndsThoughInvocationsAreShortAndNewWorkComesAllTheTime(t *testing.T) {
	t.Parallel()
	type times struct{ life, timeout, work time.Duration }
	// code runs for a while, and kills its process where it is told to.
	code := func(ctx context.Context, kill func(), is bool, work time.Duration) (int, error) {
		if is {
			work = min(work, time.Minute)
		}
		select {
		case <-time.After(work):
			if is {
				kill()
				<-ctx.Done()
			}
		case <-ctx.Done():
		}
		return 1, context.Cause(ctx)
	}
	task := func(c times) func(kill func()) []core.Definition {
		return func(kill func()) []core.Definition {
			return []core.Definition{core.NewTask("task", func(ctx context.Context, is bool) (int, error) {
				return code(ctx, kill, is, c.work)
			}, core.TaskOptions{Timeout: c.timeout})}
		}
	}
	// Their children take so long that the finalize functions are left to invocations of their own.
	finalize := func(c times) func(kill func()) []core.Definition {
		return func(kill func()) []core.Definition {
			child := core.NewTask("child", func(ctx context.Context, _ bool) (int, error) {
				return code(ctx, nil, false, c.work)
			}, core.TaskOptions{Timeout: c.timeout})
			return []core.Definition{child, core.NewParentTaskWithFinalize("task", func(_ context.Context, is bool) (bool, []core.Child, error) {
				return is, []core.Child{child.Child(is)}, nil
			}, func(ctx context.Context, r core.Results[bool]) (int, error) {
				return code(ctx, kill, r.Output, c.work)
			}, core.TaskOptions{Timeout: c.timeout})}
		}
	}
	long := times{15 * time.Minute, 10 * time.Minute, 6 * time.Minute}
	for name, c := range map[string]struct {
		times
		tasks     func(kill func()) []core.Definition
		perMinute int
	}{
		"long tasks":              {long, task(long), 3},
		"invocations are full":    {times{time.Minute, 50 * time.Second, 20 * time.Second}, task(times{time.Minute, 50 * time.Second, 20 * time.Second}), 60},
		"long finalize functions": {long, finalize(long), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := &invocations{world: newWorld(t, c.tasks(nil)), tasks: c.tasks, life: c.life}
				enqueue := func(is string) *core.Execution {
					id, err := v.client.EnqueueRaw(v.ctx, "task", []byte(is), core.EnqueueOptions{})
					if err != nil {
						t.Fatal(err)
					}
					return v.get(id)
				}
				killer := enqueue("true")
				for minute := 0; !killer.Status.Finished() || !v.closed(); minute++ {
					if minute == 240 {
						t.Errorf("not all has ended after %d minutes: %s", minute, killer.Status)
						break
					}
					for _, loop := range core.Loops() {
						v.invoke(loop)
					}
					for range c.perMinute {
						if !killer.Status.Finished() {
							enqueue("false")
						}
						time.Sleep(time.Minute / time.Duration(c.perMinute))
					}
					killer = v.get(killer.ID)
				}
				v.all.Wait()
				v.store.Each(func(e *core.Execution) {
					if e.ID == killer.ID {
						if e.Failure == nil || e.Failure.Code != core.CodeCrashed {
							t.Errorf("what kills its process ended %s: %+v", e.Status, e.Failure)
						}
					} else if e.Status.Finished() && e.Status != core.StatusCompleted {
						t.Errorf("%s beside it is %s: %v", e.TaskID, e.Status, e.Failure)
					}
				})
			})
		})
	}
}

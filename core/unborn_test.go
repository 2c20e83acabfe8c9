package core_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
)

// fanOf returns a parent whose children take the given times, and the task of the children.
func fanOf() (fan *core.Task[[]time.Duration, core.Results[int]], child *core.Task[time.Duration, int]) {
	child = core.NewTask("child", func(ctx context.Context, d time.Duration) (int, error) {
		select {
		case <-time.After(d):
			return 1, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: time.Minute})
	fan = core.NewParentTask("fan", func(_ context.Context, times []time.Duration) (int, []core.Child, error) {
		children := make([]core.Child, len(times))
		for i, d := range times {
			children[i] = child.Child(d)
		}
		return len(times), children, nil
	}, core.TaskOptions{Timeout: time.Minute})
	return fan, child
}

// tally counts the operations of a store by name.
type tally struct {
	mu  sync.Mutex
	ops map[string]int
}

// counted wraps a world's store so that its operations are counted.
func counted(w *world) *tally {
	t := &tally{ops: map[string]int{}}
	w.config.Store = faultstore.New(w.store, func(op faultstore.Op) faultstore.Fault {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.ops[op.Name]++
		return faultstore.None
	})
	return t
}

// of returns how many operations of these names there were.
func (t *tally) of(names ...string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, name := range names {
		n += t.ops[name]
	}
	return n
}

func (t *tally) writes() int { return t.of("Insert", "Update", "CountFinished") }

func TestAFamilyThatRunsAtOnceIsAWriteForEachChildAndTwoForItsParent(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		ops := counted(w)
		h := enqueue(w, fan, make([]time.Duration, 50))
		stop := w.start()
		wait(w, h)
		stop()
		if got := ops.writes(); got != 50+2 {
			t.Errorf("%d writes, want 50 of children, the commitment and the end: %v", got, ops.ops)
		}
		w.checkClosed()
	})
}

func TestAChildIsPutAsRunningWhenItTakesLonger(t *testing.T) {
	fan, child := fanOf()
	inWorld(t, []core.Definition{fan, child}, func(w *world) {
		h := enqueue(w, fan, []time.Duration{0, 10 * time.Second})
		time.Sleep(5 * time.Second)
		parent := w.get(h.ID())
		if parent.Queue != core.QueueNone || parent.ActiveChildren() != 1 {
			t.Errorf("the parent is in queue %q with %d active children, want none and 1", parent.Queue, parent.ActiveChildren())
		}
		if running := w.get(parent.ChildID(1)); running.Status != core.StatusRunning || running.Queue != core.QueueRunning {
			t.Errorf("the slow child is %s in queue %q", running.Status, running.Queue)
		}
		wait(w, h)
	})
}

func TestAnUnbornChildThatFailsIsRetried(t *testing.T) {
	var mu sync.Mutex
	attempts := 0
	child := core.NewTask("child", func(ctx context.Context, _ int) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if attempts++; attempts != core.InfoOf(ctx).Attempt {
			t.Errorf("attempt %d calls itself %d", attempts, core.InfoOf(ctx).Attempt)
		}
		if attempts < 3 {
			return 0, errors.New("not yet")
		}
		return attempts, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{child.Child(0)}, nil
	}, core.TaskOptions{})
	inWorld(t, []core.Definition{parent, child}, func(w *world) {
		out := wait(w, enqueue(w, parent, 0))
		if got, err := child.Result(out.Children[0]); got != 3 || err != nil {
			t.Errorf("the child came to %d, %v", got, err)
		}
	})
}

// The put of a running child may take effect though nobody waits for its answer any more: that is no sign that others
// have put it.
func TestAnUnansweredPutOfARunningChildLeavesItsSiblingsAlone(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Concurrency = 4
		times := make([]time.Duration, 40)
		for i := range times {
			times[i] = 200 * time.Millisecond
		}
		times[0] = 700 * time.Millisecond
		ops := counted(w)
		w.config.Store = &late{Store: w.config.Store}
		h := enqueue(w, fan, times)
		began := time.Now()
		stop := w.start()
		wait(w, h)
		stop()
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s: a child was recovered or made by others", took)
		}
		// Beyond a write for each child, the commitment and the end: the late child's end and count, twice as it is retried.
		if got := ops.writes(); got > 40+2+8 {
			t.Errorf("%d writes: %v", got, ops.ops)
		}
		w.checkClosed()
	})
}

// late answers the first insert of a running child when its caller has given up.
type late struct {
	core.Store
	once sync.Once
}

func (s *late) Insert(ctx context.Context, executions []*core.Execution) []error {
	errs := s.Store.Insert(ctx, executions)
	if executions[0].Status == core.StatusRunning && executions[0].Parent != nil {
		s.once.Do(func() {
			<-ctx.Done()
			errs[0] = ctx.Err()
		})
	}
	return errs
}

// A child that somebody else put is at its first revision, as one is that this executor has put: an executor whose put
// got no answer once wrote over a child that had been put as cancelled meanwhile, and made it ready again.
func TestAChildWhosePutGotNoAnswerAndThatWasCancelledStaysSo(t *testing.T) {
	child := core.NewTask("child", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}, core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{child.Child(0)}, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, child}, func(w *world) {
		w.config.Store = faultstore.New(w.store, func(op faultstore.Op) faultstore.Fault {
			if op.Name == "Insert" && op.Number < 40 {
				return faultstore.Lost // every try to put the child as running, and the first ones to give it back
			}
			return faultstore.None
		})
		stop := w.start()
		h := enqueue(w, parent, 0)
		for w.get(h.ID()).Status != core.StatusWaitingForChildren {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(600 * time.Millisecond) // the child is being put
		if err := h.Cancel(w.ctx, "no"); err != nil {
			t.Fatal(err)
		}
		w.settle()
		stop()
		if c := w.get(w.get(h.ID()).ChildID(0)); c.Status != core.StatusCancelled {
			t.Errorf("the child is %s", c.Status)
		}
		w.checkClosed()
	})
}

// The put of a finished child may take effect though its executor never learns of it: the executor once took the record
// for somebody else's, who would count it, and left its parent without an entry for ever.
func TestAFinishedChildWhosePutWasNeverAnsweredIsCounted(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		w.config.Store = &neverAnswered{Store: w.store}
		h := enqueue(w, fan, []time.Duration{400 * time.Millisecond, 5 * time.Second})
		stop := w.start()
		ctx, cancel := context.WithTimeout(w.ctx, 3*time.Minute)
		defer cancel()
		out, err := h.Wait(ctx)
		if err != nil {
			t.Error(err)
		} else {
			w.settle()
		}
		stop()
		for i, c := range out.Children {
			if c.Status != core.StatusCompleted {
				t.Errorf("child %d is %s", i, c.Status)
			}
		}
		w.checkClosed()
	})
}

// neverAnswered is a store that fails for half a minute: it puts the first child that is finished, and answers neither that
// nor another try before its caller gives up, and until then refuses the checks of parents.
type neverAnswered struct {
	core.Store
	mu   sync.Mutex
	id   string
	over atomic.Bool
}

func (s *neverAnswered) ClaimChildrenFinished(ctx context.Context, claim core.Claim) (core.Swept, error) {
	if !s.over.Load() {
		return core.Swept{}, faultstore.ErrRefused
	}
	return s.Store.ClaimChildrenFinished(ctx, claim)
}

func (s *neverAnswered) Insert(ctx context.Context, executions []*core.Execution) []error {
	errs := s.Store.Insert(ctx, executions)
	e := executions[0]
	s.mu.Lock()
	if s.id == "" && e.Parent != nil && e.Status.Finished() {
		s.id = e.ID
	}
	unanswered := s.id == e.ID && e.Status.Finished()
	s.mu.Unlock()
	if unanswered {
		<-ctx.Done()
		time.AfterFunc(time.Second, func() { s.over.Store(true) })
		errs[0] = ctx.Err()
	}
	return errs
}

// startAndDie starts what is ready in an executor of its own, whose store has the faults of hook.
func (w *world) startAndDie(hook func(faultstore.Op) faultstore.Fault) {
	w.Helper()
	config := w.config
	config.Store = faultstore.New(w.store, hook)
	engine, err := core.NewEngine(config)
	if err != nil {
		w.Fatal(err)
	}
	x := engine.NewExecutor(core.ExecutorOptions{})
	_, _ = x.StartReady(w.ctx, 1) // it dies
	x.Flush()
}

// The parent's entry stays until its children are counted: whoever looks then makes and counts what is missing.
func TestUnbornChildrenOfALostExecutorAreMadeByTheSpawnCheck(t *testing.T) {
	for _, dies := range []string{"before the children", "between the children", "before the count"} {
		t.Run(dies, func(t *testing.T) {
			fan, child := fanOf()
			inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
				h := enqueue(w, fan, make([]time.Duration, 3))
				inserts := 0
				w.startAndDie(func(op faultstore.Op) faultstore.Fault {
					if op.Name == "Insert" {
						inserts++
					}
					switch {
					case dies == "before the children" && op.Name == "Update",
						dies == "between the children" && inserts == 2,
						dies == "before the count" && inserts == 3:
						return faultstore.Dies
					}
					return faultstore.None
				})
				begun := time.Now()
				stop := w.start()
				out := wait(w, h)
				stop()
				if len(out.Children) != 3 || time.Since(begun) > 17*time.Second {
					t.Errorf("%d children after %s, want 3 within the spawn check, the leeway and a poll", len(out.Children), time.Since(begun))
				}
				w.checkClosed()
			})
		})
	}
}

// checkOvertaken lets a child that a parent's check has put end, and be counted, before the check notes what it saw.
type checkOvertaken struct{ core.Store }

func (s checkOvertaken) Update(ctx context.Context, updates []core.Update) []error {
	for _, u := range updates {
		if f := u.Before.Family; f != nil && f.Processing == core.ProcessingProcessing {
			time.Sleep(time.Second)
		}
	}
	return s.Store.Update(ctx, updates)
}

// The last child was counted between a check's look at the children and its write: the check then took the parent to be
// finished, and it stood still until the lease on it was over.
func TestACheckThatTheLastChildOvertakesGoesOnWithTheParent(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		h := enqueue(w, fan, make([]time.Duration, 3))
		inserts := 0
		w.startAndDie(func(op faultstore.Op) faultstore.Fault {
			if op.Name == "Insert" {
				if inserts++; inserts == 2 {
					return faultstore.Dies
				}
			}
			return faultstore.None
		})
		w.config.Store = checkOvertaken{w.store}
		begun := time.Now()
		stop := w.start()
		out := wait(w, h)
		stop()
		if len(out.Children) != 3 || time.Since(begun) > 20*time.Second {
			t.Errorf("%d children after %s, want 3 soon after the check", len(out.Children), time.Since(begun))
		}
		w.checkClosed()
	})
}

func TestACancelledParentEndsChildrenThatAreNotPutYet(t *testing.T) {
	var told time.Duration // read after the engine has stopped
	var cause error
	child := core.NewTask("child", func(ctx context.Context, _ int) (int, error) {
		begun := time.Now()
		<-ctx.Done()
		told, cause = time.Since(begun), context.Cause(ctx)
		return 0, cause
	}, core.TaskOptions{})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{child.Child(0)}, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, child}, func(w *world) {
		stop := w.start()
		h := enqueue(w, parent, 0)
		for w.get(h.ID()).Status != core.StatusWaitingForChildren {
			time.Sleep(10 * time.Millisecond)
		}
		if err := h.Cancel(w.ctx, "no"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		stop()
		if told > 2*time.Second || !errors.Is(cause, core.ErrCancelled) {
			t.Errorf("the code was told after %s: %v", told, cause)
		}
		e := w.get(h.ID())
		if c := w.get(e.ChildID(0)); c.Status != core.StatusCancelled {
			t.Errorf("the child is %s", c.Status)
		}
		w.checkClosed()
	})
}

// Cancellations were once asked for no more when a look found all attempts being written and none running.
func TestACancelReachesChildrenThatStartWhenNothingElseRuns(t *testing.T) {
	var told atomic.Bool
	child := core.NewTask("child", func(ctx context.Context, n int) (int, error) {
		if n < 4 {
			return n, nil
		}
		<-ctx.Done()
		told.Store(true)
		return 0, context.Cause(ctx)
	}, core.TaskOptions{Timeout: time.Hour})
	parent := core.NewParentTask("parent", func(context.Context, int) (int, []core.Child, error) {
		children := make([]core.Child, 5)
		for i := range children {
			children[i] = child.Child(i)
		}
		return 0, children, nil
	}, core.TaskOptions{})
	inIdleWorld(t, []core.Definition{parent, child}, func(w *world) {
		w.config.Concurrency = 1
		w.config.Store = slow{w.config.Store, 1500 * time.Millisecond}
		h := enqueue(w, parent, 0)
		stop := w.start()
		time.Sleep(20 * time.Second)
		if err := h.Cancel(w.ctx, "no"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !told.Load() {
			t.Error("after 5 s the code was not told")
		}
		stop()
	})
}

func TestAnEnginesOwnClientStartsWhatItEnqueues(t *testing.T) {
	fan, child := fanOf()
	inIdleWorld(t, []core.Definition{fan, child}, func(w *world) {
		ops := counted(w)
		engine := w.engine()
		client, err := engine.NewClient(core.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(w.ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = engine.Run(ctx)
		}()
		time.Sleep(time.Minute) // it has nothing to do, and looks seldom
		claims := ops.of("ClaimReady")
		begun := time.Now()
		h, err := child.Enqueue(w.ctx, client, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Wait(w.ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 0 || ops.of("ClaimReady") != claims || ops.writes() != 2 {
			t.Errorf("it took %s, %d claims and %d writes, want none but 2 writes", took, ops.of("ClaimReady")-claims, ops.writes())
		}

		begun = time.Now()
		at := begun.Add(90*time.Second + 7*time.Millisecond)
		h, err = child.EnqueueWith(w.ctx, client, 0, core.EnqueueOptions{StartAt: at})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Wait(w.ctx); err != nil {
			t.Fatal(err)
		}
		e, err := h.Get(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if late := e.StartedAt.Sub(at); late < 0 || late > 2*time.Millisecond {
			t.Errorf("what is to start at a time started %s after it", late)
		}

		many := make([]core.BulkItem[time.Duration], 500) // more than there is room for
		results := child.EnqueueMany(w.ctx, client, many, nil)
		begun = time.Now()
		for _, r := range slices.Backward(results) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if _, err := r.Handle.Wait(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("500 took %s", took)
		}
		stop()
		<-ended
		w.checkClosed()
	})
}

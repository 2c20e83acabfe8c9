package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
)

// waiting returns a task that waits for a signal under each key of its list, and fails where told to. Its keys may change
// between two runs, as code does.
type waiting struct {
	keys   []string
	nested map[string]bool // keys that are waited for one level further down
	broken bool
}

func (s *waiting) tasks() (parent *core.Task[string, string], all []core.Definition) {
	ask := func(keys []string) []core.Child {
		var children []core.Child
		for _, key := range keys {
			children = append(children, approval.Child(key))
		}
		return children
	}
	join := func(r core.Results[string]) (string, error) {
		var out []string
		for _, c := range r.Children {
			text, err := approval.Result(c)
			if err != nil && c.TaskID == "below" {
				return "", c.Failure
			}
			if err != nil {
				return "", err
			}
			out = append(out, text)
		}
		return strings.Join(out, " "), nil
	}
	below := core.NewParentTaskWithFinalize("below", func(_ context.Context, key string) (string, []core.Child, error) {
		return "", ask([]string{key}), nil
	}, func(_ context.Context, r core.Results[string]) (string, error) { return join(r) }, core.TaskOptions{})
	parent = core.NewParentTaskWithFinalize("parent", func(context.Context, string) (string, []core.Child, error) {
		var children []core.Child
		for _, key := range s.keys {
			if s.nested[key] {
				children = append(children, below.Child(key))
			} else {
				children = append(children, approval.Child(key))
			}
		}
		return "", children, nil
	}, func(_ context.Context, r core.Results[string]) (string, error) {
		var out []string
		for _, c := range r.Children {
			task := approval
			if c.TaskID == below.ID() {
				task = below
			}
			text, err := task.Result(c)
			if err != nil {
				return "", err
			}
			out = append(out, text)
		}
		if s.broken {
			return "", errors.New("broken")
		}
		return strings.Join(out, " "), nil
	}, core.TaskOptions{})
	return parent, []core.Definition{parent, below, approval}
}

// A redrive ended "the unique key 17 is taken", by its own old tree.
func TestARedriveTakesOverASignalWhereverItsWaiterStands(t *testing.T) {
	for name, c := range map[string]struct {
		keys   []string
		nested string // key that is waited for below another parent then
		before string // key that was waited for there in the first run
	}{
		"another place":      {keys: []string{"other", "17"}},
		"below another one":  {keys: []string{"other", "17"}, nested: "17"},
		"moved up":           {keys: []string{"other", "17"}, before: "17"},
		"the same place":     {keys: []string{"17", "other"}},
		"the same below one": {keys: []string{"17", "other"}, nested: "17", before: "17"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &waiting{keys: []string{"17"}, nested: map[string]bool{c.before: true}, broken: true}
			parent, tasks := s.tasks()
			inWorld(t, tasks, func(w *world) {
				h := enqueue(w, parent, "")
				time.Sleep(time.Minute)
				if _, err := wakeup(w, "17", "paid"); err != nil {
					w.Fatal(err)
				}
				ended(w, h)
				w.settle()
				s.keys, s.nested = c.keys, map[string]bool{c.nested: true}
				for range 2 { // the second redrives a redrive
					h = redrive(w, h, parent)
					time.Sleep(time.Minute)
					if e := w.get(h.ID()); e.Status.Finished() {
						break
					}
					if _, err := wakeup(w, "17", "again"); !errors.Is(err, core.ErrFinished) {
						w.Errorf("woken twice: error %v", err)
					}
					if _, err := wakeup(w, "other", "too"); err != nil {
						w.Fatal(err)
					}
					ended(w, h)
					w.settle()
				}
				s.broken = false
				want := strings.NewReplacer("17", "paid", "other", "too").Replace(strings.Join(c.keys, " "))
				if got := wait(w, redrive(w, h, parent)); got != want {
					w.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// A sleeper that was not woken sleeps again, in a round of its own, wherever it stands.
func TestARedriveWaitsAgainWhereverTheWaiterStands(t *testing.T) {
	s := &waiting{keys: []string{"17"}}
	parent, tasks := s.tasks()
	inWorld(t, tasks, func(w *world) {
		h := enqueue(w, parent, "")
		ended(w, h) // nobody wakes it
		w.settle()
		s.keys, s.nested = []string{"other", "17"}, map[string]bool{"17": true}
		h = redrive(w, h, parent)
		ended(w, h)
		w.settle()
		s.nested = nil
		h = redrive(w, h, parent)
		time.Sleep(time.Minute)
		for _, key := range s.keys {
			if _, err := wakeup(w, key, "yes"); err != nil {
				w.Fatal(err)
			}
		}
		if got := wait(w, h); got != "yes yes" {
			w.Error(got)
		}
	})
}

func TestAKeyOfAnotherTreeIsTakenForARedriveToo(t *testing.T) {
	s := &waiting{keys: []string{"17"}}
	parent, tasks := s.tasks()
	inWorld(t, tasks, func(w *world) {
		h := enqueue(w, parent, "")
		ended(w, h)
		other := enqueue(w, approval, "other")
		w.settle()
		s.keys = []string{"other"}
		h = redrive(w, h, parent)
		if e := ended(w, h); !strings.Contains(e.Failure.Message, "taken by execution "+other.ID()) {
			w.Errorf("failure %v", e.Failure)
		}
		if err := other.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
	})
}

// step is a sequence whose second step waits under the key that the first says.
func waitingSteps(l *ledger) (seq *core.Task[string, string], all []core.Definition) {
	name := core.NewTask("name", func(_ context.Context, in string) (string, error) { return in, l.run("name") }, core.TaskOptions{})
	last := core.NewTask("last", func(_ context.Context, in string) (string, error) { return "last " + in, l.run("last") }, core.TaskOptions{})
	seq = core.NewSequentialTask("seq", core.Then(core.Then(name, approval), last), core.TaskOptions{})
	return seq, []core.Definition{seq, name, last, approval}
}

func TestARedrivenSequenceTakesOverItsSignalOrWaitsAgain(t *testing.T) {
	l := newLedger("last")
	seq, tasks := waitingSteps(l)
	first := core.NewSequentialTask("first", core.Then(approval, tasks[2].(*core.Task[string, string])), core.TaskOptions{})
	inWorld(t, append(tasks, first), func(w *world) {
		for key, task := range map[string]*core.Task[string, string]{"k": seq, "first": first} {
			h := enqueue(w, task, key)
			ended(w, h) // it sleeps too long
			w.settle()
			h = redrive(w, h, task)
			time.Sleep(time.Minute)
			if _, err := wakeup(w, key, "yes"); err != nil {
				w.Fatal(err)
			}
			ended(w, h) // last is broken
			w.settle()
			l.repair()
			if got := wait(w, redrive(w, h, task)); got != "last yes" {
				w.Error(got)
			}
			l.broken = map[string]bool{"last": true}
		}
	})
}

// A step whose key is what a step before came to that runs again had its key taken by its own old tree.
func TestARedrivenSequenceFindsTheKeyOfALaterStep(t *testing.T) {
	l := newLedger("last")
	leaf := l.leaf()
	name := core.NewParentTaskWithFinalize("name", func(_ context.Context, in string) (string, []core.Child, error) {
		return in, []core.Child{leaf.Child("b")}, l.run("name")
	}, func(_ context.Context, r core.Results[string]) (string, error) { return r.Output, nil }, core.TaskOptions{})
	last := core.NewTask("last", func(_ context.Context, in string) (string, error) { return "last " + in, l.run("last") }, core.TaskOptions{})
	seq := core.NewSequentialTask("seq", core.Then(core.Then(name, approval), last), core.TaskOptions{})
	l.broken["b"] = true // what fails below the first step makes that run again
	inWorld(t, []core.Definition{seq, name, approval, last, leaf}, func(w *world) {
		h := enqueue(w, seq, "k")
		ended(w, h)
		w.settle()
		h = redrive(w, h, seq)
		time.Sleep(time.Minute)
		if _, err := wakeup(w, "k", "yes"); err != nil {
			w.Fatal(err)
		}
		ended(w, h)
		w.settle()
		l.repair()
		start := time.Now()
		if got := wait(w, redrive(w, h, seq)); got != "last yes" {
			w.Error(got)
		}
		if took := time.Since(start); took > 10*time.Second {
			w.Errorf("the signal that was there took %s", took)
		}
	})
}

// A signal between a redrive and its new waiter was told that all was finished before, and was lost.
func TestASignalBetweenARedriveAndItsWaiterIsKept(t *testing.T) {
	s := &waiting{keys: []string{"17"}}
	parent, tasks := s.tasks()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tasks)
		stop := w.start()
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		stop()
		if _, err := wakeup(w, "17", "late"); !errors.Is(err, core.ErrFinished) {
			t.Errorf("before the redrive: error %v", err)
		}
		h = redrive(w, h, parent)
		early, err := wakeup(w, "17", "yes")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wakeup(w, "17", "no"); !errors.Is(err, core.ErrFinished) {
			t.Errorf("the second one: error %v", err)
		}
		stop = w.start()
		if got := wait(w, h); got != "yes" {
			t.Error(got)
		}
		if got := wait(w, early); got != "yes" {
			t.Errorf("by its own handle: %s", got)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

// dies returns a client whose process dies with the n-th operation of the name.
func (w *world) dies(name string, n int) *core.Client {
	w.Helper()
	store := faultstore.New(w.store, func(op faultstore.Op) faultstore.Fault {
		if op.Name == name {
			if n--; n == 0 {
				return faultstore.Dies
			}
		}
		return faultstore.None
	})
	c, err := core.NewClient(store, core.ClientOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// cancelled makes a tree whose canceller dies before its follow-up, and returns its root.
func (w *world) cancelled(parent *core.Task[string, string]) *core.Handle[string] {
	w.Helper()
	stop := w.start()
	h := enqueue(w, parent, "")
	time.Sleep(time.Minute)
	stop()
	_ = w.dies("Update", 1).Cancel(w.ctx, h.ID(), "")
	if e := w.get(h.ID()); e.Status != core.StatusCancelled {
		w.Fatalf("%v", e.Status)
	}
	return h
}

// A signal for a tree whose canceller had died went to the cancelled tree's waiter, and the sender was told success.
func TestASignalToATreeWhoseCancellerDiedIsRefused(t *testing.T) {
	for _, nested := range []bool{false, true} {
		s := &waiting{keys: []string{"17"}, nested: map[string]bool{"17": nested}}
		parent, tasks := s.tasks()
		inIdleWorld(t, tasks, func(w *world) {
			w.cancelled(parent)
			if e := w.get(core.SleepID("17")); e.Status != core.StatusRunning {
				w.Fatalf("the sleeper is %s", e.Status)
			}
			h, err := wakeup(w, "17", "yes")
			if !errors.Is(err, core.ErrFinished) {
				w.Errorf("error %v", err)
			}
			if e, err := h.Get(w.ctx); err != nil || e.Status != core.StatusCancelled {
				w.Errorf("the sleeper is %v, error %v", e, err)
			}
			stop := w.start()
			w.settle()
			stop()
			w.checkClosed()
		})
	}
}

func TestASignalAfterACancelledTreeIsRedrivenReachesTheNewWaiter(t *testing.T) {
	for _, nested := range []bool{false, true} {
		for _, when := range []string{"before the waiter", "after the waiter"} {
			s := &waiting{keys: []string{"17"}, nested: map[string]bool{"17": nested}}
			parent, tasks := s.tasks()
			inIdleWorld(t, tasks, func(w *world) {
				h := redrive(w, w.cancelled(parent), parent)
				if when == "after the waiter" { // by an executor that does nothing else
					w.hinted(time.Time{}, time.Minute, core.Hint{ID: h.ID()})
				}
				if _, err := wakeup(w, "17", "yes"); err != nil {
					w.Fatalf("%s, nested %t: %v", when, nested, err)
				}
				stop := w.start()
				if got := wait(w, h); got != "yes" {
					w.Error(got)
				}
				w.settle()
				stop()
				w.checkClosed()
			})
		}
	}
}

// What is finished and not followed up may also be a parent in the middle, when the root is redriven.
func TestARedriveCancelsTheWaiterThatWasLeftBehind(t *testing.T) {
	s := &waiting{keys: []string{"17"}, nested: map[string]bool{"17": true}}
	parent, tasks := s.tasks()
	inIdleWorld(t, tasks, func(w *world) {
		stop := w.start()
		h := enqueue(w, parent, "")
		time.Sleep(time.Minute)
		stop()
		below, err := w.client.Children(w.ctx, h.ID())
		if err != nil || len(below) != 1 {
			w.Fatalf("%v, error %v", below, err)
		}
		// The one in the middle is cancelled and told to its parent; what is below it is left, since everybody dies.
		w.update(below[0], core.Cancel{})
		results := w.store.CountFinished(w.ctx, time.Now(), []core.Count{{ParentID: h.ID(), Siblings: 1, Indexes: []int{0}}})
		if results[0].Err != nil {
			w.Fatal(results[0].Err)
		}
		root := w.get(h.ID())
		w.update(root, core.Cancel{})
		h = redrive(w, h, parent)
		if e := w.get(core.SleepID("17")); e.Status != core.StatusRunning {
			w.Fatalf("the old sleeper is %s", e.Status)
		}
		w.hinted(time.Time{}, time.Minute, core.Hint{ID: h.ID()})
		if e := w.get(core.SleepID("17")); e.Status != core.StatusCancelled {
			w.Errorf("the old sleeper is %s", e.Status)
		}
		if _, err := wakeup(w, "17", "yes"); err != nil {
			w.Fatal(err)
		}
		stop = w.start()
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

// The sender looks at the parents, the tree is cancelled and redriven, and then the sender writes.
func TestASignalThatIsOvertakenByARedriveIsNotLost(t *testing.T) {
	for _, when := range []string{"cancelled", "redriven", "waiting again"} {
		s := &waiting{keys: []string{"17"}}
		parent, tasks := s.tasks()
		inIdleWorld(t, tasks, func(w *world) {
			stop := w.start()
			h := enqueue(w, parent, "")
			time.Sleep(time.Minute)
			stop()
			var overtaken bool
			store := faultstore.New(w.store, func(op faultstore.Op) faultstore.Fault {
				if op.Name == "Update" && op.ID == core.SleepID("17") && !overtaken {
					overtaken = true
					_ = w.dies("Update", 1).Cancel(w.ctx, h.ID(), "")
					if when != "cancelled" {
						h = redrive(w, h, parent)
					}
					if when == "waiting again" {
						w.hinted(time.Time{}, time.Minute, core.Hint{ID: h.ID()})
					}
				}
				return faultstore.None
			})
			c, err := core.NewClient(store, core.ClientOptions{})
			if err != nil {
				w.Fatal(err)
			}
			if _, err := core.Wakeup(w.ctx, c, approval, "17", "yes"); err != nil || !overtaken {
				w.Fatalf("%s: overtaken %t, error %v", when, overtaken, err)
			}
			if when == "cancelled" {
				h = redrive(w, h, parent)
			}
			stop = w.start()
			if got := wait(w, h); got != "yes" {
				w.Errorf("%s: %s", when, got)
			}
			w.settle()
			stop()
			w.checkClosed()
		})
	}
}

// The waiter comes between the sender's look and its write.
func TestASignalThatIsKeptWhileTheWaiterComesWakesIt(t *testing.T) {
	s := &waiting{keys: []string{"17"}}
	parent, tasks := s.tasks()
	inIdleWorld(t, tasks, func(w *world) {
		stop := w.start()
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		stop()
		h = redrive(w, h, parent)
		var overtaken bool
		store := faultstore.New(w.store, func(op faultstore.Op) faultstore.Fault {
			if op.Name == "Insert" && !overtaken {
				overtaken = true
				w.hinted(time.Time{}, time.Minute, core.Hint{ID: h.ID()})
			}
			return faultstore.None
		})
		c, err := core.NewClient(store, core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		if _, err := core.Wakeup(w.ctx, c, approval, "17", "yes"); err != nil || !overtaken {
			w.Fatalf("overtaken %t, error %v", overtaken, err)
		}
		stop = w.start()
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

// A redrive that ends without having waited leaves the signal to the next one.
func TestASignalThatARedriveDidNotTakeIsTheNextOnes(t *testing.T) {
	s := &waiting{keys: []string{"17"}}
	parent, tasks := s.tasks()
	inIdleWorld(t, tasks, func(w *world) {
		stop := w.start()
		h := enqueue(w, parent, "")
		ended(w, h)
		w.settle()
		stop()
		h = redrive(w, h, parent)
		if _, err := wakeup(w, "17", "yes"); err != nil {
			w.Fatal(err)
		}
		if err := h.Cancel(w.ctx, ""); err != nil {
			w.Fatal(err)
		}
		h = redrive(w, h, parent)
		stop = w.start()
		if got := wait(w, h); got != "yes" {
			w.Error(got)
		}
		w.settle()
		stop()
		w.checkClosed()
	})
}

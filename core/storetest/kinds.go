package storetest

import (
	"errors"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func kindTests() []test {
	return []test{
		{"the children of a sequence are its committed steps", stepsAreChildren},
		{"the spawn check of a sequence names its present step alone", checkSpawnOfStep},
		{"a step is counted once and makes its sequence due", countStep},
		{"a finished step is counted when it is marked closable", markStep},
		{"a sleeping child is found under its key, or under its derived id", sleepingChildren},
		{"a kept wake-up is no sleeping execution", keptWakeup},
		{"a kept wake-up gives its place and its output to its sleeper", adoptedWakeup},
		{"of a kept wake-up and a sleeper one is put", keptOrSleeper},
	}
}

// sequence returns a parent of 200 steps that is committed to those up to the given one.
func (s *suite) sequence(id string, step int) *core.Execution {
	s.Helper()
	ev := commit(200, at(10))
	ev.Sequential, ev.Step = true, step
	return s.apply(s.running(id, at(60)), ev, at(1))
}

// stepOf returns the first record of a step.
func stepOf(parent *core.Execution, index int) *core.Execution {
	e := childOf(parent, index, base)
	e.Parent.Siblings = 0
	return e
}

func stepsAreChildren(s *suite) {
	parent := s.sequence("parent", 2)
	s.insert(parent, stepOf(parent, 2), stepOf(parent, 0), stepOf(parent, 3), stepOf(parent, 1))
	s.ids(s.children("parent")[0], parent.ChildID(0), parent.ChildID(1), parent.ChildID(2))
}

func checkSpawnOfStep(s *suite) {
	parent := s.sequence("parent", 2)
	s.insert(parent)
	s.missing(parent, 2)
	s.insert(stepOf(parent, 2))
	s.missing(parent)
}

func countStep(s *suite) {
	parent := s.sequence("parent", 160) // a number over core.CountDirect
	s.insert(parent)
	for _, other := range []int{159, 161, 0} {
		if got := s.count("parent", 0, other); got.Rev != parent.Rev || got.Family.StepDone {
			s.Fatalf("step %d counted: revision %d, %+v", other, got.Rev, got.Family)
		}
	}
	got := s.count("parent", 0, 160)
	s.changed(parent, got, core.CountChildren{Units: []int{160}}, at(5))
	s.same(got, s.count("parent", 0, 160))
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(5), 10) }), "parent")
}

func markStep(s *suite) {
	parent := s.sequence("parent", 1)
	step := s.apply(stepOf(parent, 1), core.Cancel{Reason: "why"}, at(2))
	s.insert(parent, step)
	s.ids(s.swept(1, func() (core.Swept, error) { return s.markClosable(at(5), 10) }), step.ID)
	if got := s.get("parent"); !got.Family.StepDone || got.Queue != core.QueueParent || !got.DueAt.Equal(at(5)) {
		s.Errorf("queue %q, due %s, %+v", got.Queue, got.DueAt, got.Family)
	}
}

// asleep returns an execution that sleeps under a key from base on.
func asleep(key string) *core.Execution { return sleeper(key, base.Add(timeout)) }

func sleepingChildren(s *suite) {
	manifest, err := core.EncodeManifest([]core.Spec{
		{TaskID: "sleeper", SleepKey: "mine"}, {TaskID: "sleeper", SleepKey: "taken"}, {TaskID: "task"},
		{TaskID: "sleeper", SleepKey: "theirs"}, {TaskID: "sleeper", SleepKey: "missing"},
	})
	if err != nil {
		s.Fatal(err)
	}
	ev := commit(5, at(10))
	ev.Sleepers, ev.Manifest = true, core.Payload{Data: manifest}
	parent := s.apply(s.running("parent", at(60)), ev, at(1))
	mine, theirs := asleep("mine"), asleep("theirs")
	mine.Parent = &core.Parent{ID: "parent", TaskID: "task", Index: 0, Siblings: 5}
	theirs.Parent = &core.Parent{ID: "another", TaskID: "task", Index: 3, Siblings: 5}
	refused, plain := childOf(parent, 1, base), childOf(parent, 2, base)
	s.insert(parent, mine, asleep("taken"), refused, plain, theirs)
	s.ids(s.children("parent")[0], mine.ID, refused.ID, plain.ID)
	s.missing(parent, 3, 4)
	got, err := s.store.UpdateChildren(s.ctx, "parent", false, core.Cancel{Reason: "why"}, at(9))
	if err != nil {
		s.Fatal(err)
	}
	s.ids(got, mine.ID, refused.ID, plain.ID)
	s.stored(theirs)
}

// kept returns the record of a wake-up that is kept for a key until an hour after base.
func kept(key string) *core.Execution {
	e := asleep(key)
	e.Kept, e.Status, e.CloseStatus, e.Queue = true, core.StatusCompleted, core.CloseClosed, core.QueueNone
	e.Output = core.Payload{Data: []byte(`"woken"`)}
	e.DueAt, e.StartedAt, e.FinishedAt, e.ClosedAt, e.ExpiresAt = time.Time{}, time.Time{}, base, base, at(3600)
	return e
}

func keptWakeup(s *suite) {
	wakeup := kept("k")
	s.insert(wakeup, asleep("s"))
	got, err := s.store.GetBySleepKey(s.ctx, []string{"k", "s"})
	if err != nil {
		s.Fatal(err)
	}
	s.ids(got, "nil", core.SleepID("s"))
	s.stored(wakeup)
}

func adoptedWakeup(s *suite) {
	before := kept("k")
	s.insert(before)
	sleeper := asleep("k")
	sleeper.Parent = &core.Parent{ID: "parent", TaskID: "task", Index: 0, Siblings: 5}
	sleeper.Input = core.Payload{Data: []byte(`"k"`)}
	after := s.update(before, core.Adopt{Sleeper: sleeper}, at(5))
	if after.Status != core.StatusCompleted || after.Queue != core.QueueFinished || string(after.Output.Data) != `"woken"` {
		s.Fatalf("%+v", after)
	}
	s.stored(after)
	s.ids(s.swept(1, func() (core.Swept, error) { return s.markClosable(at(5), 10) }), after.ID)
}

func keptOrSleeper(s *suite) {
	errs := s.store.Insert(s.ctx, []*core.Execution{asleep("a"), kept("b")})
	if errs[0] != nil || errs[1] != nil {
		s.Fatal(errs)
	}
	for _, e := range []*core.Execution{kept("a"), asleep("b")} {
		if err := s.store.Insert(s.ctx, []*core.Execution{e})[0]; !errors.Is(err, core.ErrAlreadyExists) {
			s.Errorf("%s: error %v", e.SleepKey, err)
		}
	}
}

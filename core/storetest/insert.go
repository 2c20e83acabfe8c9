package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/perdure-dev/perdure/core"
)

func insertTests() []test {
	return []test{
		{"an inserted record is read back", insertedIsReadBack},
		{"inserting an id that exists leaves the record as it was", insertOfExisting},
		{"inserting the same record again succeeds", insertAgain},
		{"inserting one id twice in a call puts one", insertTwiceInACall},
		{"inserting nothing is allowed", func(s *suite) {
			if errs := s.store.Insert(s.ctx, nil); len(errs) != 0 {
				s.Errorf("errors %v", errs)
			}
		}},
		{"get keeps the order of the ids", getInOrder},
		{"get returns what passes the filter", getFiltered},
		{"sleeping executions are found by their unique keys", getBySleepKey},
		{"a unique key is taken once", uniqueSleepKey},
		{"a caller that changes a record changes its own only", recordsAreTheCallersOwn},
		{"a deleted execution is gone", deleted},
		{"deleting all empties the store", deletedAll},
	}
}

func insertedIsReadBack(s *suite) {
	root, below, asleep := ready("root", at(1)), child("child", "root", 2, 3, at(2)), sleeper("key", at(3))
	s.insert(root, below, asleep)
	for _, e := range []*core.Execution{root, below, asleep} {
		s.stored(e)
	}
}

func insertOfExisting(s *suite) {
	first := ready("b", base)
	s.insert(first)
	again := ready("b", at(9))
	again.TaskID = "other"
	errs := s.store.Insert(s.ctx, []*core.Execution{ready("a", base), again, ready("c", base)})
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], core.ErrAlreadyExists) || errs[2] != nil {
		s.Errorf("errors %v", errs)
	}
	s.stored(first)
	if s.get("a") == nil || s.get("c") == nil {
		s.Error("the others were not put")
	}
}

func insertAgain(s *suite) {
	e := ready("a", base)
	s.insert(e)
	s.insert(e)
	s.stored(e)
	s.swept(1, func() (core.Swept, error) { return s.claim(base, 10) })
	s.none(func() (core.Swept, error) { return s.claim(base, 10) })
}

func insertTwiceInACall(s *suite) {
	a, b := ready("a", base), ready("a", base)
	errs := s.store.Insert(s.ctx, []*core.Execution{a, b})
	switch {
	case len(errs) == 2 && errs[0] == nil && errors.Is(errs[1], core.ErrAlreadyExists):
		s.stored(a)
	case len(errs) == 2 && errs[1] == nil && errors.Is(errs[0], core.ErrAlreadyExists):
		s.stored(b)
	default:
		s.Errorf("errors %v", errs)
	}
}

func getInOrder(s *suite) {
	var all []*core.Execution
	for i := range 130 { // more than stores read at once
		all = append(all, ready(fmt.Sprintf("e%d", i), base))
	}
	s.insert(all...)
	asked := []string{"none", "e7"}
	want := []string{"nil", "e7"}
	for _, e := range slices.Backward(all) {
		asked, want = append(asked, e.ID), append(want, e.ID)
	}
	asked, want = append(asked, "nor this", "e7"), append(want, "nil", "e7")
	got, err := s.store.Get(s.ctx, asked, core.Filter{})
	if err != nil {
		s.Fatal(err)
	}
	s.ids(got, want...)
	if got, err := s.store.Get(s.ctx, nil, core.Filter{}); err != nil || len(got) != 0 {
		s.Errorf("get of nothing: %v, error %v", got, err)
	}
}

func getFiltered(s *suite) {
	yes, no := true, false
	asked := []string{"ready", "running", core.SleepID("key"), "cancelled", "none"}
	s.insert(ready("ready", base), s.running("running", at(9)), sleeper("key", at(9)),
		s.apply(ready("cancelled", base), core.Cancel{}, base))
	for name, c := range map[string]struct {
		filter core.Filter
		want   []int // indexes of asked
	}{
		"by status":                  {core.Filter{Status: core.StatusRunning}, []int{1, 2}},
		"by another status":          {core.Filter{Status: core.StatusFailed}, nil},
		"sleeping":                   {core.Filter{Sleeping: &yes}, []int{2}},
		"not sleeping":               {core.Filter{Sleeping: &no}, []int{0, 1, 3}},
		"finished":                   {core.Filter{Finished: &yes}, []int{3}},
		"unfinished":                 {core.Filter{Finished: &no}, []int{0, 1, 2}},
		"running and not sleeping":   {core.Filter{Status: core.StatusRunning, Sleeping: &no}, []int{1}},
		"ready, and finished: never": {core.Filter{Status: core.StatusReady, Finished: &yes}, nil},
	} {
		got, err := s.store.Get(s.ctx, asked, c.filter)
		if err != nil || len(got) != len(asked) {
			s.Fatalf("%s: %d results, error %v", name, len(got), err)
		}
		for i, e := range got {
			if (e != nil) != slices.Contains(c.want, i) || e != nil && e.ID != asked[i] {
				s.Errorf("%s: %v", name, ids(got))
				break
			}
		}
	}
}

func getBySleepKey(s *suite) {
	key := "order/№ 7 🛒 " + long(200)
	a, b := sleeper(key, at(1)), sleeper("b", at(2))
	s.insert(a, b, ready("c", base))
	got, err := s.store.GetBySleepKey(s.ctx, []string{"b", "none", key, "c", "b"})
	if err != nil {
		s.Fatal(err)
	}
	s.ids(got, b.ID, "nil", a.ID, "nil", b.ID)
	s.load(got[2])
	s.same(a, got[2])
}

func uniqueSleepKey(s *suite) {
	first := sleeper("key", at(1))
	s.insert(first)
	if err := s.store.Insert(s.ctx, []*core.Execution{sleeper("key", at(2))})[0]; !errors.Is(err, core.ErrAlreadyExists) {
		s.Errorf("error %v", err)
	}
	s.stored(first)
}

func recordsAreTheCallersOwn(s *suite) {
	e := s.apply(s.waiting("a", 3), core.CountChildren{Units: []int{1}}, at(2))
	e.Parent = &core.Parent{ID: "p", TaskID: "parent", Index: 4, Siblings: 5}
	e.Failure = &core.Failure{Code: core.CodeFailed, Message: "no"}
	want := e.Clone()
	scramble := func(e *core.Execution) {
		e.Status, e.Rev, e.ExecutorID = core.StatusFailed, 77, "nobody"
		e.Parent.Index, e.Failure.Message = 9, "scrambled"
		e.Family.Size, e.Family.Counted[0] = 9, 2
	}
	s.insert(e)
	scramble(e)
	s.stored(want)
	scramble(s.get("a"))
	s.stored(want)
	counted := s.store.CountFinished(s.ctx, at(3), []core.Count{{ParentID: "a", Siblings: 3, Indexes: []int{1}}})[0]
	scramble(counted.Parent)
	s.stored(want)
}

func deleted(s *suite) {
	s.insert(ready("a", base), ready("b", base))
	for range 2 {
		if err := s.store.Delete(s.ctx, "a"); err != nil {
			s.Fatal(err)
		}
	}
	if s.get("a") != nil {
		s.Error("it is still there")
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claim(base, 10) }), "b")
	s.insert(ready("a", base))
}

func deletedAll(s *suite) {
	parent, children := s.spawned("parent", 3)
	s.insert(ready("a", base), child("own", "parent", 1, 0, base))
	if err := s.store.DeleteAll(s.ctx); err != nil {
		s.Fatal(err)
	}
	got, err := s.store.Get(s.ctx, []string{parent.ID, children[0].ID, "a", "own"}, core.Filter{})
	if err != nil {
		s.Fatal(err)
	}
	s.ids(got, "nil", "nil", "nil", "nil")
	s.none(func() (core.Swept, error) { return s.claim(at(1000), 10) })
	s.insert(parent)
	families, err := s.store.Children(s.ctx, []string{parent.ID})
	if err != nil || len(families) != 1 || len(families[0]) != 0 {
		s.Errorf("error %v, children of a deleted parent: %v", err, families)
	}
}

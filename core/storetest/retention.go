package storetest

import (
	"errors"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// How long closed executions are kept is the store's own: the tests ask for it. What they hold against a store holds for
// one that keeps all for ever as well.
func retentionTests() []test {
	return []test{
		{"what is not closed is never expired", neverExpired},
		{"a kept wake-up is gone when its time has come, and not before", keptExpires},
		{"an execution is gone when its retention is over, and its id is free", closedExpires},
		{"an id that was free again is no child of the parent that it had", childUnderAnotherParent},
	}
}

// unexpired returns which of the executions a user finds at a time.
func (s *suite) unexpired(at time.Time, asked ...string) []*core.Execution {
	s.Helper()
	got, err := s.store.Get(s.ctx, asked, core.Filter{UnexpiredAt: at})
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func neverExpired(s *suite) {
	s.insert(ready("ready", base), sleeper("key", base), s.waiting("waiting", 2), s.untold("untold", base), s.closable("closable", base))
	asked := []string{"ready", core.SleepID("key"), "waiting", "untold", "closable"}
	s.ids(s.unexpired(base.AddDate(500, 0, 0), asked...), asked...)
	s.listedAt(base.AddDate(500, 0, 0), "waiting", "ready", core.SleepID("key"), "closable")
}

// listedAt fails the test when a store that keeps a list does not have an execution in it at a time.
func (s *suite) listedAt(now time.Time, want ...string) {
	s.Helper()
	s.eventually(func() string {
		page, err := s.store.List(s.ctx, now, core.Listing{})
		switch {
		case errors.Is(err, core.ErrNotListed):
			return ""
		case err != nil:
			return err.Error()
		}
		listed := map[string]bool{}
		for _, e := range page.Executions {
			listed[e.ID] = true
		}
		for _, id := range want {
			if !listed[id] {
				return id + " is not listed at " + now.String()
			}
		}
		return ""
	})
}

func keptExpires(s *suite) {
	e := kept("k")
	e.ExpiresAt = at(60.5)
	s.insert(e)
	s.ids(s.unexpired(at(60.499), e.ID), e.ID)
	s.ids(s.unexpired(at(60.5), e.ID), "nil")
	s.stored(e)
	before, after := asleep("k"), kept("k")
	before.UpdatedAt, after.UpdatedAt = at(60.499), at(60.5)
	if err := s.store.Insert(s.ctx, []*core.Execution{before})[0]; !errors.Is(err, core.ErrAlreadyExists) {
		s.Errorf("insert in place of a wake-up that is kept: %v", err)
	}
	s.stored(e)
	s.insert(after)
	s.stored(after)
}

func closedExpires(s *suite) {
	root := s.apply(ready("root", base), core.Cancel{Reason: "why"}, base)
	child := s.apply(s.apply(child("child", "parent", 0, 1, base), core.Cancel{Reason: "why"}, base), core.Close{}, base)
	s.insert(root, child)
	s.ids(s.unexpired(base, "root", "child"), "root", "child")
	s.listedAt(base, "root")
	gone := func(second int64) bool { return s.unexpired(time.Unix(second, 0), "root")[0] == nil }
	from, to := base.Unix(), base.AddDate(100, 0, 0).Unix()
	if !gone(to) {
		return
	}
	for from+1 < to {
		if middle := from + (to-from)/2; gone(middle) {
			to = middle
		} else {
			from = middle
		}
	}
	end := time.Unix(to, 0).UTC()
	last := end.Add(-time.Millisecond)
	s.ids(s.unexpired(last, "root"), "root")
	s.listedAt(last, "root")
	s.ids(s.unexpired(end, "child"), "child") // an ancestor may still wait
	s.stored(root)                            // the engine finds it
	if page, err := s.store.List(s.ctx, end, core.Listing{}); !errors.Is(err, core.ErrNotListed) && (err != nil || len(page.Executions) > 0) {
		s.Errorf("listed at the end: %v, error %v", ids(page.Executions), err)
	}
	if err := s.store.Insert(s.ctx, []*core.Execution{ready("root", last)})[0]; !errors.Is(err, core.ErrAlreadyExists) {
		s.Errorf("insert under an id that is taken: %v", err)
	}
	again := ready("root", end)
	s.insert(again)
	s.stored(again)
	s.listedAt(end, "root")
	s.ids(s.unexpired(end, "root"), "root")
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claim(end, 10) }), "root")
}

func childUnderAnotherParent(s *suite) {
	first := s.apply(s.apply(child("own", "first", 0, 0, base), core.Cancel{Reason: "why"}, base), core.Close{}, base)
	s.insert(first, ready("first", base), ready("second", base))
	s.ids(s.children("first")[0], "own")
	late := base.AddDate(100, 0, 0)
	if s.unexpired(late, "own")[0] != nil {
		return
	}
	s.insert(child("own", "second", 0, 0, late))
	s.ids(s.children("first")[0])
	s.ids(s.children("second")[0], "own")
}

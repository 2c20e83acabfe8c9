package storetest

import (
	"fmt"

	"github.com/perdure-dev/perdure/core"
)

func closeTests() []test {
	return []test{
		{"an untold end is counted on the parent and closed", markCounts},
		{"the last untold end makes the parent due", markLast},
		{"an untold end of a finalize execution makes the parent due", markFinalize},
		{"an untold end whose parent is finished is closed", markBelowFinished},
		{"an untold end of a parent with children left is to be closed", markWithChildren},
		{"untold ends of a large family are counted", markLargeFamily},
		{"a claimed end is closed by its claimer", claimAndClose},
		{"an update closes what has nothing left to follow up", closedInUpdate},
	}
}

func markCounts(s *suite) {
	parent := s.waiting("parent", 3)
	e := s.apply(childOf(parent, 1, base), core.Cancel{Reason: "why"}, at(1))
	s.insert(parent, e)
	s.none(func() (core.Swept, error) { return s.markClosable(base, 10) })
	got := s.swept(1, func() (core.Swept, error) { return s.markClosable(at(2), 10) })[0]
	s.changed(e, got, core.MarkClosable{}, at(2))
	if got.CloseStatus != core.CloseClosed || got.Queue != core.QueueNone {
		s.Errorf("close status %s, queue %q", got.CloseStatus, got.Queue)
	}
	p := s.get("parent")
	if p.ActiveChildren() != 2 || len(p.Family.Counted) != 1 || p.Family.Counted[0] != 1 || p.Queue != core.QueueNone {
		s.Errorf("queue %q, family %+v", p.Queue, p.Family)
	}
}

func markLast(s *suite) {
	parent := s.waiting("parent", 2)
	s.insert(parent)
	s.insert(s.apply(childOf(parent, 0, base), core.Cancel{Reason: "why"}, at(1)))
	s.insert(s.apply(childOf(parent, 1, base), core.Cancel{Reason: "why"}, at(1)))
	s.swept(2, func() (core.Swept, error) { return s.markClosable(at(2), 10) })
	if p := s.get("parent"); !p.AllCounted() || p.Queue != core.QueueParent || !p.DueAt.Equal(at(2)) || p.Rev != parent.Rev+1 {
		s.Fatalf("queue %q, due %s, family %+v", p.Queue, p.DueAt, p.Family)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(2), 10) }), "parent")
}

func markFinalize(s *suite) {
	parent := s.finalizing("parent", at(10))
	s.insert(parent, s.apply(childOf(parent, core.FinalizeIndex, base), core.Cancel{Reason: "why"}, at(1)))
	s.swept(1, func() (core.Swept, error) { return s.markClosable(at(2), 10) })
	if p := s.get("parent"); !p.Family.FinalizeCounted || p.Queue != core.QueueParent || !p.DueAt.Equal(at(2)) {
		s.Errorf("queue %q, due %s, family %+v", p.Queue, p.DueAt, p.Family)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(2), 10) }), "parent")
}

func markBelowFinished(s *suite) {
	parent := s.apply(s.waiting("parent", 2), core.Cancel{Reason: "why"}, at(1))
	e := s.apply(childOf(parent, 0, base), core.Cancel{Reason: "why"}, at(1.5))
	s.insert(parent, e)
	swept := s.swept(2, func() (core.Swept, error) { return s.markClosable(at(2), 10) })
	s.ids(swept, parent.ID, e.ID)
	s.changed(parent, swept[0], core.MarkClosable{}, at(2))
	s.changed(e, swept[1], core.MarkClosable{}, at(2))
}

func markWithChildren(s *suite) {
	e := s.waiting("a", 2)
	e.Parent = &core.Parent{ID: "gone", TaskID: "parent", Siblings: 1}
	e = s.apply(e, core.Cancel{Reason: "why"}, at(1))
	s.insert(e)
	got := s.swept(1, func() (core.Swept, error) { return s.markClosable(at(2), 10) })[0]
	s.changed(e, got, core.MarkClosable{}, at(2))
	if got.CloseStatus != core.CloseReady || got.Queue != core.QueueClose {
		s.Errorf("close status %s, queue %q", got.CloseStatus, got.Queue)
	}
	s.none(func() (core.Swept, error) { return s.markClosable(at(2), 10) })
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimClosable(at(2), 10) }), "a")
}

func markLargeFamily(s *suite) {
	const size = core.CountDirect + 1
	parent := s.waiting("parent", size)
	s.insert(parent)
	s.count("parent", size, upTo(size-2)...)
	for i := range 2 {
		s.insert(s.apply(childOf(parent, size-1-i, base), core.Cancel{Reason: "why"}, at(1)))
		s.swept(1, func() (core.Swept, error) { return s.markClosable(at(2), 10) })
		if p := s.get("parent"); p.AllCounted() != (i == 1) {
			s.Fatalf("child %d: family %+v", i, p.Family)
		}
	}
}

func claimAndClose(s *suite) {
	e := s.closable("a", base)
	s.insert(e)
	got := s.swept(1, func() (core.Swept, error) { return s.claimClosable(at(1), 10) })[0]
	s.changed(e, got, core.ClaimClose{ExpiresAt: at(500)}, at(1))
	s.none(func() (core.Swept, error) { return s.claimClosable(at(1000), 10) })
	s.update(got, core.Close{}, at(2))
	s.none(func() (core.Swept, error) { return s.expireClosing(at(1000), 10) })
}

func closedInUpdate(s *suite) {
	for i := range 3 {
		e := ready(fmt.Sprintf("e%d", i), base)
		s.insert(e)
		if e = s.update(e, core.Cancel{Reason: "why"}, at(1)); e.CloseStatus != core.CloseClosed {
			s.Errorf("close status %s", e.CloseStatus)
		}
	}
	for _, sweep := range s.sweepers() {
		s.none(func() (core.Swept, error) { return sweep.run(at(1000), 10) })
	}
}

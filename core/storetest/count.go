package storetest

import (
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

func countTests() []test {
	tests := []test{
		{"a family of nobody is due at once", emptyFamily},
		{"counting without the number of siblings reads it from the parent", countUnknownSiblings},
		{"counts of one call stand each by itself", countsTogether},
		{"counting on a finished or missing parent changes nothing", countOnFinished},
		{"the last count leaves a parent to the executor that holds it", countOnHeld},
		{"counting before the children are known to exist makes the parent due early", countBeforeSpawned},
		{"counting the finalize execution makes the parent due", countFinalize},
		{"counting what a family does not have changes nothing", countStrangers},
		{"only parents that are due are claimed", claimDueParents},
	}
	for _, size := range []int{1, core.CountDirect, core.CountDirect + 1, 600} {
		tests = append(tests, test{
			fmt.Sprintf("the last of %d children makes the parent due, once", size),
			func(s *suite) { countFamily(s, size) },
		})
	}
	return tests
}

// count counts children on their parent and returns its record.
func (s *suite) count(parentID string, siblings int, indexes ...int) *core.Execution {
	s.Helper()
	got := s.store.CountFinished(s.ctx, at(5), []core.Count{{ParentID: parentID, Siblings: siblings, Indexes: indexes}})
	if len(got) != 1 || got[0].Err != nil {
		s.Fatalf("count %v on %s: %+v", indexes, parentID, got)
	}
	if got[0].Parent == nil { // allowed where the parent's record stays as it was
		return s.get(parentID)
	}
	return got[0].Parent
}

func countFamily(s *suite, size int) {
	parent := s.waiting("parent", size)
	s.insert(parent)
	// All but one, in groups that overlap, last ones first, with one in two groups and another twice in one.
	missing := size / 2
	var groups [][]int
	for group := range slices.Chunk(upTo(size), 40) {
		group = slices.DeleteFunc(slices.Clone(group), func(i int) bool { return i == missing })
		if len(group) > 0 {
			groups = append(groups, append(group, group[0], group[len(group)-1]))
		}
	}
	for _, group := range slices.Backward(groups) {
		for range 2 {
			got := s.count("parent", size, group...)
			if got.AllCounted() || got.Rev != parent.Rev || got.Nonce != parent.Nonce || got.Queue != core.QueueNone {
				s.Fatalf("after %v: revision %d, queue %q, family %+v", group, got.Rev, got.Queue, got.Family)
			}
		}
	}
	before := s.get("parent")
	if before.ActiveChildren() < 1 || !before.UpdatedAt.Equal(parent.UpdatedAt) {
		s.Errorf("%d active children, updated %s", before.ActiveChildren(), before.UpdatedAt)
	}
	if size <= core.CountDirect && before.ActiveChildren() != 1 {
		s.Errorf("%d active children, want 1", before.ActiveChildren())
	}
	s.none(func() (core.Swept, error) { return s.claimParents(at(1000), 10) })

	after := s.count("parent", size, missing)
	if !after.AllCounted() || after.ActiveChildren() != 0 || after.Rev != parent.Rev+1 || after.Nonce == parent.Nonce ||
		after.Nonce == "" || after.Queue != core.QueueParent || !after.DueAt.Equal(at(5)) {
		s.Fatalf("after the last: revision %d, queue %q, due %s, family %+v", after.Rev, after.Queue, after.DueAt, after.Family)
	}
	if diff := cmp.Diff(upTo(core.Units(size)), after.Family.Counted); diff != "" {
		s.Errorf("counted units:\n%s", diff)
	}
	s.stored(after)
	for _, again := range [][]int{{missing}, {0}, groupOf(groups)} {
		s.same(after, s.count("parent", size, again...))
		s.stored(after)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(5), 10) }), "parent")
	s.count("parent", size, missing)
	s.none(func() (core.Swept, error) { return s.claimParents(at(1000), 10) })
}

func groupOf(groups [][]int) []int {
	if len(groups) == 0 {
		return []int{0}
	}
	return groups[0]
}

func emptyFamily(s *suite) {
	e := s.running("parent", at(30))
	s.insert(e)
	e = s.update(e, commit(0, at(10)), at(1))
	got := s.swept(1, func() (core.Swept, error) { return s.claimParents(at(1), 10) })[0]
	s.changed(e, got, core.ClaimChildren{ExecutorID: executor, ExpiresAt: at(500)}, at(1))
}

func countUnknownSiblings(s *suite) {
	s.insert(s.waiting("small", 2), s.waiting("large", 300))
	s.count("small", 0, 0)
	s.count("large", 0, upTo(299)...)
	if s.get("small").AllCounted() || s.get("large").AllCounted() {
		s.Error("all are counted too early")
	}
	s.count("small", 0, 1)
	s.count("large", 0, 299)
	for _, id := range []string{"small", "large"} {
		if e := s.get(id); !e.AllCounted() || e.Queue != core.QueueParent {
			s.Errorf("%s: queue %q, family %+v", id, e.Queue, e.Family)
		}
	}
}

func countsTogether(s *suite) {
	s.insert(s.waiting("a", 2), s.waiting("b", 2))
	got := s.store.CountFinished(s.ctx, at(5), []core.Count{
		{ParentID: "a", Siblings: 2, Indexes: []int{1}},
		{ParentID: "none", Siblings: 9, Indexes: []int{1}},
		{ParentID: "b", Siblings: 2, Indexes: []int{0, 1}},
	})
	if len(got) != 3 || got[0].Err != nil || got[1].Err != nil || got[2].Err != nil {
		s.Fatalf("results %+v", got)
	}
	s.ids([]*core.Execution{got[0].Parent, got[1].Parent, got[2].Parent}, "a", "nil", "b")
	s.stored(got[0].Parent)
	s.stored(got[2].Parent)
	if got[0].Parent.ActiveChildren() != 1 || !got[2].Parent.AllCounted() {
		s.Errorf("%d and %d active children", got[0].Parent.ActiveChildren(), got[2].Parent.ActiveChildren())
	}
	if got := s.store.CountFinished(s.ctx, at(5), nil); len(got) != 0 {
		s.Errorf("results for no counts: %v", got)
	}
}

func countOnFinished(s *suite) {
	small := s.apply(s.waiting("small", 2), core.Cancel{Reason: "why"}, at(2))
	large := s.apply(s.waiting("large", 300), core.Cancel{Reason: "why"}, at(2))
	s.insert(small, large)
	for _, e := range []*core.Execution{small, large} {
		s.same(e, s.count(e.ID, e.Family.Size, upTo(e.Family.Size)...))
		s.stored(e)
	}
	if got := s.count("none", 2, 0, 1); got != nil {
		s.Errorf("a missing parent is %+v", got)
	}
	if s.get("none") != nil {
		s.Error("counting made a record")
	}
}

func countOnHeld(s *suite) {
	e := s.processing("parent", at(100))
	s.insert(e)
	got := s.count("parent", 1, 0)
	if !got.AllCounted() || got.Rev != e.Rev+1 || got.Queue != core.QueueParentClaimed || !got.DueAt.Equal(at(100)) ||
		got.ExecutorID != executor {
		s.Errorf("revision %d, queue %q, due %s", got.Rev, got.Queue, got.DueAt)
	}
	s.stored(got)
}

func countBeforeSpawned(s *suite) {
	e := s.committed("parent", 2, at(60))
	s.insert(e)
	if got := s.count("parent", 2, 0); got.Queue != core.QueueParent || !got.DueAt.Equal(at(60)) || got.Rev != e.Rev {
		s.Errorf("queue %q, due %s", got.Queue, got.DueAt)
	}
	s.none(func() (core.Swept, error) { return s.claimParents(at(5), 10) })
	if got := s.count("parent", 2, 1); got.Queue != core.QueueParent || !got.DueAt.Equal(at(5)) || got.Rev != e.Rev+1 {
		s.Errorf("queue %q, due %s", got.Queue, got.DueAt)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(5), 10) }), "parent")
}

func countFinalize(s *suite) {
	e := s.finalizing("parent", at(60))
	s.insert(e)
	e = s.update(e, core.ChildrenSpawned{}, at(1))
	got := s.count("parent", 0, core.FinalizeIndex)
	if !got.AllCounted() || got.Queue != core.QueueParent || !got.DueAt.Equal(at(5)) || got.Rev != e.Rev+1 {
		s.Fatalf("revision %d, queue %q, due %s", got.Rev, got.Queue, got.DueAt)
	}
	s.same(got, s.count("parent", 0, core.FinalizeIndex))
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(5), 10) }), "parent")
}

func countStrangers(s *suite) {
	for _, parent := range []*core.Execution{s.waiting("small", 2), s.waiting("large", 300), s.processing("held", at(100))} {
		s.insert(parent)
		size := parent.Family.Size
		for _, strangers := range [][]int{{core.FinalizeIndex}, {size}, {core.FinalizeIndex, size, size + 1}} {
			s.same(parent, s.count(parent.ID, size, strangers...))
			s.same(parent, s.count(parent.ID, 0, strangers...))
			s.stored(parent)
		}
	}
}

func claimDueParents(s *suite) {
	s.insert(
		s.waiting("waits", 2), s.waiting("counted", 1), s.committed("unsure", 2, at(6)), s.committed("later", 2, at(60)),
		s.finalizing("finalizing", at(7)), s.processing("held", at(50)),
		s.apply(s.waiting("cancelled", 2), core.Cancel{Reason: "why"}, at(2)), ready("ready", base),
	)
	s.count("counted", 1, 0)
	s.ids(s.swept(3, func() (core.Swept, error) { return s.claimParents(at(7), 10) }), "counted", "unsure", "finalizing")
	s.none(func() (core.Swept, error) { return s.claimParents(at(7), 10) })
}

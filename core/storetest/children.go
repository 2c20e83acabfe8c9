package storetest

import (
	"errors"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perdure-dev/perdure/core"
)

func childrenTests() []test {
	return []test{
		{"children come in order, the finalize execution last", childrenInOrder},
		{"children that do not exist are left out", childrenMissing},
		{"children under ids of their own are found, after the committed ones of their index", childrenOfTheirOwn},
		{"a child that was refused since its id is taken is nobody's second child", childrenRefused},
		{"children of several parents come in the parents' order", childrenOfSeveral},
		{"an event is applied to the unfinished children", updateUnfinished},
		{"an event is applied to the finished children", updateFinished},
		{"a child in whose state the event is not allowed is skipped", updateSkips},
		{"the spawn check names the missing children", checkSpawn},
		{"the spawn check names a missing finalize execution first", checkSpawnFinalize},
		{"the spawn check of nobody's children names none", checkSpawnOfNone},
	}
}

func (s *suite) children(parentIDs ...string) [][]*core.Execution {
	s.Helper()
	got, err := s.store.Children(s.ctx, parentIDs)
	if err != nil || len(got) != len(parentIDs) {
		s.Fatalf("children: %d results, error %v", len(got), err)
	}
	return got
}

func childrenInOrder(s *suite) {
	parent := s.apply(s.committed("parent", 12, at(10)), core.CountChildren{Units: upTo(12)}, at(1))
	parent = s.apply(parent, core.ClaimChildren{ExecutorID: executor, ExpiresAt: at(60)}, at(1))
	parent = s.apply(parent, core.CommitFinalize{ExecutorID: executor, TaskID: "finalize", CheckAt: at(10)}, at(1))
	want := append(childrenOf(parent, base), childOf(parent, core.FinalizeIndex, base))
	s.insert(want[12], want[11], want[3], parent)
	s.insert(want[:3]...)
	s.insert(want[4:11]...)
	got := s.children("parent")[0]
	s.ids(got, ids(want)...)
	for i, e := range got {
		s.load(e)
		s.same(want[i], e)
	}
}

func childrenMissing(s *suite) {
	parent := s.committed("parent", 200, at(10))
	children := childrenOf(parent, base)
	s.insert(parent, children[199], children[7])
	s.ids(s.children("parent")[0], children[7].ID, children[199].ID)
}

func childrenOfTheirOwn(s *suite) {
	own := []*core.Execution{child("own-0", "parent", 0, 0, base), child("own-2", "parent", 2, 0, base)}
	s.insert(own[1], own[0], child("other", "another", 0, 0, base), ready("parent", base))
	s.ids(s.children("parent")[0], "own-0", "own-2")
	parent := s.update(s.get("parent"), start(executor), at(1))
	parent = s.update(parent, commit(2, at(10)), at(1))
	derived := childrenOf(parent, base)
	s.insert(derived...)
	s.ids(s.children("parent")[0], derived[0].ID, "own-0", derived[1].ID, "own-2")
	if err := s.store.Delete(s.ctx, "own-2"); err != nil {
		s.Fatal(err)
	}
	if got := s.children("parent")[0]; len(got) != 3 {
		s.Errorf("children %v", ids(got))
	}
}

func childrenRefused(s *suite) {
	s.insert(ready("first", base), ready("second", base), child("own", "first", 1, 0, base))
	for _, again := range []*core.Execution{child("own", "second", 1, 0, base), child("own", "first", 2, 0, base)} {
		if err := s.store.Insert(s.ctx, []*core.Execution{again})[0]; !errors.Is(err, core.ErrAlreadyExists) {
			s.Errorf("insert of a second %q: %v", again.ID, err)
		}
	}
	s.ids(s.children("first")[0], "own")
	s.ids(s.children("second")[0])
}

func childrenOfSeveral(s *suite) {
	a, inA := s.spawned("a", 2)
	b, inB := s.spawned("b", 1)
	s.insert(ready("alone", base))
	got := s.children(b.ID, "none", a.ID, "alone")
	s.ids(got[0], ids(inB)...)
	s.ids(got[1])
	s.ids(got[2], ids(inA)...)
	s.ids(got[3])
}

// family puts a parent with a running, a cancelled, a ready, a missing and a completed child, and one of its own.
func (s *suite) family() (parent *core.Execution, children []*core.Execution) {
	s.Helper()
	parent = s.waiting("parent", 5)
	children = childrenOf(parent, base)
	running := s.apply(children[0], start(executor), at(1))
	children[0] = running
	children[1] = s.apply(children[1], core.Cancel{Reason: "first"}, at(1))
	children[4] = s.apply(s.apply(children[4], start(executor), at(1)),
		core.Succeed{ExecutorID: executor, Output: core.Payload{Data: []byte("1")}}, at(1))
	children = append(children, child("own", "parent", 5, 0, base))
	for i, e := range children {
		if i != 3 {
			s.insert(e)
		}
	}
	s.insert(parent)
	return parent, children
}

func (s *suite) updateChildren(finished bool, ev core.Event) []*core.Execution {
	s.Helper()
	got, err := s.store.UpdateChildren(s.ctx, "parent", finished, ev, at(9))
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func updateUnfinished(s *suite) {
	_, children := s.family()
	cancel := core.Cancel{Reason: "its parent is failed", ByParent: true}
	got := s.updateChildren(false, cancel)
	want := []*core.Execution{children[0], children[2], children[5]}
	s.ids(got, ids(want)...)
	for i, e := range got {
		s.changed(want[i], e, cancel, at(9))
	}
	s.stored(children[1])
	s.stored(children[4])
	s.ids(s.updateChildren(false, cancel))
	if s.get(children[3].ID) != nil {
		s.Error("the missing child was made")
	}
}

func updateFinished(s *suite) {
	_, children := s.family()
	got := s.updateChildren(true, core.Close{})
	s.ids(got, children[1].ID, children[4].ID)
	for i, before := range []*core.Execution{children[1], children[4]} {
		s.changed(before, got[i], core.Close{}, at(9))
	}
	s.stored(children[0])
}

func updateSkips(s *suite) {
	_, children := s.family()
	got := s.updateChildren(false, start("x2"))
	s.ids(got, children[2].ID, "own")
	s.stored(children[0])
	none, err := s.store.UpdateChildren(s.ctx, "nobody", false, start("x2"), at(9))
	if err != nil || len(none) != 0 {
		s.Errorf("children of nobody: %v, error %v", ids(none), err)
	}
}

func (s *suite) missing(parent *core.Execution, want ...int) {
	s.Helper()
	got, err := s.store.CheckSpawn(s.ctx, parent)
	if err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("missing children (-want +got):\n%s", diff)
	}
}

func checkSpawn(s *suite) {
	parent := s.committed("parent", core.CountDirect+1, at(10))
	children := childrenOf(parent, base)
	s.insert(parent)
	s.missing(parent, upTo(len(children))...)
	s.insert(children[:70]...)
	s.insert(children[72:]...)
	s.missing(parent, 70, 71)
	s.insert(children[70:72]...)
	s.missing(parent)
}

func checkSpawnFinalize(s *suite) {
	parent := s.finalizing("parent", at(10))
	s.insert(parent)
	s.missing(parent, core.FinalizeIndex, 0)
	s.insert(childOf(parent, 0, base))
	s.missing(parent, core.FinalizeIndex)
	s.insert(childOf(parent, core.FinalizeIndex, base))
	s.missing(parent)
}

func checkSpawnOfNone(s *suite) {
	e := ready("a", base)
	empty := s.apply(s.running("empty", at(30)), commit(0, at(10)), at(1))
	s.insert(e, empty)
	s.missing(e)
	s.missing(empty)
}

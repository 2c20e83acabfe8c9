package storetest

import (
	"errors"
	"fmt"

	"github.com/perdure-dev/perdure/core"
)

func updateTests() []test {
	return []test{
		{"an update writes the record that the transition made", updateWrites},
		{"an update of a record that has changed is a conflict that brings the record", updateConflicts},
		{"the same update again succeeds and changes nothing", updateAgain},
		{"the same update after another one is a conflict", updateAgainTooLate},
		{"an update of a missing record is not found and puts nothing", updateOfMissing},
		{"updates of one call stand each by itself", updatesTogether},
		{"an update keeps the children that were counted meanwhile", updateAfterUnion},
		{"an update after the union that completed the family is a conflict", updateAfterLastUnion},
		{"a parent's update commits its children", spawns},
		{"a parent's update that conflicts inserts no child", spawnConflict},
		{"a parent's update again inserts the children that are missing", spawnAgain},
		{"children that exist are left as they are", spawnOfExisting},
	}
}

func updateWrites(s *suite) {
	e := ready("a", base)
	s.insert(e)
	e = s.update(e, start(executor), at(1))
	s.stored(e)
	e = s.update(e, core.FailAttempt{ExecutorID: executor, Final: true, Failure: core.Failure{
		Code: core.CodePanicked, Message: "oh", Detail: core.Payload{Data: []byte(long(3000))},
	}}, at(2))
	s.stored(e)
	if e.CloseStatus != core.CloseClosed || e.Rev != 3 {
		s.Errorf("close status %s, revision %d", e.CloseStatus, e.Rev)
	}
}

func updateConflicts(s *suite) {
	e := ready("a", base)
	s.insert(e)
	current := s.update(e, start(executor), at(1))
	late := s.apply(e, core.Cancel{Reason: "late"}, at(2))
	s.conflict(s.store.Update(s.ctx, []core.Update{{Before: e, After: late}})[0], current)
	s.stored(current)
}

func updateAgain(s *suite) {
	e := ready("a", base)
	s.insert(e)
	after := s.apply(e, core.Cancel{Reason: "why"}, at(1))
	for range 3 {
		if err := s.store.Update(s.ctx, []core.Update{{Before: e, After: after}})[0]; err != nil {
			s.Fatal(err)
		}
		s.stored(after)
	}
}

func updateAgainTooLate(s *suite) {
	e := ready("a", base)
	s.insert(e)
	started := s.update(e, start(executor), at(1))
	current := s.update(started, core.Cancel{Reason: "why"}, at(2))
	s.conflict(s.store.Update(s.ctx, []core.Update{{Before: e, After: started}})[0], current)
	s.stored(current)
}

func updateOfMissing(s *suite) {
	e := ready("a", base)
	err := s.store.Update(s.ctx, []core.Update{{Before: e, After: s.apply(e, start(executor), at(1))}})[0]
	if !errors.Is(err, core.ErrNotFound) {
		s.Errorf("error %v", err)
	}
	if s.get("a") != nil {
		s.Error("a record was put")
	}
	s.none(func() (core.Swept, error) { return s.expireRunning(at(1000), 10) })
}

func updatesTogether(s *suite) {
	var updates []core.Update
	for i := range 30 {
		e := ready(fmt.Sprintf("e%d", i), base)
		if i != 4 {
			s.insert(e)
		}
		updates = append(updates, core.Update{Before: e, After: s.apply(e, start(executor), at(1))})
	}
	current := s.update(updates[7].Before, core.Cancel{Reason: "first"}, at(1))
	for i, err := range s.store.Update(s.ctx, updates) {
		switch i {
		case 4:
			if !errors.Is(err, core.ErrNotFound) {
				s.Errorf("error of the missing one: %v", err)
			}
		case 7:
			s.conflict(err, current)
		default:
			if err != nil {
				s.Errorf("update %d: %v", i, err)
			}
			s.stored(updates[i].After)
		}
	}
}

func updateAfterUnion(s *suite) {
	parent := s.committed("parent", 3, at(10))
	s.insert(parent)
	s.count("parent", 3, 1)
	s.update(parent, core.ChildrenSpawned{}, at(2)) // decided before the child was counted
	got := s.get("parent")
	if got.ActiveChildren() != 2 || !got.Family.Spawned || got.Queue != core.QueueNone {
		s.Fatalf("%d active children, queue %q, family %+v", got.ActiveChildren(), got.Queue, got.Family)
	}
	s.count("parent", 3, 0, 2)
	if got := s.get("parent"); !got.AllCounted() || got.Queue != core.QueueParent {
		s.Errorf("queue %q, family %+v", got.Queue, got.Family)
	}
}

func updateAfterLastUnion(s *suite) {
	parent := s.committed("parent", 2, at(10))
	s.insert(parent)
	s.count("parent", 2, 0, 1)
	current := s.get("parent")
	late := s.apply(parent, core.ChildrenSpawned{}, at(2))
	s.conflict(s.store.Update(s.ctx, []core.Update{{Before: parent, After: late}})[0], current)
	s.stored(current)
}

// spawn returns a stored execution's commitment to size children.
func (s *suite) spawn(id string, size int) core.Spawn {
	s.Helper()
	before := s.running(id, at(30))
	s.insert(before)
	after := s.apply(before, commit(size, at(10)), base)
	return core.Spawn{Update: core.Update{Before: before, After: after}, Children: childrenOf(after, base)}
}

func spawns(s *suite) {
	all := []core.Spawn{s.spawn("a", 3), s.spawn("b", 0), s.spawn("c", 30)}
	for i, result := range s.store.UpdateAndInsertChildren(s.ctx, all) {
		s.noErrors(result)
		s.stored(all[i].After)
		for _, child := range all[i].Children {
			s.stored(child)
		}
	}
}

func (s *suite) noErrors(result core.SpawnResult) {
	s.Helper()
	if err := errors.Join(append(result.Children, result.Err)...); err != nil {
		s.Fatal(err)
	}
}

func spawnConflict(s *suite) {
	a, b := s.spawn("a", 2), s.spawn("b", 2)
	current := s.update(a.Before, core.Cancel{Reason: "first"}, base)
	gone := s.spawn("gone", 1)
	if err := s.store.Delete(s.ctx, "gone"); err != nil {
		s.Fatal(err)
	}
	results := s.store.UpdateAndInsertChildren(s.ctx, []core.Spawn{a, b, gone})
	s.conflict(results[0].Err, current)
	s.noErrors(results[1])
	if !errors.Is(results[2].Err, core.ErrNotFound) || len(results[0].Children)+len(results[2].Children) != 0 {
		s.Errorf("results %+v", results)
	}
	s.stored(current)
	s.stored(b.Children[1])
	for _, child := range append(a.Children, gone.Children...) {
		if s.get(child.ID) != nil {
			s.Errorf("child %d of %s was put", child.Parent.Index, child.Parent.ID)
		}
	}
}

func spawnAgain(s *suite) {
	spawn := s.spawn("a", 3)
	update := []core.Update{spawn.Update}
	if err := errors.Join(s.store.Update(s.ctx, update)...); err != nil {
		s.Fatal(err)
	}
	s.insert(spawn.Children[1])
	for range 2 {
		s.noErrors(s.store.UpdateAndInsertChildren(s.ctx, []core.Spawn{spawn})[0])
	}
	s.stored(spawn.After)
	for _, child := range spawn.Children {
		s.stored(child)
	}
}

func spawnOfExisting(s *suite) {
	spawn := s.spawn("a", 3)
	cancelled := s.apply(spawn.Children[1], core.Cancel{Reason: "first", ByParent: true}, base)
	s.insert(cancelled)
	result := s.store.UpdateAndInsertChildren(s.ctx, []core.Spawn{spawn})[0]
	if result.Err != nil || !errors.Is(result.Children[1], core.ErrAlreadyExists) {
		s.Fatalf("%+v", result)
	}
	result.Children[1] = nil
	s.noErrors(result)
	s.stored(cancelled)
	s.stored(spawn.Children[0])
	s.stored(spawn.Children[2])
}

package storetest

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// argumentTests hold that arguments out of range have one answer.
func argumentTests() []test {
	return []test{
		{"a limit below 1 takes nothing", limitsBelowOne},
		{"the largest limit takes all", largestLimit},
		{"nothing is due at the zero time", zeroTime},
		{"a call about nothing does nothing", emptyCalls},
		{"what can be no id is refused", idsRefused},
		{"a claim without an executor or a lease is refused", claimsRefused},
		{"a nil payload, event or parent is refused", nilsRefused},
		{"a record that could not be read again is refused, and those beside it are put", recordsRefused},
		{"an update of nothing, or of another execution, is refused", updatesRefused},
		{"of two records with one id in a call the first is put", firstOfTwo},
		{"two updates of one execution in a call are done in their order", updatesInOrder},
		{"indexes that no child has, and a wrong number of siblings, count for nothing", countedWrongly},
		{"a payload that does not exist is corrupt", payloadGone},
	}
}

// limited is an operation with a limit.
type limited struct {
	name string
	run  func(limit int) (core.Swept, error)
}

// limited puts an execution for each operation that has a limit, and returns the operations.
func (s *suite) limited() []limited {
	s.Helper()
	var all []limited
	for _, sweep := range s.sweepers() {
		s.insert(sweep.make("for-"+sweep.name, base))
		all = append(all, limited{sweep.name, func(limit int) (core.Swept, error) { return sweep.run(base, limit) }})
	}
	s.insert(ready("named", at(1)))
	s.flagged("flagged", "x1")
	s.flagged("expired", "x2")
	return append(all, limited{"ClaimReady by ids", func(limit int) (core.Swept, error) {
		return s.store.ClaimReady(s.ctx, core.ReadyClaim{Now: at(1), Limit: limit, ExecutorID: executor, Left: left, IDs: []string{"named"}})
	}}, limited{"ClaimCancelled", func(limit int) (core.Swept, error) {
		got, err := s.store.ClaimCancelled(s.ctx, "x1", at(2), limit)
		return core.Swept{Executions: got}, err
	}}, limited{"ExpireCancelled", func(limit int) (core.Swept, error) {
		return s.store.ExpireCancelled(s.ctx, sweepAt(at(1000), limit))
	}})
}

func limitsBelowOne(s *suite) {
	for _, op := range s.limited() {
		for _, limit := range []int{0, -1, math.MinInt} {
			got, err := op.run(limit)
			if err != nil || len(got.Executions) != 0 || got.Due != 0 || got.Lost != 0 || !got.NextDue.IsZero() {
				s.Errorf("%s with the limit %d: %v, %+v, error %v", op.name, limit, ids(got.Executions), got, err)
			}
		}
	}
}

func largestLimit(s *suite) {
	for _, op := range s.limited() {
		s.eventually(func() string {
			if got, err := op.run(math.MaxInt); err != nil || len(got.Executions) == 0 {
				return op.name + " took none"
			}
			return ""
		})
	}
}

func zeroTime(s *suite) {
	for _, sweep := range s.sweepers() {
		s.insert(sweep.make("for-"+sweep.name, base))
		s.none(func() (core.Swept, error) { return sweep.run(time.Time{}, 10) })
	}
	s.flagged("flagged", "x1")
	s.none(func() (core.Swept, error) { return s.store.ExpireCancelled(s.ctx, core.Sweep{Limit: 10}) })
	s.ids(s.claimIDs(time.Time{}, 10, left, "for-ClaimReady"))
}

func emptyCalls(s *suite) {
	if got, err := s.store.Get(s.ctx, nil, core.Filter{}); err != nil || len(got) != 0 {
		s.Errorf("get: %v, error %v", got, err)
	}
	if got, err := s.store.GetBySleepKey(s.ctx, nil); err != nil || len(got) != 0 {
		s.Errorf("get by key: %v, error %v", got, err)
	}
	if got, err := s.store.Children(s.ctx, nil); err != nil || len(got) != 0 {
		s.Errorf("children: %v, error %v", got, err)
	}
	if err := s.store.Load(s.ctx); err != nil {
		s.Errorf("load: %v", err)
	}
	if got := s.store.Update(s.ctx, nil); len(got) != 0 {
		s.Errorf("update: %v", got)
	}
	if got := s.store.UpdateAndInsertChildren(s.ctx, nil); len(got) != 0 {
		s.Errorf("update and insert children: %v", got)
	}
	parent := s.waiting("parent", 2)
	s.insert(parent)
	for _, c := range []core.Count{{ParentID: "parent"}, {ParentID: "parent", Siblings: 2, Indexes: []int{}}} {
		if got := s.store.CountFinished(s.ctx, at(5), []core.Count{c}); len(got) != 1 || got[0].Err != nil {
			s.Errorf("count of nobody: %+v", got)
		}
	}
	s.stored(parent)
}

// refused fails the test when err is not that of an argument.
func (s *suite) refused(what string, err error) {
	s.Helper()
	if !errors.Is(err, core.ErrInvalid) {
		s.Errorf("%s: error %v, want one that matches ErrInvalid", what, err)
	}
}

func idsRefused(s *suite) {
	s.insert(s.waiting("parent", 1), ready("ready", base))
	for _, id := range []string{"", strings.Repeat("i", 3000), "\xff"} {
		_, err := s.store.Get(s.ctx, []string{"parent", id}, core.Filter{})
		s.refused("get", err)
		_, err = s.store.Children(s.ctx, []string{"parent", id})
		s.refused("children", err)
		_, err = s.store.UpdateChildren(s.ctx, id, false, core.Cancel{}, base)
		s.refused("update children", err)
		s.refused("delete", s.store.Delete(s.ctx, id))
		e := ready(id, base)
		s.refused("insert", s.store.Insert(s.ctx, []*core.Execution{e})[0])
		s.refused("update", s.store.Update(s.ctx, []core.Update{{Before: e, After: s.apply(e, start(executor), base)}})[0])
		counts := s.store.CountFinished(s.ctx, at(5), []core.Count{{ParentID: id, Siblings: 1, Indexes: []int{0}}, {ParentID: "none"}})
		s.refused("count", counts[0].Err)
		if counts[1].Err != nil || counts[1].Parent != nil {
			s.Errorf("count beside it: %+v", counts[1])
		}
		got, err := s.store.ClaimReady(s.ctx, core.ReadyClaim{
			Now: base, Limit: 10, ExecutorID: executor, Left: left, Leeway: leeway, IDs: []string{id, "none"},
		})
		if err != nil || len(got.Executions) != 0 || got.Lost != 2 {
			s.Errorf("claim of %.10q: %+v, error %v, want it lost", id, got, err)
		}
	}
	s.ids(s.claimIDs(base, 10, left, "", "ready"), "ready") // a hint that is wrong spoils no other
}

func claimsRefused(s *suite) {
	s.insert(ready("ready", base), s.committed("parent", 2, base), s.closable("closable", base))
	_, err := s.store.ClaimReady(s.ctx, core.ReadyClaim{Now: base, Limit: 1, Left: left})
	s.refused("claim ready", err)
	_, err = s.store.ClaimReady(s.ctx, core.ReadyClaim{Now: base, Limit: 1, Left: left, IDs: []string{"ready"}})
	s.refused("claim by ids", err)
	_, err = s.store.ClaimChildrenFinished(s.ctx, core.Claim{Sweep: sweepAt(base, 1), ExpiresAt: at(500)})
	s.refused("claim parents", err)
	_, err = s.store.ClaimChildrenFinished(s.ctx, core.Claim{Sweep: sweepAt(base, 1), ExecutorID: executor})
	s.refused("claim parents without a lease", err)
	_, err = s.store.ClaimClosable(s.ctx, core.Claim{Sweep: sweepAt(base, 1), ExecutorID: executor})
	s.refused("claim closable without a lease", err)
	_, err = s.store.ClaimCancelled(s.ctx, "", base, 1)
	s.refused("claim cancelled", err)
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claim(base, 10) }), "ready")
}

func nilsRefused(s *suite) {
	e := ready("a", base)
	s.insert(e)
	s.refused("load", s.store.Load(s.ctx, &e.Input, nil))
	_, err := s.store.UpdateChildren(s.ctx, "a", false, nil, base)
	s.refused("update children", err)
	_, err = s.store.CheckSpawn(s.ctx, nil)
	s.refused("check spawn", err)
}

func recordsRefused(s *suite) {
	spoiled := func(spoil func(*core.Execution)) *core.Execution {
		e := ready("spoiled", base)
		spoil(e)
		return e
	}
	wrong := []*core.Execution{
		nil, {}, {ID: "spoiled"},
		spoiled(func(e *core.Execution) { e.TaskID = "" }),
		spoiled(func(e *core.Execution) { e.Status = "done" }),
		spoiled(func(e *core.Execution) { e.CreatedAt = time.Time{} }),
		spoiled(func(e *core.Execution) { e.DueAt = time.Time{} }),
		spoiled(func(e *core.Execution) { e.Queue = "later" }),
		spoiled(func(e *core.Execution) { e.Rev = 0 }),
		spoiled(func(e *core.Execution) { e.Timeout = -1 }),
		spoiled(func(e *core.Execution) { e.Parent = &core.Parent{} }),
		spoiled(func(e *core.Execution) { e.Parent = &core.Parent{ID: "parent", Index: -2} }),
		spoiled(func(e *core.Execution) { e.Status, e.Queue = core.StatusWaitingForChildren, core.QueueParent }),
	}
	first, last := ready("first", base), ready("last", base)
	errs := s.store.Insert(s.ctx, append(append([]*core.Execution{first}, wrong...), last))
	if errs[0] != nil || errs[len(errs)-1] != nil {
		s.Errorf("those beside: %v, %v", errs[0], errs[len(errs)-1])
	}
	for _, err := range errs[1 : len(errs)-1] {
		s.refused("insert", err)
	}
	s.stored(first)
	s.stored(last)
	if got := s.get("spoiled"); got != nil {
		s.Errorf("it was put: %+v", got)
	}
	parent := s.running("parent", at(60))
	s.insert(parent)
	after := s.apply(parent, commit(2, at(10)), at(1))
	spawn := s.store.UpdateAndInsertChildren(s.ctx, []core.Spawn{{
		Update: core.Update{Before: parent, After: after}, Children: []*core.Execution{nil, childOf(after, 1, base)},
	}})[0]
	if spawn.Err != nil || len(spawn.Children) != 2 || spawn.Children[1] != nil {
		s.Fatalf("%+v", spawn)
	}
	s.refused("a nil child", spawn.Children[0])
	s.missing(after, 0)
}

func updatesRefused(s *suite) {
	a, b := ready("a", base), ready("b", base)
	s.insert(a, b)
	after := s.apply(a, start(executor), base)
	spoiled := s.apply(a, start(executor), base)
	spoiled.Status = "done"
	good := core.Update{Before: b, After: s.apply(b, start(executor), base)}
	errs := s.store.Update(s.ctx, []core.Update{{}, {Before: a}, {After: after}, {Before: b, After: after}, {Before: a, After: spoiled}, good})
	for _, err := range errs[:5] {
		s.refused("update", err)
	}
	if errs[5] != nil {
		s.Errorf("the one beside: %v", errs[5])
	}
	s.stored(a)
	s.stored(good.After)
	spawn := s.store.UpdateAndInsertChildren(s.ctx, []core.Spawn{{Children: []*core.Execution{ready("child", base)}}})[0]
	s.refused("spawn", spawn.Err)
	if s.get("child") != nil || spawn.Children != nil {
		s.Errorf("a child was put: %+v", spawn)
	}
}

func firstOfTwo(s *suite) {
	var all []*core.Execution
	for range 5 {
		for _, id := range []string{"a", "b", "c"} {
			all = append(all, ready(id, base))
		}
	}
	for i, err := range s.store.Insert(s.ctx, all) {
		if i < 3 && err != nil || i >= 3 && !errors.Is(err, core.ErrAlreadyExists) {
			s.Errorf("insert %d: %v", i, err)
		}
	}
	for _, e := range all[:3] {
		s.stored(e)
	}
}

func updatesInOrder(s *suite) {
	e := ready("a", base)
	s.insert(e)
	first := s.apply(e, start(executor), at(1))
	second := s.apply(first, core.Cancel{Reason: "why"}, at(2))
	other := s.apply(e, core.Cancel{Reason: "other"}, at(1))
	errs := s.store.Update(s.ctx, []core.Update{{Before: e, After: first}, {Before: first, After: second}, {Before: e, After: other}})
	if errs[0] != nil || errs[1] != nil {
		s.Errorf("errors %v", errs)
	}
	s.conflict(errs[2], second)
	s.stored(second)
}

func countedWrongly(s *suite) {
	parents := []*core.Execution{s.waiting("small", 3), s.waiting("large", 300), s.sequence("steps", 0)}
	for _, parent := range parents {
		s.insert(parent)
		size := parent.Family.Size
		for _, siblings := range []int{-1, 0, size, size + 7, 1, 2, 200} {
			for _, strangers := range [][]int{{-2}, {math.MinInt, -2, size}, {size, size + 6}, {size + 6}} {
				s.same(parent, s.count(parent.ID, siblings, strangers...))
				s.stored(parent)
			}
		}
	}
	for _, siblings := range []int{-1, 200, 2} {
		s.count("small", siblings, -2, 1)
	}
	if got := s.get("small"); got.ActiveChildren() != 2 || got.Rev != parents[0].Rev {
		s.Errorf("%d active children, revision %d", got.ActiveChildren(), got.Rev)
	}
	s.count("small", 1, 0, 2)
	if got := s.get("small"); !got.AllCounted() || got.Queue != core.QueueParent {
		s.Errorf("family %+v, queue %q", got.Family, got.Queue)
	}
	s.count("steps", 3, 0)
	if got := s.get("steps"); !got.Family.StepDone {
		s.Errorf("family %+v", got.Family)
	}
}

func payloadGone(s *suite) {
	if err := s.store.Load(s.ctx, &core.Payload{Ref: "nowhere"}); !errors.Is(err, core.ErrCorrupt) {
		s.Errorf("error %v", err)
	}
}

package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func raceTests() []test {
	return []test{
		{"16 callers claim each of 300 executions once", func(s *suite) { eachOnce(s, s.sweepers()[0], 300, 16, 25) }},
		{"16 executors claim each of 400 once", executorsAtOnce},
		{"16 callers claim each of 100 ids once", claimIDsAtOnce},
		{"of 16 updates of one record exactly one wins", updatesAtOnce},
		{"of 16 inserts of one id exactly one wins", insertsAtOnce},
		{"children counted by 16 callers make the parent due once", countsAtOnce},
		{"children of a large family counted by 16 callers make the parent due once", largeCountsAtOnce},
		{"an end that is told twice at once counts once", marksAtOnce},
	}
}

// callers is how many race.
const callers = 16

// atOnce calls do n times at once.
func atOnce(n int, do func(caller int)) {
	var group sync.WaitGroup
	for caller := range n {
		group.Go(func() { do(caller) })
	}
	group.Wait()
}

// eachOnce lets callers sweep until everything is swept.
func eachOnce(s *suite, sweep sweeper, executions, callers, limit int) {
	made := make([]*core.Execution, executions)
	for i := range made {
		made[i] = sweep.make(fmt.Sprintf("e%d", i), at(float64(i%50)))
	}
	for group := range slices.Chunk(made, 100) {
		s.insert(group...)
	}
	var mu sync.Mutex
	times := map[string]int{}
	// A call that meets nothing may have met the executions of others only: it looks again, as often as all together
	// could take something from it.
	calls := executions + tries
	atOnce(callers, func(int) {
		for range calls {
			got, err := sweep.run(at(60), limit)
			if err != nil || len(got.Executions) > limit {
				s.Errorf("%d executions, limit %d, error %v", len(got.Executions), limit, err)
				return
			}
			mu.Lock()
			for _, e := range got.Executions {
				times[e.ID]++
			}
			all := len(times) == executions
			mu.Unlock()
			if all {
				return
			}
		}
	})
	for _, e := range made {
		if times[e.ID] != 1 {
			s.Errorf("%s was swept %d times", e.ID, times[e.ID])
		}
	}
	last := made[executions-1]
	if got := s.get(last.ID); got.Rev != last.Rev+1 {
		s.Errorf("revision %d, want %d", got.Rev, last.Rev+1)
	}
}

func executorsAtOnce(s *suite) {
	sweep := s.sweepers()[0]
	var calls atomic.Int64
	sweep.run = func(now time.Time, limit int) (core.Swept, error) {
		n := calls.Add(1)
		return s.store.ClaimReady(s.ctx, core.ReadyClaim{
			Now: now.Add(time.Duration(n) * time.Millisecond), Limit: limit, ExecutorID: fmt.Sprintf("executor-%d", n%callers),
			Left: left, Leeway: leeway, Shared: true,
		})
	}
	eachOnce(s, sweep, 400, callers, 7)
}

func claimIDsAtOnce(s *suite) {
	var all []string
	for i := range 100 {
		e := ready(fmt.Sprintf("e%d", i), base)
		s.insert(e)
		all = append(all, e.ID)
	}
	var mu sync.Mutex
	times := map[string]int{}
	atOnce(callers, func(caller int) {
		got, err := s.store.ClaimReady(s.ctx, core.ReadyClaim{
			Now: base, Limit: 100, ExecutorID: fmt.Sprint("x", caller), Left: left, Leeway: leeway, IDs: all,
		})
		if err != nil {
			s.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range got.Executions {
			times[e.ID]++
			if e.ExecutorID != fmt.Sprint("x", caller) {
				s.Errorf("executor %d got %s of %s", caller, e.ID, e.ExecutorID)
			}
		}
	})
	for _, id := range all {
		if times[id] != 1 {
			s.Errorf("%s was claimed %d times", id, times[id])
		}
	}
}

func updatesAtOnce(s *suite) {
	e := ready("a", base)
	s.insert(e)
	var afters, won [callers]*core.Execution
	for i := range afters {
		afters[i] = s.apply(e, core.Cancel{Reason: fmt.Sprint("by ", i)}, at(1))
	}
	atOnce(callers, func(i int) {
		err := s.store.Update(s.ctx, []core.Update{{Before: e, After: afters[i]}})[0]
		var conflict *core.ConflictError
		switch {
		case err == nil:
			won[i] = afters[i]
		case !errors.As(err, &conflict):
			s.Error(err)
		case conflict.Current.Rev != 2:
			s.Errorf("the conflict brings revision %d", conflict.Current.Rev)
		}
	})
	s.one(won[:])
}

// one fails the test when not exactly one caller won, or the store holds another record than the winner's.
func (s *suite) one(won []*core.Execution) {
	s.Helper()
	won = slices.DeleteFunc(won, func(e *core.Execution) bool { return e == nil })
	if len(won) != 1 {
		s.Fatalf("%d callers won", len(won))
	}
	s.stored(won[0])
}

func insertsAtOnce(s *suite) {
	var won [callers]*core.Execution
	atOnce(callers, func(i int) {
		e := ready("a", at(float64(i)))
		switch err := s.store.Insert(s.ctx, []*core.Execution{e})[0]; {
		case err == nil:
			won[i] = e
		case !errors.Is(err, core.ErrAlreadyExists):
			s.Error(err)
		}
	})
	s.one(won[:])
}

func countsAtOnce(s *suite)      { countAtOnce(s, 100) }
func largeCountsAtOnce(s *suite) { countAtOnce(s, 300) }

// countAtOnce lets every caller count a share of the children in groups of a size of its own, and some of its
// neighbour's again, while another one notes that all children exist.
func countAtOnce(s *suite, size int) {
	parent := s.committed("parent", size, at(600))
	s.insert(parent)
	var mu sync.Mutex
	complete := map[int64]bool{} // the revisions in which a caller saw all counted
	note := func(e *core.Execution) {
		if e != nil && e.AllCounted() {
			mu.Lock()
			defer mu.Unlock()
			complete[e.Rev] = true
		}
	}
	atOnce(callers+1, func(caller int) {
		if caller == callers {
			s.noteSpawned(parent)
			return
		}
		var own []int
		for i := range size {
			if i%callers == caller || i%(3*callers) == caller+1 {
				own = append(own, i)
			}
		}
		for group := range slices.Chunk(own, caller%6+1) {
			got := s.store.CountFinished(s.ctx, at(5), []core.Count{{ParentID: "parent", Siblings: size, Indexes: group}})[0]
			if got.Err != nil {
				s.Error(got.Err)
			}
			note(got.Parent)
		}
	})
	got := s.get("parent")
	if !got.AllCounted() || got.Queue != core.QueueParent || !got.Family.Spawned || got.Rev != parent.Rev+2 ||
		got.DueAt.After(at(5)) || len(complete) == 0 {
		s.Fatalf("revision %d, queue %q, due %s, seen complete in %v, family %+v",
			got.Rev, got.Queue, got.DueAt, complete, got.Family)
	}
	s.ids(s.swept(1, func() (core.Swept, error) { return s.claimParents(at(5), 10) }), "parent")
	s.none(func() (core.Swept, error) { return s.claimParents(at(499), 10) })
}

// noteSpawned notes that all children exist, deciding again as long as the record changes.
func (s *suite) noteSpawned(parent *core.Execution) {
	for range tries {
		after, err := core.Transition(parent, core.ChildrenSpawned{}, at(5))
		if err != nil {
			s.Error(err)
			return
		}
		after.Nonce = core.NewNonce()
		err = s.store.Update(s.ctx, []core.Update{{Before: parent, After: after}})[0]
		var conflict *core.ConflictError
		if !errors.As(err, &conflict) {
			if err != nil {
				s.Error(err)
			}
			return
		}
		parent = conflict.Current
	}
	s.Error("it conflicts again and again")
}

func marksAtOnce(s *suite) {
	const size = 20
	parent := s.waiting("parent", size)
	s.insert(parent)
	for i := range size {
		s.insert(s.apply(childOf(parent, i, base), core.Cancel{Reason: "why"}, at(1)))
	}
	var mu sync.Mutex
	marked := 0
	atOnce(callers, func(int) {
		for range size + tries {
			got, err := s.markClosable(at(2), 3)
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			marked += len(got.Executions)
			all := marked == size
			mu.Unlock()
			if all {
				return
			}
		}
	})
	if got := s.get("parent"); marked != size || !got.AllCounted() || got.Rev != parent.Rev+1 || got.Queue != core.QueueParent {
		s.Errorf("%d marked, revision %d, queue %q, family %+v", marked, got.Rev, got.Queue, got.Family)
	}
}

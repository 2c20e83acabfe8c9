package dynamostore

import (
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// waitingParent returns a parent that is waiting for children, in a family of its own.
func waitingParent(t *testing.T, id, nonce string, size int, at time.Time) *core.Execution {
	t.Helper()
	e := core.NewExecution(id, core.Spec{TaskID: "parent_task", Timeout: time.Minute}, at)
	for _, ev := range []core.Event{
		core.StartAttempt{ExecutorID: executor, Left: time.Hour},
		core.CommitChildren{ExecutorID: executor, Nonce: nonce, Size: size, CheckAt: at.Add(time.Minute)},
		core.ChildrenSpawned{},
	} {
		after, err := core.Transition(e, ev, at)
		if err != nil {
			t.Fatal(err)
		}
		e = after
	}
	e.Nonce = core.NewNonce()
	return e
}

// An id may be used again once its execution's retention is over. What was counted for the old family must not
// complete the new one.
func TestAReusedIDCountsItsOwnChildrenOnly(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	const size = 300
	count := func(e *core.Execution, at time.Time, indexes ...int) {
		t.Helper()
		r := s.CountFinished(t.Context(), at, []core.Count{{ParentID: e.ID, Siblings: size, Indexes: indexes}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	all := make([]int, size)
	for i := range all {
		all[i] = i
	}
	first := waitingParent(t, "parent", "first", size, now)
	insert(t, s, first)
	count(first, now, all...)
	done := one(t, s, "parent")
	if !done.AllCounted() {
		t.Fatalf("family %+v", done.Family)
	}
	next(t, s, done, core.CompleteFamily{ExecutorID: executor})

	later := now.Add(31 * 24 * time.Hour)
	second := waitingParent(t, "parent", "second", size, later)
	insert(t, s, second)
	count(second, later, 0)
	count(second, later, 299)
	if e := one(t, s, "parent"); len(e.Family.Counted) != 0 || e.AllCounted() {
		t.Errorf("counted units %v after 2 of %d children", e.Family.Counted, size)
	}
}

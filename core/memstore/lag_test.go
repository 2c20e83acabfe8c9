package memstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func ready(id string) *core.Execution {
	e := core.NewExecution(id, core.Spec{TaskID: "task", Timeout: time.Minute}, now)
	e.Nonce = core.NewNonce()
	return e
}

// transition returns what ev makes of e, with a nonce of its own.
func transition(t *testing.T, e *core.Execution, ev core.Event) *core.Execution {
	t.Helper()
	after, err := core.Transition(e, ev, now)
	if err != nil {
		t.Fatal(err)
	}
	after.Nonce = core.NewNonce()
	return after
}

func insert(t *testing.T, s *memstore.Store, e *core.Execution) {
	t.Helper()
	if err := s.Insert(t.Context(), []*core.Execution{e})[0]; err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, s *memstore.Store, before, after *core.Execution) error {
	t.Helper()
	return s.Update(t.Context(), []core.Update{{Before: before, After: after}})[0]
}

// claim returns what a sweep of queue ready finds: the ids, and how many entries are lost.
func claim(t *testing.T, s *memstore.Store) string {
	t.Helper()
	got, err := s.ClaimReady(t.Context(), core.ReadyClaim{
		Now: now, Limit: 10, ExecutorID: "x", Left: time.Hour, Leeway: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(got.Executions))
	for i, e := range got.Executions {
		ids[i] = e.ID
	}
	return fmt.Sprintf("%v, %d lost", ids, got.Lost)
}

func expect(t *testing.T, s *memstore.Store, sweeps ...string) {
	t.Helper()
	for i, want := range sweeps {
		if got := claim(t, s); got != want {
			t.Errorf("sweep %d: %s, want %s", i+1, got, want)
		}
	}
}

// lagging returns a store whose entries in queue ready appear and go late by so many sweeps.
func lagging(put, removed int) *memstore.Store {
	return memstore.New(memstore.Options{Lag: func(c memstore.Change) int {
		switch {
		case c.Queue != core.QueueReady:
			return 0
		case c.Removed:
			return removed
		}
		return put
	}})
}

func TestAnEntryAppearsLate(t *testing.T) {
	t.Parallel()
	s := lagging(2, 0)
	insert(t, s, ready("a"))
	expect(t, s, "[], 0 lost", "[], 0 lost", "[a], 0 lost", "[], 0 lost")
}

func TestAnEntryLingers(t *testing.T) {
	t.Parallel()
	s := lagging(0, 2)
	e := ready("a")
	insert(t, s, e)
	if err := update(t, s, e, transition(t, e, core.Cancel{})); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "[], 1 lost", "[], 1 lost", "[], 0 lost")
}

func TestAClaimedEntryLingersAfterItsOwnSweep(t *testing.T) {
	t.Parallel()
	s := lagging(0, 2)
	insert(t, s, ready("a"))
	expect(t, s, "[a], 0 lost", "[], 1 lost", "[], 1 lost", "[], 0 lost")
}

func TestAnEntryThatGoesBeforeItAppearsIsNeverSeen(t *testing.T) {
	t.Parallel()
	s := lagging(2, 1)
	e := ready("a")
	insert(t, s, e)
	if err := update(t, s, e, transition(t, e, core.Cancel{})); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "[], 0 lost", "[], 0 lost", "[], 0 lost", "[], 0 lost")
}

func TestAnEntryOfADeletedExecutionLingers(t *testing.T) {
	t.Parallel()
	s := lagging(0, 1)
	insert(t, s, ready("a"))
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "[], 1 lost", "[], 0 lost")
}

func TestWhatIsHeldBackForEverAppearsWhenTheIndexSettles(t *testing.T) {
	t.Parallel()
	s := lagging(-1, -1)
	insert(t, s, ready("a"))
	expect(t, s, "[], 0 lost", "[], 0 lost")
	s.Settle()
	expect(t, s, "[a], 0 lost", "[], 1 lost", "[], 1 lost")
	s.Settle()
	expect(t, s, "[], 0 lost")
}

func TestLagIsAskedForEveryChange(t *testing.T) {
	t.Parallel()
	var asked []string
	s := memstore.New(memstore.Options{Lag: func(c memstore.Change) int {
		asked = append(asked, fmt.Sprintf("%s %s %t %s", c.ID, c.Queue, c.Removed, c.DueAt.Sub(now)))
		return 0
	}})
	insert(t, s, ready("a"))
	expect(t, s, "[a], 0 lost")
	running, err := s.Get(t.Context(), []string{"a"}, core.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := update(t, s, running[0], transition(t, running[0], core.Cancel{})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"a ready false 0s", "a list false 0s", "a ready true 0s", "a running false 1m1s",
		"a running true 1m1s", "a cancellation false 1m1s", "a list true 0s", "a list false 0s",
	}, asked); diff != "" {
		t.Error(diff)
	}
}

// TestTheListLags pins what the list shows when each of its changes is seen by the second look after it: never
// what is false, and for one look the finished execution nowhere but among all.
func TestTheListLags(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Options{Lag: func(c memstore.Change) int {
		if c.Queue == memstore.QueueList {
			return 1
		}
		return 0
	}})
	look := func(status core.Status) int {
		page, err := s.List(t.Context(), now, core.Listing{Status: status})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Executions)
	}
	e := ready("a")
	insert(t, s, e)
	if got := []int{look(""), look(""), look(core.StatusReady)}; !slices.Equal(got, []int{0, 1, 1}) {
		t.Errorf("after the insert it is seen %v", got)
	}
	if err := update(t, s, e, transition(t, e, core.Cancel{})); err != nil {
		t.Fatal(err)
	}
	if got := []int{look(core.StatusCancelled), look(core.StatusCancelled), look(core.StatusReady), look("")}; !slices.Equal(got, []int{0, 1, 0, 1}) {
		t.Errorf("after its end it is seen %v", got)
	}
	insert(t, s, ready("b"))
	s.Settle()
	if got := look(""); got != 2 {
		t.Errorf("%d executions are seen when the list has settled, want 2", got)
	}
}

func TestEachShowsACopyOfEverythingInOrder(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Options{})
	for _, id := range []string{"b", "c", "a"} {
		insert(t, s, ready(id))
	}
	var seen []string
	for range 2 {
		s.Each(func(e *core.Execution) {
			seen = append(seen, e.ID)
			e.ID = "changed"
			_ = s.Len() // the store is not locked
		})
	}
	if want := []string{"a", "b", "c", "a", "b", "c"}; !slices.Equal(seen, want) || s.Len() != 3 {
		t.Errorf("seen %v of %d", seen, s.Len())
	}
}

package dynamostore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

func TestABacklogIsCountedUpToALimit(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	var all []*core.Execution
	for n := range 25 {
		e := ready(fmt.Sprintf("e%02d", n), 10)
		e.StartAt, e.DueAt = now.Add(time.Duration(n)*time.Second), now.Add(time.Duration(n)*time.Second)
		all = append(all, e)
	}
	slices.Reverse(all)
	insert(t, s, all...)
	for _, test := range []struct {
		limit   int
		depth   int
		atLeast bool
	}{{0, 25, false}, {1, 1, true}, {10, 10, true}, {24, 24, true}, {25, 25, false}, {1000, 25, false}} {
		told := 0
		got, err := s.Backlogs(t.Context(), now, test.limit, func(n int) { told = max(told, n) })
		if err != nil || len(got) != len(core.Queues())+1 {
			t.Fatalf("%d queues, error %v", len(got), err)
		}
		want := Backlog{Queue: core.QueueReady, Depth: test.depth, AtLeast: test.atLeast, Oldest: now}
		if diff := cmp.Diff(want, got[slices.Index(core.Queues(), core.QueueReady)]); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", test.limit, diff)
		}
		if other := got[slices.Index(core.Queues(), core.QueueClose)]; other != (Backlog{Queue: core.QueueClose}) {
			t.Errorf("an empty queue: %+v", other)
		}
		if test.limit == 0 && told != 25 {
			t.Errorf("progress told of %d entries", told)
		}
	}
	if n, err := s.Shards(t.Context()); n != 4 || err != nil {
		t.Errorf("%d shards, error %v", n, err)
	}
}

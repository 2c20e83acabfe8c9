package dynamostore

import (
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// A sweep writes queue entries too: a reader must know of its shards.
func TestAStoreThatOnlySweepsAnnouncesItsShards(t *testing.T) {
	t.Parallel()
	small := testStore(t)
	large, err := New(testClient(endpoint, nil), small.table, Options{Shards: MaxShards})
	if err != nil {
		t.Fatal(err)
	}
	// These are in other shards of 64 than the first four.
	ids := []string{"a", "b", "c", "d", "e", "f"}
	for _, id := range ids {
		insert(t, small, ready(id, 10))
	}
	if got := claim(t, large, now, time.Hour); len(got) != len(ids) {
		t.Fatalf("claimed %v", got)
	}
	reader, err := New(testClient(endpoint, nil), small.table, Options{})
	if err != nil {
		t.Fatal(err)
	}
	swept, err := reader.ExpireRunning(t.Context(), core.Sweep{Now: now.Add(time.Hour), Limit: 10, MaxRecoveries: 5})
	if err != nil || len(swept.Executions) != len(ids) {
		t.Errorf("recovered %d attempts, want %d; error %v", len(swept.Executions), len(ids), err)
	}
}

func TestTheNumberOfShardsMayChange(t *testing.T) {
	t.Parallel()
	table := testTable(t)
	for i, shards := range []int{4, 16, 2} {
		s, err := New(testClient(endpoint, nil), table, Options{Shards: shards})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 20 {
			insert(t, s, ready(fmt.Sprintf("e%d-%d", i, n), 10))
		}
	}
	s, err := New(testClient(endpoint, nil), table, Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for range 3 {
		swept, err := s.ClaimReady(t.Context(), core.ReadyClaim{Now: now, Limit: 30, ExecutorID: executor, Left: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range swept.Executions {
			got[e.ID] = true
		}
	}
	if len(got) != 60 {
		t.Errorf("%d executions were found, want 60", len(got))
	}
}

package dynamostore

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// cutting lets every write through and cuts the connection before its first answer.
type cutting struct {
	next http.RoundTripper
	cut  atomic.Int32
}

func (c *cutting) Do(r *http.Request) (*http.Response, error) {
	first := r.Header.Get("Amz-Sdk-Request") == "attempt=1; max=3"
	answer, err := c.next.RoundTrip(r)
	target := r.Header.Get("X-Amz-Target")
	if err == nil && first && (strings.HasSuffix(target, ".PutItem") || strings.HasSuffix(target, ".UpdateItem")) {
		answer.Body.Close()
		c.cut.Add(1)
		return nil, fmt.Errorf("the connection was cut after %s", target)
	}
	return answer, err
}

func TestAWriteWhoseAnswerIsLostHappensOnce(t *testing.T) {
	t.Parallel()
	transport := &cutting{next: http.DefaultTransport}
	s, err := New(testClient(endpoint, transport), testTable(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("parent", 5000))
	parent := claimed(t, s, "parent")
	if parent.Attempts != 1 || parent.Rev != 2 {
		t.Errorf("after the claim: attempt %d, revision %d", parent.Attempts, parent.Rev)
	}
	after, err := core.Transition(parent, core.CommitChildren{
		ExecutorID: executor, RunOutput: core.Payload{Data: jsonOf(10)}, Nonce: "n", Size: 1,
		Manifest: core.Payload{Data: jsonOf(10)}, CheckAt: now,
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	after.Nonce = core.NewNonce()
	child := ready(after.ChildID(0), 10)
	child.Parent = &core.Parent{ID: "parent", Siblings: 1}
	spawn := core.Spawn{Update: core.Update{Before: parent, After: after}, Children: []*core.Execution{child}}
	if r := s.UpdateAndInsertChildren(t.Context(), []core.Spawn{spawn})[0]; r.Err != nil || r.Children[0] != nil {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		r := s.CountFinished(t.Context(), now, []core.Count{{ParentID: "parent", Siblings: 1, Indexes: []int{0}}})[0]
		if r.Err != nil || !r.Parent.AllCounted() {
			t.Fatalf("count: %+v", r)
		}
	}
	if e := one(t, s, "parent"); e.Rev != 4 || e.Queue != core.QueueParent {
		t.Errorf("revision %d in queue %q, want 4 in parent", e.Rev, e.Queue)
	}
	swept, err := s.ClaimChildrenFinished(t.Context(), core.Claim{Sweep: core.Sweep{Now: now, Limit: 10}, ExecutorID: executor, ExpiresAt: now.Add(time.Minute)})
	if err != nil || len(swept.Executions) != 1 || swept.Executions[0].Rev != 5 {
		t.Errorf("claim of the parent: %+v, error %v", swept, err)
	}
	// Every kind of write lost its first answer: the number of shards, a part, records, a claim, a commitment, a
	// child, a count and a sweep.
	if transport.cut.Load() < 8 {
		t.Errorf("%d answers were lost", transport.cut.Load())
	}
}

func TestCountsWhoseAnswersAreLostCountOnce(t *testing.T) {
	t.Parallel()
	transport := &cutting{next: http.DefaultTransport}
	s, err := New(testClient(endpoint, transport), testTable(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const size = core.CountDirect + 1
	small, large := waitingParent(t, "small", "f", 3, now), waitingParent(t, "large", "f", size, now)
	own := ready("own", 10)
	own.Parent = &core.Parent{ID: "small", TaskID: "parent_task", Index: 7}
	insert(t, s, small, large, own)
	for _, indexes := range [][]int{{0}, {1}, {2}} {
		if r := s.CountFinished(t.Context(), now, []core.Count{{ParentID: "small", Siblings: 3, Indexes: indexes}})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if e := one(t, s, "small"); !e.AllCounted() || e.Rev != small.Rev+1 || e.Queue != core.QueueParent {
		t.Errorf("revision %d in queue %q, counted %v", e.Rev, e.Queue, e.Family.Counted)
	}
	all := make([]int, size)
	for i := range all {
		all[i] = i
	}
	for _, indexes := range [][]int{all[:60], all[50 : size-1], all[size-1:]} {
		r := s.CountFinished(t.Context(), now, []core.Count{{ParentID: "large", Siblings: size, Indexes: indexes}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if e := one(t, s, "large"); e.AllCounted() != (len(indexes) == 1) {
			t.Fatalf("after %v: counted units %v", indexes, e.Family.Counted)
		}
	}
	if e := one(t, s, "large"); e.Rev != large.Rev+1 || e.Queue != core.QueueParent {
		t.Errorf("revision %d in queue %q", e.Rev, e.Queue)
	}
	children, err := s.Children(t.Context(), []string{"small"})
	if err != nil || len(children[0]) != 1 || children[0][0].ID != "own" {
		t.Errorf("children %v, error %v", children, err)
	}
}

package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Who claims in these tests, for how long at most, and the leeway of the leases.
const (
	executor = "executor-1"
	left     = time.Hour
	leeway   = 5 * time.Second
	timeout  = 30 * time.Second // of every task
)

func start(executorID string) core.StartAttempt {
	return core.StartAttempt{ExecutorID: executorID, Left: left, Leeway: leeway}
}

// ready returns an execution that is due in queue ready.
func ready(id string, due time.Time) *core.Execution {
	e := core.NewExecution(id, core.Spec{TaskID: "task", Timeout: timeout, Input: []byte(`"in"`)}, due)
	e.Nonce = core.NewNonce()
	return e
}

func sleeper(key string, due time.Time) *core.Execution {
	e := core.NewExecution(core.SleepID(key), core.Spec{
		TaskID: "sleep", Timeout: timeout, Input: []byte("1"), SleepKey: key,
	}, due.Add(-timeout))
	e.Nonce = core.NewNonce()
	return e
}

// child returns an execution below a parent that need not exist.
func child(id, parentID string, index, siblings int, due time.Time) *core.Execution {
	e := ready(id, due)
	e.RootID = "root"
	e.Parent = &core.Parent{ID: parentID, TaskID: "parent", Index: index, Siblings: siblings}
	return e
}

// childOf returns the parent's committed child at an index.
func childOf(parent *core.Execution, index int, due time.Time) *core.Execution {
	e := child(parent.ChildID(index), parent.ID, index, parent.Family.Size, due)
	if index == core.FinalizeIndex {
		e.Parent.Siblings = 0
	}
	return e
}

func childrenOf(parent *core.Execution, due time.Time) []*core.Execution {
	children := make([]*core.Execution, parent.Family.Size)
	for i := range children {
		children[i] = childOf(parent, i, due)
	}
	return children
}

// running returns an execution whose lease ends at due.
func (s *suite) running(id string, due time.Time) *core.Execution {
	started := due.Add(-timeout - leeway)
	return s.apply(ready(id, started), start(executor), started)
}

func commit(size int, checkAt time.Time) core.CommitChildren {
	return core.CommitChildren{
		ExecutorID: executor, RunOutput: core.Payload{Data: []byte(`"run"`)}, Nonce: core.NewNonce(), Size: size,
		Manifest: core.Payload{Data: fmt.Appendf(nil, `[{"n":%d}]`, size)}, CheckAt: checkAt,
	}
}

// committed returns a parent of size children that is due for the check that they exist at checkAt.
func (s *suite) committed(id string, size int, checkAt time.Time) *core.Execution {
	now := checkAt.Add(-10 * time.Second)
	return s.apply(s.running(id, now.Add(time.Minute)), commit(size, checkAt), now)
}

// waiting returns a parent all of whose children exist, at base.
func (s *suite) waiting(id string, size int) *core.Execution {
	return s.apply(s.committed(id, size, at(10)), core.ChildrenSpawned{}, at(1))
}

// finalizing returns a parent that is due for the check that its finalize execution exists.
func (s *suite) finalizing(id string, checkAt time.Time) *core.Execution {
	parent := s.committed(id, 1, checkAt)
	parent = s.apply(parent, core.CountChildren{Units: []int{0}}, checkAt.Add(-time.Second))
	parent = s.apply(parent, core.ClaimChildren{ExecutorID: executor, ExpiresAt: checkAt}, checkAt.Add(-time.Second))
	return s.apply(parent, core.CommitFinalize{ExecutorID: executor, TaskID: "finalize", CheckAt: checkAt},
		checkAt.Add(-time.Second))
}

// processing returns a parent whose lease on the finished children's processing ends at due.
func (s *suite) processing(id string, due time.Time) *core.Execution {
	return s.apply(s.committed(id, 1, due.Add(-time.Minute)), core.ClaimChildren{ExecutorID: executor, ExpiresAt: due},
		due.Add(-time.Minute))
}

// untold returns a cancelled execution whose parent, which does not exist, was not told.
func (s *suite) untold(id string, due time.Time) *core.Execution {
	return s.apply(child(id, "no-such-parent", 0, 3, due), core.Cancel{Reason: "why"}, due)
}

// closable returns a cancelled parent, due in queue close, that has children left.
func (s *suite) closable(id string, due time.Time) *core.Execution {
	e := s.apply(s.committed(id, 2, due.Add(time.Minute)), core.Cancel{Reason: "why"}, due)
	return s.apply(e, core.MarkClosable{}, due)
}

// closing returns a cancelled parent whose lease on closing ends at due.
func (s *suite) closing(id string, due time.Time) *core.Execution {
	claimed := due.Add(-time.Minute)
	return s.apply(s.closable(id, claimed), core.ClaimClose{ExpiresAt: due}, claimed)
}

// spawned puts a parent and its children, all of which exist and are ready.
func (s *suite) spawned(id string, size int) (parent *core.Execution, children []*core.Execution) {
	s.Helper()
	parent = s.waiting(id, size)
	children = childrenOf(parent, base)
	s.insert(append([]*core.Execution{parent}, children...)...)
	return parent, children
}

// long returns a text of n bytes.
func long(n int) string { return strings.Repeat("abcdefgh01", n/10+1)[:n] }

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

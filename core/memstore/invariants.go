package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/perdure-dev/perdure/core"
)

// check returns which invariant the write of after breaks, if any. before is the record that it replaces; nil
// when there is none.
func check(before, after *core.Execution) error {
	if before != nil {
		if err := checkChange(before, after); err != nil {
			return err
		}
	}
	return checkEntry(after)
}

func checkChange(before, after *core.Execution) error {
	switch {
	case after.ID != before.ID:
		return fmt.Errorf("it replaces execution %s", before.ID)
	case after.Rev != before.Rev+1:
		return fmt.Errorf("the revision goes from %d to %d and not up by one", before.Rev, after.Rev)
	case after.Nonce == before.Nonce:
		return errors.New("it carries the nonce of the write before it")
	case !before.Status.Finished(), before.Kept:
		return nil
	case after.Status != before.Status:
		return fmt.Errorf("the status of a finished execution changes from %s to %s", before.Status, after.Status)
	case !same(before.Output, after.Output):
		return errors.New("the output of a finished execution changes")
	case !sameFailure(before.Failure, after.Failure):
		return errors.New("the failure of a finished execution changes")
	case !after.FinishedAt.Equal(before.FinishedAt):
		return errors.New("the end of a finished execution changes")
	case before.CloseStatus == core.CloseClosed && after.CloseStatus != core.CloseClosed:
		return fmt.Errorf("the close status goes from closed back to %s", after.CloseStatus)
	}
	return nil
}

func same(a, b core.Payload) bool {
	return a.Ref == b.Ref && (a.Data == nil) == (b.Data == nil) && bytes.Equal(a.Data, b.Data)
}

func sameFailure(a, b *core.Failure) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Code == b.Code && a.Message == b.Message && a.TooLarge == b.TooLarge &&
		same(a.Detail, b.Detail) && same(a.Data, b.Data) && same(a.Causes, b.Causes)
}

// checkEntry holds the execution's queue entry against its status: an execution that somebody has to look at
// has one, in a queue where it belongs, and a closed one has none.
func checkEntry(e *core.Execution) error {
	closed := e.CloseStatus == core.CloseClosed
	switch {
	case closed && !e.Status.Finished():
		return fmt.Errorf("it is closed, but %s", e.Status)
	case closed && e.Queue != core.QueueNone:
		return fmt.Errorf("it is closed, but has an entry in queue %s", e.Queue)
	case e.Queue == core.QueueNone && !closed && !childrenLook(e):
		return fmt.Errorf("it is %s, close status %s, and has no queue entry: nobody looks at it again", e.Status, e.CloseStatus)
	case e.Queue == core.QueueNone && !e.DueAt.IsZero():
		return errors.New("it has a due time, but no queue entry")
	case e.Queue != core.QueueNone && !slices.Contains(queues(e.Status), e.Queue):
		return fmt.Errorf("it is %s, but has its entry in queue %s", e.Status, e.Queue)
	}
	return nil
}

// childrenLook reports whether the execution may go without an entry, because each of its children has one.
func childrenLook(e *core.Execution) bool {
	waiting := e.Status == core.StatusWaitingForChildren || e.Status == core.StatusWaitingForFinalize
	return waiting && e.Family != nil && e.Family.Spawned && !e.AllCounted()
}

// queues returns the queues in which an execution may have its entry.
func queues(s core.Status) []core.Queue {
	switch s {
	case core.StatusReady:
		return []core.Queue{core.QueueReady}
	case core.StatusRunning:
		return []core.Queue{core.QueueRunning, core.QueueSleeping}
	case core.StatusWaitingForChildren, core.StatusWaitingForFinalize:
		return []core.Queue{core.QueueParent, core.QueueParentClaimed}
	case core.StatusCompleted, core.StatusFailed, core.StatusTimedOut, core.StatusFinalizeFailed, core.StatusCancelled:
	}
	return []core.Queue{
		core.QueueRunning, core.QueueParentClaimed, core.QueueFinished, core.QueueClose, core.QueueClosing,
	}
}

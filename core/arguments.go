package core

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// The arguments that every store refuses are checked here, so that all answer them alike: by an error that matches
// ErrInvalid, before anything is written.

// maxStoredID is how many bytes an id may have in a store. Those that callers choose have 64 at most.
const maxStoredID = 1000

// CheckIDs returns what is wrong with the first id that no execution can have: one that is empty, longer than 1,000 bytes
// or not UTF-8.
func CheckIDs(ids ...string) error {
	for _, id := range ids {
		switch {
		case id == "":
			return invalidf("execution id: it is empty")
		case len(id) > maxStoredID:
			return invalidf("execution id %.64q...: it has %d bytes, must have from 1 to %d", id, len(id), maxStoredID)
		case !utf8.ValidString(id):
			return invalidf("execution id %q: it is not UTF-8", id)
		}
	}
	return nil
}

// CheckRecord returns what is wrong with a record that is to be written: it is nil, or a store could not read it again.
func CheckRecord(e *Execution) error {
	if e == nil {
		return invalidf("execution: it is nil")
	}
	if err := CheckIDs(e.ID); err != nil {
		return err
	}
	wrong := ""
	switch p := e.Parent; {
	case e.TaskID == "":
		wrong = "TaskID is empty"
	case e.CreatedAt.IsZero():
		wrong = "CreatedAt is zero"
	case !slices.Contains(Statuses(), e.Status):
		wrong = fmt.Sprintf("Status is %q, must be one of %q", e.Status, Statuses())
	case e.Status.waiting() && e.Family == nil:
		wrong = fmt.Sprintf("Family is nil, and it is %s", e.Status)
	case e.Queue != QueueNone && !slices.Contains(Queues(), e.Queue):
		wrong = fmt.Sprintf("Queue is %q, must be one of %q", e.Queue, Queues())
	case e.Queue != QueueNone && e.DueAt.IsZero():
		wrong = fmt.Sprintf("DueAt is zero, and it is in queue %q", e.Queue)
	case e.Rev < 1:
		wrong = fmt.Sprintf("Rev is %d, must be at least 1", e.Rev)
	case e.Timeout < 0 || e.Delay < 0:
		wrong = fmt.Sprintf("Timeout is %s and Delay is %s, neither may be negative", e.Timeout, e.Delay)
	case p != nil && CheckIDs(p.ID) != nil:
		wrong = fmt.Sprintf("Parent.ID is %.64q, which is no id", p.ID)
	case p != nil && p.Index < FinalizeIndex:
		wrong = fmt.Sprintf("Parent.Index is %d, must be at least %d", p.Index, FinalizeIndex)
	}
	if wrong != "" {
		return invalidf("record of execution %q: %s", e.ID, wrong)
	}
	return nil
}

// CheckUpdate returns what is wrong with an update: CheckRecord of After, or a Before that is nil or of another execution.
func CheckUpdate(u Update) error {
	if err := CheckRecord(u.After); err != nil {
		return err
	}
	switch {
	case u.Before == nil:
		return invalidf("update of execution %s: Before is nil", u.After.ID)
	case u.Before.ID != u.After.ID:
		return invalidf("update of execution %s: Before is execution %q", u.After.ID, u.Before.ID)
	}
	return nil
}

// CheckExecutor returns what is wrong with the id of an executor that claims.
func CheckExecutor(id string) error {
	if id == "" || len(id) > maxStoredID || !utf8.ValidString(id) {
		return invalidf("executor id %.64q: it must have 1 to %d bytes of UTF-8", id, maxStoredID)
	}
	return nil
}

// CheckLease returns what is wrong with the end of a lease.
func CheckLease(expiresAt time.Time) error {
	if expiresAt.IsZero() {
		return invalidf("claim: ExpiresAt is zero")
	}
	return nil
}

// CheckChildrenUpdate returns what is wrong with the arguments of Store.UpdateChildren.
func CheckChildrenUpdate(parentID string, ev Event) error {
	if ev == nil {
		return invalidf("update of the children of execution %s: the event is nil", parentID)
	}
	return CheckIDs(parentID)
}

// CheckPayloads returns what is wrong with payloads that are to be loaded: one is nil.
func CheckPayloads(payloads ...*Payload) error {
	if slices.Contains(payloads, nil) {
		return invalidf("payload: it is nil")
	}
	return nil
}

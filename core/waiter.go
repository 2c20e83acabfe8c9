package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A signal meets its waiter under their key. The record under a key's id has rounds, since a finished one never changes:
// a tree that redrives another one has its waiter in the round behind the old tree's. Both sides walk the rounds from the
// first on, and stop at the first that is not finished.
//
// The waiter, before its parent commits to it (placeSleepers), at a round that holds:
//
//	nothing, or a kept signal    it takes that round; the kept signal ends its sleep when it is put
//	a sleeper of an older tree   that the new one redrives, at whatever remove
//	  woken                      its output is taken over
//	  ended otherwise            it goes on to the next round
//	  asleep                     whoever ended that tree has died since: it cancels the sleeper, and looks again
//	anything else                the key is taken: the child fails
//
// The sender (Client.tryWake), at a round that holds:
//
//	nothing                      it keeps the signal there; behind a finished round only while a redrive of that tree is
//	                             unfinished, and the finished sleeper was not woken, else it is told ErrFinished
//	a sleeper that is asleep     it wakes it; where something above the sleeper is finished it cancels it, and looks again
//	a finished sleeper           it goes on to the next round
//
// Every step is a write on the condition of the one record that both look at, so of a cancellation and a wake-up of one
// sleeper one comes first:
//
//   - A signal before the old sleeper's end is its output, which the redrive takes over, even if the tree was cancelled
//     between the sender's look at the parents and its write.
//   - A signal between the redrive's insert and its waiter is kept in the waiter's round. The waiter may come between the
//     sender's look and its insert: the insert is refused then, and the sender looks again and wakes it.
//   - A signal between the old tree's end and the redrive's insert is told ErrFinished: nothing waits, and nothing will as
//     far as anybody knows.
//   - A signal that is kept for a redrive that ends without having waited is kept for the next one, as long as signals are.

// placeSleepers finds the round of each sleeper of a redriven tree, whose specs are about to be committed to, and makes
// it take over the signal that its key has received already. Elsewhere the first round is the only one.
func (x *Executor) placeSleepers(ctx context.Context, e *Execution, specs []Spec) error {
	if !redrives(e.RootID) {
		return nil
	}
	var pending []int
	for i, spec := range specs {
		if spec.SleepKey != "" {
			specs[i].SleepRound = 0
			pending = append(pending, i)
		}
	}
	for len(pending) > 0 {
		ids := make([]string, len(pending))
		for n, i := range pending {
			ids[n] = sleepID(specs[i].SleepKey, specs[i].SleepRound)
		}
		found, err := x.cfg.Store.Get(ctx, ids, Filter{})
		if err != nil {
			return fmt.Errorf("look for signals: %w", err)
		}
		var further []int
		for n, i := range pending {
			there := found[n]
			switch {
			case there == nil || there.Kept || !redrivenInto(there.RootID, e.RootID):
				continue
			case !there.Status.Finished():
				if ended, err := x.follow.cancelOrphan(ctx, there); err != nil || !ended {
					return errors.Join(err, fmt.Errorf("execution %s sleeps under key %q in a tree that was redriven: %w",
						there.ID, specs[i].SleepKey, ErrConflict))
				}
			case there.Status == StatusCompleted && there.TaskID == specs[i].TaskID:
				specs[i] = specs[i].after(there, true)
				continue
			default:
				specs[i].SleepRound++
			}
			further = append(further, i)
		}
		pending = further
	}
	return nil
}

// redrives reports whether a root of that id redrives another one. No id that a caller may choose is like it.
func redrives(rootID string) bool { return strings.HasPrefix(rootID, "r.") }

// maxRedrives is how many redrives of redrives are told to be of one tree.
const maxRedrives = 1000

// redrivenInto reports whether the root redrives the old one, or one that does, and so on.
func redrivenInto(oldRootID, rootID string) bool {
	if !redrives(rootID) {
		return false
	}
	for range maxRedrives {
		if oldRootID = RedriveID(oldRootID); oldRootID == rootID {
			return true
		}
	}
	return false
}

// expected reports whether something may come to wait in the round behind a finished sleeper: a redrive of its tree
// is unfinished, and has no output of it to take over.
func (c *Client) expected(ctx context.Context, finished *Execution) (bool, error) {
	if finished.Parent == nil || finished.Status == StatusCompleted {
		return false, nil
	}
	for id := RedriveID(finished.RootID); ; id = RedriveID(id) {
		root, err := getOne(ctx, c.store, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return false, nil
		case err != nil:
			return false, err
		case !root.Status.Finished():
			return true, nil
		}
	}
}

// cancelOrphan cancels a sleeper above which something is finished, and reports whether it was one: whoever finished that
// has not come to cancel what is below it. What is between them is cancelled as well, from above.
func (w writer) cancelOrphan(ctx context.Context, sleeper *Execution) (bool, error) {
	path := []*Execution{sleeper}
	for e := sleeper; ; {
		if e.Parent == nil {
			return false, nil
		}
		parent, err := getOne(ctx, w.store, e.Parent.ID)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		path = append(path, parent)
		if parent.Status.Finished() {
			break
		}
		e = parent
	}
	above := path[len(path)-1].Status
	for i := len(path) - 2; i >= 0; i-- {
		_, err := w.decide(ctx, path[i], Cancel{Reason: fmt.Sprintf("its parent is %s", above), ByParent: true})
		if err != nil && !errors.Is(err, ErrFinished) {
			return false, err
		}
		above = StatusCancelled
	}
	return true, nil
}

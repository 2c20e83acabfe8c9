package core

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); go test -run %s -update writes it anew:\n%s", path, t.Name(), diff)
	}
}

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// state is an execution in one of the states that differ in what is allowed.
type state struct {
	name string
	make func() *Execution
}

func testStates() []state {
	ready := func() *Execution {
		e := NewExecution("e1", Spec{TaskID: "task", Timeout: time.Minute, Retry: RetryPolicy{MaxAttempts: 2}}, testNow.Add(-time.Hour))
		return e
	}
	running := func() *Execution {
		e := ready()
		e.Status, e.ExecutorID, e.Attempts, e.StartedAt = StatusRunning, "x1", 1, testNow.Add(-time.Second)
		e.ExpiresAt = e.StartedAt.Add(65 * time.Second)
		e.entry(QueueRunning, e.ExpiresAt)
		return e
	}
	parent := func(counted ...int) *Execution {
		e := running()
		e.Status, e.ExecutorID, e.ExpiresAt = StatusWaitingForChildren, "", time.Time{}
		e.Family = &Family{Nonce: "n", Size: 2, Counted: counted, Spawned: true, Processing: ProcessingIdle}
		e.entry(QueueNone, time.Time{})
		if len(counted) == 2 {
			e.entry(QueueParent, testNow)
		}
		return e
	}
	finalizing := func() *Execution {
		e := parent(0, 1)
		e.Status = StatusWaitingForFinalize
		e.Family.FinalizeTaskID = "finalize"
		e.entry(QueueNone, time.Time{})
		return e
	}
	ended := func(s Status, close CloseStatus, q Queue) *Execution {
		e := running()
		e.Status, e.CloseStatus, e.Parent = s, close, &Parent{ID: "p"}
		e.FinishedAt = testNow.Add(-time.Second)
		e.entry(q, testNow)
		return e
	}
	with := func(base func() *Execution, change func(*Execution)) func() *Execution {
		return func() *Execution {
			e := base()
			change(e)
			return e
		}
	}
	sequence := func(done bool, q Queue, due time.Time) func() *Execution {
		return with(func() *Execution { return parent() }, func(e *Execution) {
			e.Family.Sequential, e.Family.Size, e.Family.Step, e.Family.StepDone = true, 3, 1, done
			e.Family.Spawned = q == QueueNone
			e.entry(q, due)
		})
	}
	late := func(e *Execution) { e.StartToFinish, e.FinishBy = time.Minute, testNow }
	held := func(due time.Time) func(*Execution) {
		return func(e *Execution) {
			e.ExecutorID, e.Family.Processing = "x1", ProcessingProcessing
			e.entry(QueueParentClaimed, due)
		}
	}
	states := []state{
		{"ready, due", ready},
		{"ready, not due", with(ready, func(e *Execution) { e.entry(QueueReady, testNow.Add(time.Second)) })},
		{"ready, longer than what is left", with(ready, func(e *Execution) { e.Timeout = time.Hour })},
		{"running", running},
		{"running, last attempt", with(running, func(e *Execution) { e.Attempts = 2 })},
		{"running, a child", with(running, func(e *Execution) { e.Parent = &Parent{ID: "p"} })},
		{"running, held by another", with(running, func(e *Execution) { e.ExecutorID = "x2" })},
		{"running, lease over", with(running, func(e *Execution) { e.entry(QueueRunning, testNow) })},
		{"running, lease over once too often", with(running, func(e *Execution) {
			e.entry(QueueRunning, testNow)
			e.Recoveries = 2
		})},
		{"running, asleep", with(running, func(e *Execution) {
			e.SleepKey, e.ExecutorID = "key", ""
			e.entry(QueueSleeping, testNow.Add(time.Second))
		})},
		{"running, slept too long", with(running, func(e *Execution) {
			e.SleepKey, e.ExecutorID = "key", ""
			e.entry(QueueSleeping, testNow)
		})},
		{"waiting_for_children, spawn check due", with(func() *Execution { return parent() }, func(e *Execution) {
			e.Family.Spawned = false
			e.entry(QueueParent, testNow)
		})},
		{"waiting_for_children, one counted", func() *Execution { return parent(0) }},
		{"waiting_for_children, all counted", func() *Execution { return parent(0, 1) }},
		{"waiting_for_children, held for the spawn check", with(func() *Execution { return parent(0) }, func(e *Execution) {
			e.Family.Spawned = false
			held(testNow.Add(time.Second))(e)
		})},
		{"waiting_for_children, all counted, held", with(func() *Execution { return parent(0, 1) }, held(testNow.Add(time.Second)))},
		{"waiting_for_children, all counted, held by another", with(func() *Execution { return parent(0, 1) }, func(e *Execution) {
			held(testNow.Add(time.Second))(e)
			e.ExecutorID = "x2"
		})},
		{"waiting_for_children, hold over", with(func() *Execution { return parent(0, 1) }, held(testNow))},
		{"waiting_for_children, hold over once too often", with(func() *Execution { return parent(0, 1) }, func(e *Execution) {
			held(testNow)(e)
			e.Family.Recoveries = 2
		})},
		{"waiting_for_finalize", finalizing},
		{"waiting_for_finalize, counted", with(finalizing, func(e *Execution) {
			e.Family.FinalizeCounted = true
			e.entry(QueueParent, testNow)
		})},
		{"running, its whole time over at the next attempt", with(running, func(e *Execution) {
			e.StartToFinish = 1500 * time.Millisecond
		})},
		{"running, lease and whole time over", with(running, func(e *Execution) {
			late(e)
			e.entry(QueueRunning, testNow)
		})},
		{"waiting_for_children, whole time over", with(func() *Execution { return parent(0) }, func(e *Execution) {
			late(e)
			e.entry(QueueParent, testNow)
		})},
		{"waiting_for_children, spawn check due, whole time bounded", with(func() *Execution { return parent() }, func(e *Execution) {
			e.Family.Spawned = false
			e.StartToFinish, e.FinishBy = time.Minute, testNow.Add(5*time.Second)
			e.entry(QueueParent, testNow)
		})},
		{"waiting_for_finalize, whole time over, held by another", with(finalizing, func(e *Execution) {
			late(e)
			held(testNow.Add(time.Second))(e)
			e.ExecutorID = "x2"
		})},
		{"step 1 of 3, check to come", sequence(false, QueueParent, testNow.Add(5*time.Second))},
		{"step 1 of 3, check before the next step starts", sequence(false, QueueParent, testNow.Add(time.Second))},
		{"step 1 of 3, checked", sequence(false, QueueNone, time.Time{})},
		{"step 1 of 3, counted", sequence(true, QueueParent, testNow)},
		{"step 1 of 3, counted, held", with(sequence(true, QueueNone, time.Time{}), held(testNow.Add(time.Second)))},
		{"step 1 of 3, counted, held by another", with(sequence(true, QueueNone, time.Time{}), func(e *Execution) {
			held(testNow.Add(time.Second))(e)
			e.ExecutorID = "x2"
		})},
		{"step 1 of 2, the last", with(sequence(false, QueueParent, testNow.Add(5*time.Second)), func(e *Execution) { e.Family.Size = 2 })},
		{"completed, a wake-up that is kept", func() *Execution {
			return newKept("e1", "task", "key", Wake{Output: Payload{Data: []byte("1")}}, testNow.Add(-time.Second), time.Minute)
		}},
		{"failed, a wake-up that was kept too long", func() *Execution {
			return newKept("e1", "task", "key", Wake{Failure: newFailure(CodeFailed, "no", "")}, testNow.Add(-time.Minute), time.Minute)
		}},
		{"completed, lease entry left", func() *Execution { return ended(StatusCompleted, CloseIdle, QueueRunning) }},
		{"failed, children left", with(
			func() *Execution { return ended(StatusFailed, CloseIdle, QueueFinished) },
			func(e *Execution) { e.Family = parent(0).Family },
		)},
		{"finalize_failed, hold over", func() *Execution { return ended(StatusFinalizeFailed, CloseIdle, QueueParentClaimed) }},
		{"timed_out, to be closed", func() *Execution { return ended(StatusTimedOut, CloseReady, QueueClose) }},
		{"cancelled, closing too long", func() *Execution { return ended(StatusCancelled, CloseClosing, QueueClosing) }},
		{"cancelled, closed and flagged", with(
			func() *Execution { return ended(StatusCancelled, CloseClosed, QueueNone) },
			func(e *Execution) { e.NeedsCancellation = true },
		)},
	}
	for _, s := range []Status{StatusCompleted, StatusFailed, StatusTimedOut, StatusFinalizeFailed, StatusCancelled} {
		states = append(states, state{string(s) + ", closed", func() *Execution { return ended(s, CloseClosed, QueueNone) }})
	}
	return states
}

func testEvents() []Event {
	failure := Failure{Code: CodeFailed, Message: "no"}
	out := Payload{Data: []byte("1")}
	return []Event{
		StartAttempt{ExecutorID: "x1", Left: time.Minute, Leeway: 5 * time.Second},
		Succeed{ExecutorID: "x1", Output: out},
		FailAttempt{ExecutorID: "x1", Failure: failure, Delay: time.Second},
		GiveBack{ExecutorID: "x1", Delay: time.Second},
		ExpireLease{MaxRecoveries: 2},
		Wake{Output: out},
		ExpireSleep{},
		CommitChildren{ExecutorID: "x1", RunOutput: out, Nonce: "n", Size: 2, CheckAt: testNow.Add(10 * time.Second)},
		ChildrenSpawned{},
		PostponeCheck{CheckAt: testNow.Add(20 * time.Second)},
		CountChildren{Units: []int{1}},
		CountChildren{Finalize: true},
		CommitStep{ExecutorID: "x1", Finished: 1, KeepUntil: testNow.Add(2 * time.Second), CheckAt: testNow.Add(12 * time.Second)},
		EndSequence{ExecutorID: "x1", Finished: 1},
		EndSequence{ExecutorID: "x1", Finished: 1, Failure: &failure},
		ExpireFamily{ExecutorID: "x1"},
		Adopt{Sleeper: NewExecution("e1", Spec{TaskID: "task", SleepKey: "key", Timeout: time.Minute}, testNow)},
		Adopt{Sleeper: newKept("e1", "task", "key", Wake{}, testNow, time.Minute)},
		ClaimChildren{ExecutorID: "x1", ExpiresAt: testNow.Add(30 * time.Second)},
		ReleaseChildren{ExecutorID: "x1", Delay: time.Second},
		ExpireChildren{MaxRecoveries: 2},
		CompleteFamily{ExecutorID: "x1"},
		FinishFamily{ExecutorID: "x1", Output: out},
		CommitFinalize{ExecutorID: "x1", TaskID: "finalize", CheckAt: testNow.Add(10 * time.Second)},
		EndFinalize{Failure: &failure},
		Cancel{Reason: "why"},
		Cancel{Reason: "why", ByParent: true},
		ClearCancellation{},
		MarkClosable{},
		ClaimClose{ExpiresAt: testNow.Add(30 * time.Second)},
		Close{},
		ExpireClose{},
	}
}

// describe tells the part of a record that decides what may happen to it next.
func describe(e *Execution) string {
	s := fmt.Sprintf("%s, close %s", e.Status, e.CloseStatus)
	if e.Kept {
		s += ", kept"
	}
	if f := e.Family; f != nil && f.Sequential {
		s += fmt.Sprintf(", step %d", f.Step)
	}
	if e.Family != nil {
		s += fmt.Sprintf(", family %s %d/%d", e.Family.Processing, e.ActiveChildren(), e.Family.Size)
	}
	if e.Queue == QueueNone {
		s += ", no entry"
	} else {
		s += fmt.Sprintf(", in %s at %+d ms", e.Queue, e.DueAt.Sub(testNow).Milliseconds())
	}
	if e.Recoveries+e.CloseRecoveries > 0 {
		s += fmt.Sprintf(", recovered %d", e.Recoveries+e.CloseRecoveries)
	}
	if e.NeedsCancellation {
		s += ", flagged"
	}
	if e.Attempts > 0 {
		s += fmt.Sprintf(", attempt %d", e.Attempts)
	}
	return s
}

func TestEveryEventInEveryState(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, s := range testStates() {
		fmt.Fprintf(&b, "%s [%s]\n", s.name, describe(s.make()))
		for _, ev := range testEvents() {
			after, err := Transition(s.make(), ev, testNow)
			name := ev.name()
			switch ev := ev.(type) {
			case CountChildren:
				if ev.Finalize {
					name += " (finalize)"
				}
			case EndSequence:
				if ev.Failure != nil {
					name += " (failed)"
				}
			case Adopt:
				if ev.Sleeper.Kept {
					name += " (another wake-up)"
				}
			case Cancel:
				if ev.ByParent {
					name += " (by parent)"
				}
			}
			if err != nil {
				var refused *TransitionError
				if !errors.As(err, &refused) {
					t.Fatalf("%s: %s: error is a %T", s.name, name, err)
				}
				if refused.Reason != "" {
					fmt.Fprintf(&b, "  %-28s refused: %s\n", name, refused.Reason)
				}
				continue
			}
			fmt.Fprintf(&b, "  %-28s %s\n", name, describe(after))
		}
	}
	golden(t, "transitions.golden", b.String())
}

func TestTransitionsKeepWhatIsFixed(t *testing.T) {
	t.Parallel()
	for _, s := range testStates() {
		for _, ev := range testEvents() {
			before, kept := s.make(), s.make()
			after, err := Transition(before, ev, testNow)
			if diff := cmp.Diff(kept, before); diff != "" {
				t.Errorf("%s: %s changed the record it was given:\n%s", s.name, ev.name(), diff)
			}
			if err != nil {
				continue
			}
			if after.Rev != before.Rev+1 || !after.UpdatedAt.Equal(testNow) {
				t.Errorf("%s: %s: revision %d -> %d, updated %s", s.name, ev.name(), before.Rev, after.Rev, after.UpdatedAt)
			}
			if before.Status.Finished() && !before.Kept {
				if after.Status != before.Status || !after.FinishedAt.Equal(before.FinishedAt) ||
					cmp.Diff(before.Output, after.Output) != "" || cmp.Diff(before.Failure, after.Failure) != "" {
					t.Errorf("%s: %s changed a finished execution's status, output or failure", s.name, ev.name())
				}
			}
			switch {
			case after.CloseStatus == CloseClosed && after.Queue != QueueNone:
				t.Errorf("%s: %s: closed, but with an entry in %s", s.name, ev.name(), after.Queue)
			case after.Status.waiting() && after.Family.Spawned && !after.AllCounted():
				// It needs no entry: each of its children has one.
			case after.CloseStatus != CloseClosed && after.Queue == QueueNone:
				t.Errorf("%s: %s: nobody looks at it again: %s", s.name, ev.name(), describe(after))
			}
			if after.Attempts > after.Retry.attempts() {
				t.Errorf("%s: %s: attempt %d of %d", s.name, ev.name(), after.Attempts, after.Retry.attempts())
			}
		}
	}
}

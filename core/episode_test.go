package core

import (
	"testing"
	"time"
)

// episodeOf is an execution in the middle of an episode of crashes, and of executors that did not know its task.
func episodeOf(e *Execution) *Execution {
	e.Recoveries, e.UnknownSince = 2, testNow.Add(-3*time.Hour)
	if e.Family != nil {
		e.Family.Recoveries = 2
	}
	return e
}

func stateNamed(t *testing.T, name string) *Execution {
	t.Helper()
	for _, s := range testStates() {
		if s.name == name {
			return s.make()
		}
	}
	t.Fatalf("no state %q", name)
	return nil
}

func TestEpisode_EndsWhenAnExecutionGetsOnByItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state string
		event Event
	}{
		{"running", FailAttempt{ExecutorID: "x1", Failure: Failure{Code: CodeFailed}, Delay: time.Second}},
		{"running", CommitChildren{ExecutorID: "x1", Nonce: "n", Size: 2, CheckAt: testNow.Add(10 * time.Second)}},
		{"waiting_for_children, all counted", CommitFinalize{ExecutorID: "x1", TaskID: "finalize", CheckAt: testNow.Add(10 * time.Second)}},
		{"step 1 of 3, check to come", CommitStep{ExecutorID: "x1", Finished: 1, CheckAt: testNow.Add(12 * time.Second)}},
	} {
		after, err := Transition(episodeOf(stateNamed(t, c.state)), c.event, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if after.Recoveries != 0 || !after.UnknownSince.IsZero() || after.Family != nil && after.Family.Recoveries != 0 {
			t.Errorf("%s, %s: %d recoveries, unknown since %s, family %+v", c.state, c.event.name(), after.Recoveries, after.UnknownSince, after.Family)
		}
	}
}

func TestEpisode_OfAFamilyEndsWhenItsChildrenExist(t *testing.T) {
	t.Parallel()
	e := episodeOf(stateNamed(t, "waiting_for_children, held for the spawn check"))
	after, err := Transition(e, ChildrenSpawned{}, testNow)
	if err != nil || after.Family.Recoveries != 0 || !after.UnknownSince.IsZero() {
		t.Errorf("family %+v, unknown since %s, error %v", after.Family, after.UnknownSince, err)
	}
}

// An attempt that is given back was not ended by its code: what kills its process after an hour would never end if every
// deploy began a new episode.
func TestEpisode_GoesOnWhenAnAttemptIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, ev := range []GiveBack{{}, {Late: true}, {Unknown: true}} {
		ev.ExecutorID = "x1"
		after, err := Transition(episodeOf(stateNamed(t, "running")), ev, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if after.Recoveries != 2 {
			t.Errorf("%+v: %d recoveries, not 2", ev, after.Recoveries)
		}
		if after.UnknownSince.IsZero() == ev.Unknown {
			t.Errorf("%+v: unknown since %s", ev, after.UnknownSince)
		}
	}
}

func TestUnknownSince_IsForgottenByWhoKnowsTheTask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state string
		event Event
		kept  bool
	}{
		{"running, lease over", ExpireLease{MaxRecoveries: 5}, false},
		{"waiting_for_children, hold over", ExpireChildren{MaxRecoveries: 5}, false},
		{"waiting_for_children, all counted, held", ReleaseChildren{ExecutorID: "x1", Known: true}, false},
		{"waiting_for_children, all counted, held", ReleaseChildren{ExecutorID: "x1", Unknown: true}, true},
		{"waiting_for_children, all counted, held", ReleaseChildren{ExecutorID: "x1"}, true},
	} {
		after, err := Transition(episodeOf(stateNamed(t, c.state)), c.event, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if after.UnknownSince.IsZero() == c.kept {
			t.Errorf("%s, %+v: unknown since %s", c.state, c.event, after.UnknownSince)
		}
	}
}

func TestAttempt_ThatWasRecoveredIsLeftByWhoDoesNotRunItApart(t *testing.T) {
	t.Parallel()
	e := stateNamed(t, "ready, due")
	e.Recoveries = 2
	for below, allowed := range map[int]bool{0: true, 1: false, 2: false, 3: true} {
		_, err := Transition(e, StartAttempt{ExecutorID: "x1", Left: time.Hour, RecoveredBelow: below}, testNow)
		if (err == nil) != allowed {
			t.Errorf("below %d: %v", below, err)
		}
	}
	p := stateNamed(t, "waiting_for_children, all counted")
	p.Family.Recoveries = 2
	for below, allowed := range map[int]bool{0: true, 1: false, 2: false, 3: true} {
		_, err := Transition(p, ClaimChildren{ExecutorID: "x1", ExpiresAt: testNow.Add(time.Minute), RecoveredBelow: below}, testNow)
		if (err == nil) != allowed {
			t.Errorf("parent, below %d: %v", below, err)
		}
	}
}

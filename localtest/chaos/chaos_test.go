package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/chaos/work"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// The short form of `make chaos`. It fails on what the checks find, and when nothing was harmed.
func TestNothingIsLostWhileEverythingFails(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	var did figures
	err := chaos(t.Context(), chaosOptions{
		seed: 7, during: 10 * time.Second, every: 500 * time.Millisecond, width: 12,
		out: &out, progress: func(string) {}, ended: func(f figures) { did = f },
	})
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
	if did.Roots == 0 || did.Kills == 0 || did.Stopped == 0 || did.Failed+did.Throttled == 0 || did.Lost == 0 || did.Unheard == 0 {
		t.Errorf("the harm was too little to prove anything: %+v", did)
	}
}

// The checks find a root that is lost, one that is stuck, a completed execution without its effect, and the entry that is
// left in a queue.
func TestTheChecksOfAChaosRunCanFail(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s, err := stack.Start(t.Context(), stack.Options{Binaries: folder, NoSchedules: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ledgerPath := filepath.Join(folder, "ledger")
	if err := os.WriteFile(ledgerPath, []byte("somebody 1 step\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	stuck := core.NewExecution("stuck", core.Spec{TaskID: "step", Input: []byte("1"), Timeout: time.Second}, now)
	done := core.NewExecution("done", core.Spec{TaskID: "step", Input: []byte("1"), Timeout: time.Second}, now)
	for _, ev := range []core.Event{
		core.StartAttempt{ExecutorID: "x", Left: time.Hour, Leeway: time.Second},
		core.Succeed{ExecutorID: "x", Output: core.Payload{Data: json.RawMessage("3")}},
	} {
		if done, err = core.Transition(done, ev, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range s.Watch.Insert(t.Context(), []*core.Execution{stuck, done}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	root := work.Root{Task: "step", Input: 1, Output: "2", Executions: 1}
	var out strings.Builder
	err = judge(t.Context(), &out, s, map[string]work.Root{"stuck": root, "done": root, "lost": root}, ledgerPath)
	if err == nil {
		t.Fatalf("no check failed:\n%s", out.String())
	}
	for _, says := range []string{
		"FAIL  none of 3 acknowledged roots is lost: 1", "FAIL  every root is completed: 1", "FAIL  every root has the right output: 1",
		"0 more than once): 1", "FAIL  no execution ended otherwise: 1", "FAIL  1 executions are completed", "FAIL  no invariant is broken",
		"FAIL  the queue index is empty: 1",
	} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("no line says %q:\n%s", says, out.String())
		}
	}
}

func TestWhatGrowsIsNotFlat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value func(share float64) float64
		flat  bool
	}{
		"constant":               {func(float64) float64 { return 100 }, true},
		"grows while it warms":   {func(x float64) float64 { return 100 + 1000*max(0, 0.05-x) }, true},
		"a leak":                 {func(x float64) float64 { return 100 + 200*x }, false},
		"busy at the end":        {func(x float64) float64 { return map[bool]float64{true: 1e6, false: 100}[x > 0.6 && x < 1.05] }, true},
		"busy, and more at rest": {func(x float64) float64 { return map[bool]float64{true: 1e6, false: 100}[x > 0.6] }, false},
	} {
		s := series{name: name}
		for i := range 120 {
			s.at, s.value = append(s.at, float64(i)/100), append(s.value, c.value(float64(i)/100))
		}
		if first, last, problem := s.flat(1.1, 10); (problem == "") != c.flat {
			t.Errorf("%s: from %v to %v: %q", name, first, last, problem)
		}
	}
	few := series{name: "few", at: []float64{0.2}, value: []float64{1}}
	if _, _, problem := few.flat(1, 10); !strings.Contains(problem, "too few") {
		t.Errorf("one sample: %q", problem)
	}
}

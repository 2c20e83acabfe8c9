package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/perdure-dev/perdure/core"
)

func roundTripTests() []test {
	tests := []test{
		{"every field survives an insert", func(s *suite) {
			for _, e := range everyField(s) {
				s.insert(e)
				s.stored(e)
			}
		}},
		{"every field that changes survives an update", everyFieldUpdated},
		{"what a transition clears stays cleared", cleared},
		{"a record without its root's task has what the rest of it tells", rootTasks},
		{"texts of every kind survive", texts},
		{"times are in UTC, to the millisecond", times},
		{"no value and a value of no bytes are told apart", noBytes},
		{"a conflict and a claim bring payloads that can be loaded", loadOfReturned},
	}
	for _, size := range []int{1, 300, 10 << 10, 1 << 20} {
		tests = append(tests, test{
			fmt.Sprintf("payloads of %d bytes survive", size), func(s *suite) { payloadsOf(s, size) },
		})
	}
	return tests
}

// everyField returns records that set every field of a record to what no other field holds, as far as the statuses
// allow it: one that waits for its finalize execution, and one that is closing.
func everyField(s *suite) []*core.Execution {
	n := 0
	next := func() time.Time { n++; return base.Add(time.Duration(n*1001) * time.Millisecond) }
	value := func(name string) core.Payload { return core.Payload{Data: []byte(name + " of its own")} }
	make := func(id string) *core.Execution {
		return &core.Execution{
			ID: id, TaskID: "task_" + id, RootID: "root of " + id, RootTaskID: "root_task_" + id, SleepKey: "key of " + id,
			SleepRound: 2, Kept: true, RedriveOf: "redriven " + id, OutputOf: "origin of " + id,
			Source:          core.Source{ExecutionID: "source of " + id, Output: true},
			ScheduleToStart: 62 * time.Second, StartToFinish: 63 * time.Second, FinishBy: next(),
			Parent: &core.Parent{ID: "parent of " + id, TaskID: "parent_task", Index: 17, Siblings: 43},
			Retry: core.RetryPolicy{
				MaxAttempts: 7, BaseDelay: 1500 * time.Millisecond, Multiplier: 1.1, MaxDelay: time.Hour, Jitter: 0.3,
			},
			Timeout: 61 * time.Second, Delay: 1234 * time.Millisecond, Input: value("input"),
			ExecutorID: "executor of " + id, Attempts: 3, Recoveries: 2, UnknownSince: next(),
			RunOutput: value("run output"), Output: value("output"),
			Failure: &core.Failure{
				Code: core.CodePanicked, Message: "message", Detail: value("detail"), Data: value("data"), Causes: value("causes"), TooLarge: true,
			},
			CreatedAt: next(), StartAt: next(), StartedAt: next(), ExpiresAt: next(), WaitingForChildrenAt: next(),
			WaitingForFinalizeAt: next(), FinishedAt: next(), UpdatedAt: next(),
			Family: &core.Family{
				Nonce: "family nonce", Size: 43, Manifest: value("manifest"), Spawned: true, Counted: []int{0, 7, 42},
				Sequential: true, Loop: true, Step: 9, StepDone: true, Sleepers: true,
				FinalizeTaskID: "finalize", FinalizeCounted: true, Processing: core.ProcessingProcessing,
				ProcessingExpiresAt: next(), ProcessedAt: next(), Recoveries: 4,
			},
			CloseExpiresAt: next(), CloseRecoveries: 5, ClosedAt: next(), NeedsCancellation: true,
			DueAt: next(), WriteUnits: 3, Rev: 1 << 40, Nonce: "nonce of " + id,
		}
	}
	waiting, closing := make("waiting"), make("closing")
	waiting.Status, waiting.CloseStatus, waiting.Queue = core.StatusWaitingForFinalize, core.CloseIdle, core.QueueParentClaimed
	closing.Status, closing.CloseStatus, closing.Queue = core.StatusCancelled, core.CloseClosing, core.QueueClosing
	for _, v := range []any{*waiting, *closing, *waiting.Parent, *waiting.Family, *waiting.Failure, waiting.Retry, waiting.Source} {
		for i := range reflect.ValueOf(v).NumField() {
			if reflect.ValueOf(v).Field(i).IsZero() {
				s.Fatalf("storetest does not set %T.%s", v, reflect.TypeOf(v).Field(i).Name)
			}
		}
	}
	return []*core.Execution{waiting, closing}
}

// everyFieldUpdated leaves alone what no transition changes.
func everyFieldUpdated(s *suite) {
	for _, want := range everyField(s) {
		first := ready(want.ID, base)
		first.TaskID, first.RootID, first.RootTaskID, first.SleepKey, first.Parent = want.TaskID, want.RootID, want.RootTaskID, want.SleepKey, want.Parent
		first.Retry, first.Timeout, first.Delay = want.Retry, want.Timeout, want.Delay
		first.Input, first.CreatedAt, first.Rev = want.Input, want.CreatedAt, want.Rev-1
		first.Source, first.SleepRound, first.RedriveOf, first.OutputOf = want.Source, want.SleepRound, want.RedriveOf, want.OutputOf
		first.ScheduleToStart, first.StartToFinish = want.ScheduleToStart, want.StartToFinish
		s.insert(first)
		if err := s.store.Update(s.ctx, []core.Update{{Before: first, After: want}})[0]; err != nil {
			s.Fatal(err)
		}
		s.stored(want)
	}
}

func cleared(s *suite) {
	full := everyField(s)[0]
	s.insert(full)
	bare := full.Clone()
	bare.Rev, bare.Nonce = full.Rev+1, "another nonce"
	bare.Status, bare.Queue, bare.Attempts, bare.Recoveries = core.StatusWaitingForChildren, core.QueueParent, 0, 0
	bare.ExecutorID, bare.RunOutput, bare.Output, bare.Failure = "", core.Payload{}, core.Payload{}, nil
	bare.UnknownSince, bare.StartedAt, bare.ExpiresAt = time.Time{}, time.Time{}, time.Time{}
	bare.WaitingForFinalizeAt, bare.FinishedAt = time.Time{}, time.Time{}
	bare.CloseExpiresAt, bare.ClosedAt, bare.CloseRecoveries = time.Time{}, time.Time{}, 0
	bare.NeedsCancellation, bare.Kept, bare.FinishBy = false, false, time.Time{}
	bare.Family.Spawned, bare.Family.FinalizeTaskID, bare.Family.FinalizeCounted = false, "", false
	bare.Family.StepDone, bare.Family.Step = false, 0
	bare.Family.ProcessingExpiresAt, bare.Family.ProcessedAt = time.Time{}, time.Time{}
	bare.Family.Processing, bare.Family.Recoveries = core.ProcessingIdle, 0
	if err := s.store.Update(s.ctx, []core.Update{{Before: full, After: bare}})[0]; err != nil {
		s.Fatal(err)
	}
	s.stored(bare)
	minimal := ready("minimal", base)
	minimal.Input, minimal.Timeout = core.Payload{}, 0
	s.insert(minimal)
	s.stored(minimal)
}

// rootTasks puts what earlier versions of the engine put.
func rootTasks(s *suite) {
	root, below, further := ready("root", base), child("below", "root", 0, 2, base), child("further", "below", 0, 2, base)
	want := map[string]string{"root": "task", "below": "parent", "further": ""}
	for _, e := range []*core.Execution{root, below, further} {
		e.RootTaskID = ""
		s.insert(e)
		if got := s.get(e.ID).RootTaskID; got != want[e.ID] {
			s.Errorf("the root's task of %s is %q, want %q", e.ID, got, want[e.ID])
		}
	}
	further = child("told", "below", 1, 2, base)
	further.RootTaskID = "task of the root"
	s.insert(further)
	s.stored(further)
}

func texts(s *suite) {
	odd := "\x00 \t\n\"'`\\ <&> é ß 漢字 🛒 \u202e\u0301 #:/;,=$%"
	for i, text := range []string{odd, long(200), " ", "null", "0", "{}"} {
		e := everyField(s)[1]
		e.ID = fmt.Sprintf("e%d", i)
		e.SleepKey, e.ExecutorID, e.Nonce = text, text, core.NewNonce()
		e.Failure.Message, e.Failure.Detail.Data = text, []byte(text)
		e.Input.Data, e.Output.Data = []byte(text), []byte{0xff, 0x00, 0xfe}
		s.insert(e)
		s.stored(e)
	}
	e := ready(long(64), base)
	e.TaskID, e.RootID, e.RootTaskID = long(255), long(64), long(255)
	s.insert(e)
	s.stored(e)
}

func times(s *suite) {
	e := everyField(s)[0]
	s.insert(e)
	got := s.get(e.ID)
	v := reflect.ValueOf(*got)
	for i := range v.NumField() {
		if t, ok := v.Field(i).Interface().(time.Time); ok && t.Location() != time.UTC {
			s.Errorf("%s is %s", v.Type().Field(i).Name, t)
		}
	}
	far := ready("far", base.AddDate(700, 0, 0))
	far.CreatedAt = time.Date(1969, 12, 31, 23, 59, 59, 999_000_000, time.UTC)
	s.insert(far)
	s.stored(far)
}

func noBytes(s *suite) {
	e := s.running("a", at(30))
	e.Input = core.Payload{Data: []byte{}}
	s.insert(e)
	got := s.get("a")
	if got.Input.Data == nil || len(got.Input.Data) != 0 || got.Input.IsZero() || !got.Output.IsZero() {
		s.Errorf("input %+v, output %+v", got.Input, got.Output)
	}
	s.update(e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: []byte{}}}, at(1))
	if got := s.get("a"); got.Output.Data == nil || got.Output.IsZero() || !got.RunOutput.IsZero() {
		s.Errorf("output %+v, run output %+v", got.Output, got.RunOutput)
	}
}

// noise returns bytes that do not compress, the same ones each time.
func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// payloadsOf takes a parent through its life with payloads of one size.
func payloadsOf(s *suite, size int) {
	e := ready("a", base)
	e.Input.Data = noise(size, 1)
	s.insert(e)
	s.stored(e)
	e = s.update(e, start(executor), at(1))
	s.stored(e)
	ev := commit(1, at(10))
	ev.RunOutput.Data, ev.Manifest.Data = noise(size, 2), noise(size, 3)
	e = s.update(e, ev, at(2))
	s.stored(e)
	s.count("a", 1, 0)
	s.swept(1, func() (core.Swept, error) { return s.claimParents(at(11), 1) })
	// As an executor does: what was read is written back without being loaded.
	read, err := s.store.Get(s.ctx, []string{"a"}, core.Filter{})
	if err != nil {
		s.Fatal(err)
	}
	s.update(read[0], core.FinishFamily{ExecutorID: executor, Output: core.Payload{Data: noise(size, 4)}}, at(12))
	got := s.get("a")
	if !bytes.Equal(got.Output.Data, noise(size, 4)) || !got.RunOutput.IsZero() || !bytes.Equal(got.Input.Data, noise(size, 1)) ||
		!bytes.Equal(got.Family.Manifest.Data, noise(size, 3)) {
		s.Errorf("payloads of %d, %d, %d, %d bytes", len(got.Input.Data), len(got.RunOutput.Data),
			len(got.Output.Data), len(got.Family.Manifest.Data))
	}
	failed := s.apply(ready("b", base), start(executor), base)
	s.insert(failed)
	failed = s.update(failed, core.FailAttempt{ExecutorID: executor, Final: true, Failure: core.Failure{
		Code: core.CodeFailed, Message: "no", Detail: core.Payload{Data: noise(size, 5)}, Data: core.Payload{Data: noise(size, 6)},
		Causes: core.Payload{Data: noise(size, 7)},
	}}, at(1))
	s.stored(failed)
}

func loadOfReturned(s *suite) {
	const size = 50_000
	e := ready("a", base)
	e.Input.Data = noise(size, 1)
	s.insert(e)
	got := s.swept(1, func() (core.Swept, error) { return s.claim(base, 1) })[0]
	s.load(got)
	if !bytes.Equal(got.Input.Data, noise(size, 1)) {
		s.Errorf("the claim brings an input of %d bytes", len(got.Input.Data))
	}
	s.conflict(s.store.Update(s.ctx, []core.Update{{Before: e, After: s.apply(e, core.Cancel{}, at(1))}})[0], got)
	if err := s.store.Load(s.ctx, &core.Payload{}, &core.Payload{Data: []byte("1")}); err != nil {
		s.Errorf("load of what is loaded: %v", err)
	}
	if err := s.store.Load(s.ctx); err != nil {
		s.Error(err)
	}
}

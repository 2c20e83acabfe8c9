// Package e2e tests the compiled functions, run as Lambda runs them, on DynamoDB Local. A machine that cannot
// have DynamoDB Local fails them.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/stack"
)

var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "perdure-e2e")
	if err == nil {
		binaries = dir
		err = stack.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// start starts a stack whose functions read files below the returned folder.
func start(t *testing.T, opts stack.Options) (*stack.Stack, string) {
	t.Helper()
	folder := t.TempDir()
	opts.Binaries = binaries
	opts.Env = append(opts.Env, tasks.RootVariable+"="+folder, "PERDURE_LEEWAY=1")
	if opts.Log == nil {
		opts.Log = t.Output()
	}
	s, err := stack.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, folder
}

func request(t *testing.T, s *stack.Stack, r any) handler.Response {
	t.Helper()
	response, err := s.Request(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// await polls an execution until it is finished.
func await(t *testing.T, s *stack.Stack, id string) handler.Response {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(3 * time.Minute) // on a machine that does much else
	for {
		r := request(t, s, handler.Request{Action: "get", ExecutionID: id})
		if r.Error != nil || r.Status.Finished() {
			return r
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("execution %s is still %s%s", id, r.Status, unfinished(t, s, id))
		}
	}
}

// unfinished tells what of an execution and its children is under way, and when it is due.
func unfinished(t *testing.T, s *stack.Stack, id string) string {
	t.Helper()
	families, err := s.Watch.Children(t.Context(), []string{id})
	own, getErr := s.Watch.Get(t.Context(), []string{id}, core.Filter{})
	if err := errors.Join(err, getErr); err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, e := range append(own, families[0]...) {
		if e != nil && (!e.Status.Finished() || e.Queue != core.QueueNone) {
			fmt.Fprintf(&text, "\n%s is %s, in queue %q due in %s, attempt %d, recovered %d times, updated %s ago",
				e.ID, e.Status, e.Queue, time.Until(e.DueAt), e.Attempts, e.Recoveries, time.Since(e.UpdatedAt))
		}
	}
	return text.String()
}

// queued tells how many entries the queues have; empty for none.
func queued(t *testing.T, s *stack.Stack) (left string) {
	t.Helper()
	for _, q := range core.Queues() {
		n, err := s.Watch.Depth(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			left += fmt.Sprintf(" %d in %s", n, q)
		}
	}
	return left
}

// emptyQueues fails the test unless every queue runs empty within a minute.
func emptyQueues(t *testing.T, s *stack.Stack) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for {
		left := queued(t, s)
		if left == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("entries are left:%s", left)
		}
	}
}

func TestAnotherLambdaEnqueuesGetsListsAndCancels(t *testing.T) {
	t.Parallel()
	s, _ := start(t, stack.Options{List: true})
	enqueued := request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_words","input":"to be or not to be","execution_id":"hamlet"}`))
	if enqueued.ExecutionID != "hamlet" || enqueued.Error != nil {
		t.Fatalf("enqueue answered %+v", enqueued)
	}
	done := await(t, s, "hamlet")
	var counts tasks.Counts
	if err := json.Unmarshal(done.Output, &counts); err != nil || counts["to"] != 2 || counts.Words() != 6 || done.Status != core.StatusCompleted || done.Attempts != 1 {
		t.Errorf("get answered %+v with output %s, error %v", done, done.Output, err)
	}

	later := request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_words","input":"x","delay_ms":3600000,"timeout_ms":5000,"retry":{"max_attempts":3}}`))
	if r := request(t, s, handler.Request{Action: "cancel", ExecutionID: later.ExecutionID, Reason: "too late"}); r.Status != core.StatusCancelled || r.Error != nil {
		t.Errorf("cancel answered %+v", r)
	}
	if r := await(t, s, later.ExecutionID); r.Status != core.StatusCancelled || r.Failure.Message != "too late" {
		t.Errorf("after the cancel: %+v", r)
	}
	all := request(t, s, json.RawMessage(`{"action":"list","task":"count_words"}`))
	if len(all.Executions) != 2 || all.Executions[0].ExecutionID != later.ExecutionID || all.Next != "" || all.Error != nil {
		t.Errorf("list answered %+v", all)
	}
	completed := request(t, s, handler.Request{Action: "list", Status: core.StatusCompleted, Limit: 1})
	if len(completed.Executions) != 1 || completed.Executions[0].ExecutionID != "hamlet" {
		t.Errorf("list of the completed answered %+v", completed)
	}
	emptyQueues(t, s)
}

func TestABadRequestIsAnsweredAndWritesNothing(t *testing.T) {
	t.Parallel()
	s, _ := start(t, stack.Options{NoSchedules: true})
	request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_words","input":"x","execution_id":"there"}`))
	request(t, s, json.RawMessage(`{"action":"cancel","execution_id":"there"}`))
	before := s.Meter.Total().Write
	for name, c := range map[string]struct{ event, code, says string }{
		"an unknown task":      {`{"action":"enqueue","task":"nope","input":1}`, handler.CodeUnknownTask, `"nope"`},
		"no task":              {`{"action":"enqueue"}`, handler.CodeUnknownTask, `""`},
		"the wrong type":       {`{"action":"enqueue","task":"count_words","input":7}`, handler.CodeBadRequest, "count_words"},
		"an unknown action":    {`{"action":"drop"}`, handler.CodeBadRequest, `"drop"`},
		"an unknown field":     {`{"action":"get","execution_id":"there","colour":1}`, handler.CodeBadRequest, "colour"},
		"not an object":        {`[1]`, handler.CodeBadRequest, "array"},
		"a bad option":         {`{"action":"enqueue","task":"count_words","input":"x","delay_ms":-5}`, handler.CodeBadRequest, "Delay is -5ms"},
		"a bad retry policy":   {`{"action":"enqueue","task":"count_words","input":"x","retry":{"max_attempts":-1}}`, handler.CodeBadRequest, "MaxAttempts is -1"},
		"a malformed id":       {`{"action":"enqueue","task":"count_words","input":"x","execution_id":"a b"}`, handler.CodeBadRequest, `"a b"`},
		"a get without id":     {`{"action":"get"}`, handler.CodeBadRequest, "execution_id is missing"},
		"a get of nothing":     {`{"action":"get","execution_id":"none"}`, handler.CodeNotFound, "none"},
		"a cancel of nothing":  {`{"action":"cancel","execution_id":"none"}`, handler.CodeNotFound, "none"},
		"a cancel of the done": {`{"action":"cancel","execution_id":"there"}`, handler.CodeFinished, "there"},
		"a list where none is": {`{"action":"list"}`, handler.CodeNotListed, "PERDURE_LIST"},
		"too large an input":   {`{"action":"enqueue","task":"count_words","input":"` + strings.Repeat("x", 1<<20) + `"}`, handler.CodeTooLarge, "the limit is 1048576"},
	} {
		r := request(t, s, json.RawMessage(c.event))
		if r.Error == nil || r.Error.Code != c.code || !strings.Contains(r.Error.Message, c.says) || r.ExecutionID != "" {
			t.Errorf("%s: answered %+v, want code %s and a message with %s", name, r.Error, c.code, c.says)
		}
	}
	if after := s.Meter.Total().Write; after != before {
		t.Errorf("%v write units were consumed", after-before)
	}
	r := request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_words","input":"x","execution_id":"there"}`))
	if r.Error == nil || r.Error.Code != handler.CodeAlreadyExists {
		t.Errorf("a taken id: answered %+v", r)
	}
}

func TestAJobSurvivesTheDeathOfItsProcesses(t *testing.T) {
	t.Parallel()
	s, folder := start(t, stack.Options{})
	const files = 12
	ids := make([]string, files)
	for i := range files {
		name := fmt.Sprintf("file%d.txt", i)
		text := strings.Repeat("alpha beta gamma delta ", 50*(i+1))
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		input, err := json.Marshal(tasks.File{Path: name, ChunkBytes: 500})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = request(t, s, handler.Request{Action: "enqueue", Task: "count_file", Input: input}).ExecutionID
	}
	kills := 0
	for i, id := range ids {
		if i%4 == 0 {
			kills += killBusy(t, s)
		}
		r := await(t, s, id)
		var counts tasks.Counts
		if err := json.Unmarshal(r.Output, &counts); err != nil || r.Status != core.StatusCompleted {
			t.Fatalf("%s: %+v, %s, error %v", id, r, r.Output, err)
		}
		for _, word := range []string{"alpha", "beta", "gamma", "delta"} {
			if counts[word] != 50*(i+1) {
				t.Errorf("file %d: %s counted %d times, want %d", i, word, counts[word], 50*(i+1))
			}
		}
	}
	if kills == 0 {
		t.Error("no process was killed")
	}
	emptyQueues(t, s)
}

// killBusy kills a process of startready that is at work, as soon as there is one.
func killBusy(t *testing.T, s *stack.Stack) int {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for {
		for _, e := range s.Lambda.Environments() {
			if e.Function == stack.StartReady && e.Busy && s.Lambda.Kill(e.PID, syscall.SIGKILL) == nil {
				return 1
			}
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return 0
		}
	}
}

func TestABadFileFailsItsJobAndSaysWhy(t *testing.T) {
	t.Parallel()
	s, _ := start(t, stack.Options{})
	id := request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_file","input":{"path":"../../etc/passwd"}}`)).ExecutionID
	if r := await(t, s, id); r.Status != core.StatusFailed || r.Failure == nil || !strings.Contains(r.Failure.Message, "etc/passwd") {
		t.Errorf("%+v, %+v", r, r.Failure)
	}
	missing := request(t, s, json.RawMessage(`{"action":"enqueue","task":"count_file","input":{"path":"missing.txt"}}`)).ExecutionID
	if r := await(t, s, missing); r.Status != core.StatusFailed || r.Attempts != 1 {
		t.Errorf("%+v", r)
	}
	emptyQueues(t, s)
}

func TestAFunctionThatCannotReachItsTableSaysSo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ env, says string }{
		"no such table":     {"PERDURE_TABLE=nowhere", "table not found: nowhere"},
		"no table":          {"PERDURE_TABLE=", "PERDURE_TABLE is not set"},
		"a bad shard count": {"PERDURE_SHARDS=65", `PERDURE_SHARDS is \"65\"`},
		"a closed port":     {"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "DynamoDB does not answer"},
		"no credentials":    {"AWS_ACCESS_KEY_ID=", "no credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			env := []string{c.env}
			if name == "no credentials" {
				env = append(env, "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_CONFIG_FILE=/nonexistent")
			}
			s, err := stack.Start(t.Context(), stack.Options{Binaries: binaries, Env: env, NoSchedules: true, Log: &log})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Request(t.Context(), handler.Request{Action: "get", ExecutionID: "x"})
			if closeErr := s.Close(); closeErr != nil {
				t.Error(closeErr)
			}
			if text := fmt.Sprint(err) + log.String(); err == nil || !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), strings.ReplaceAll(c.says, `\"`, `"`)) {
				t.Errorf("got %s, want %q", text, c.says)
			}
		})
	}
}

func TestAnIdleMinuteReadsLittleAndWritesNothing(t *testing.T) {
	t.Parallel()
	out := &output{}
	s, _ := start(t, stack.Options{NoSchedules: true, Env: []string{"PERDURE_METRICS=yes"}, Log: out})
	loops := []string{stack.StartReady, stack.ProcessChildren, stack.Close, stack.Timeouts, stack.Cancellation}
	var idle float64
	for range 2 { // the first invocation of each reads the settings too
		before := s.Meter.Total()
		for _, name := range loops {
			result, err := s.Lambda.Invoke(t.Context(), name, []byte("{}"))
			if err != nil || result.FunctionError != "" {
				t.Fatalf("%s: %s, error %v", name, result.Payload, err)
			}
		}
		after := s.Meter.Total()
		idle = after.Read - before.Read
		if after.Write != before.Write {
			t.Errorf("%v write units", after.Write-before.Write)
		}
	}
	if t.Logf("an idle minute reads %v units", idle); idle == 0 || idle > 20 {
		t.Errorf("an idle minute reads %v units, want at most 20", idle)
	}
	checkIdleMetrics(t, out)
}

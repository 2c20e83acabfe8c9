package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/cfn"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// What is in every payload and must be in no log: a text, and a number, which decoders put into their errors.
const (
	canary       = "CANARY-5b1e"
	canaryNumber = "31337.4242"
)

// logBook keeps what functions print.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// exercise makes the functions do all that they do: tasks of every kind with the canary in every payload, failures, retries,
// panics, cancellations, wake-ups, redrives, lists, crashes.
func exercise(t *testing.T, s *stack.Stack) {
	t.Helper()
	enqueue := func(task, input string, more ...string) string {
		t.Helper()
		event := fmt.Sprintf(`{"action":"enqueue","task":%q,"input":%s%s}`, task, input, strings.Join(more, ""))
		r := request(t, s, json.RawMessage(event))
		if r.Error != nil {
			t.Fatalf("%s: %+v", event, r.Error)
		}
		return r.ExecutionID
	}
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	failed := []string{
		enqueue("reserve_item", `"unicorn"`), enqueue("crash", text("panic "+canary)), enqueue("count_file", text(tasks.File{Path: canary})),
		enqueue("shipment", text([]string{canary, "unicorn"})), enqueue("slow", `60000`, `,"timeout_ms":100`),
	}
	done := []string{
		enqueue("count_words", text(canary+" "+canary)), enqueue("count_words", text(strings.Repeat(canary+" ", 3000))), enqueue("reserve_item", `"flaky"`),
		enqueue("track_parcel", `3`), enqueue("pack_box", `3`), enqueue("slow", `1`, `,"delay_ms":1500`),
	}
	order := tasks.Order{ID: "order " + canary, Items: []string{canary, "flaky"}}
	done = append(done, enqueue("place_order", text(order)))
	wakeup := func(key, what string) {
		t.Helper()
		r := request(t, s, json.RawMessage(fmt.Sprintf(`{"action":"wakeup","task":"await_payment","key":%q,%s}`, key, what)))
		if r.Error != nil {
			t.Errorf("wake up %s: %+v", key, r.Error)
		}
	}
	failed = append(failed, enqueue("await_payment", text("declined "+canary)))
	wakeup(order.ID, `"output":{"reference":"`+canary+`","cents":1}`)
	wakeup("declined "+canary, `"failure":"no `+canary+`"`)
	for _, wrong := range []string{`"input":"` + canary + `"`, `"input":` + canaryNumber, `"key":"` + canary + `","input":{"x":"` + canary + `"}`} {
		if r := request(t, s, json.RawMessage(`{"action":"enqueue","task":"checked",`+wrong+`}`)); r.Error == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	// An input that only the executor finds out to be wrong, since another program enqueued it: it is left to an executor of
	// another version.
	unchecked := enqueueUnchecked(t, s, canaryNumber)

	cancelled := cancelRunning(t, s)
	for _, id := range done {
		if r := await(t, s, id); r.Status != core.StatusCompleted {
			t.Errorf("%s of %s is %s: %+v", id, r.Task, r.Status, r.Failure)
		}
	}
	for _, id := range failed {
		if r := await(t, s, id); r.Status == core.StatusCompleted && r.Task != "shipment" {
			t.Errorf("%s of %s is %s", id, r.Task, r.Status)
		}
	}
	poll(t, func() bool {
		found, err := s.Store.Get(t.Context(), []string{unchecked}, core.Filter{})
		return err == nil && !found[0].UnknownSince.IsZero() && found[0].Status == core.StatusReady
	})
	if r := request(t, s, handler.Request{Action: "cancel", ExecutionID: unchecked}); r.Error != nil {
		t.Errorf("cancel: %+v", r.Error)
	}
	request(t, s, handler.Request{Action: "tree", ExecutionID: done[len(done)-1]})
	request(t, s, handler.Request{Action: "list", Limit: 5})
	if r := request(t, s, handler.Request{Action: "redrive", ExecutionID: failed[0]}); r.Error != nil {
		t.Errorf("redrive: %+v", r.Error)
	}
	for _, id := range cancelled {
		await(t, s, id)
	}
	emptyQueues(t, s)
}

// cancelRunning cancels code that runs, once with its executor alive and once killed, so that nobody is left to be told.
func cancelRunning(t *testing.T, s *stack.Stack) []string {
	t.Helper()
	var ids []string
	for _, kill := range []bool{false, true} {
		id := request(t, s, json.RawMessage(`{"action":"enqueue","task":"slow","input":60000,"timeout_ms":20000}`)).ExecutionID
		ids = append(ids, id)
		poll(t, func() bool {
			return request(t, s, handler.Request{Action: "get", ExecutionID: id}).Status == core.StatusRunning
		})
		if kill {
			for _, e := range s.Lambda.Environments() {
				if e.Function == stack.StartReady && e.Busy {
					_ = s.Lambda.Kill(e.PID, syscall.SIGKILL) // it may have ended
				}
			}
		}
		if r := request(t, s, handler.Request{Action: "cancel", ExecutionID: id, Reason: canary}); r.Error != nil {
			t.Errorf("cancel: %+v", r.Error)
		}
		poll(t, func() bool { // its executor is told, or the sweep takes the flag back
			found, err := s.Watch.Get(t.Context(), []string{id}, core.Filter{})
			return err == nil && !found[0].NeedsCancellation
		})
	}
	return ids
}

// enqueueUnchecked enqueues an input for the task checked as a program does that believes it to be text.
func enqueueUnchecked(t *testing.T, s *stack.Stack, input string) string {
	t.Helper()
	other := core.NewTask("checked", func(_ context.Context, m json.RawMessage) (json.RawMessage, error) { return m, nil },
		core.TaskOptions{Timeout: 5 * time.Second})
	client, err := core.NewClient(s.Store, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := other.Enqueue(t.Context(), client, json.RawMessage(input))
	if err != nil {
		t.Fatal(err)
	}
	return h.ID()
}

func poll(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(2 * time.Minute)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("it did not come to pass within two minutes")
		}
	}
}

// startLogged starts a stack whose log is searched for payloads at its end.
func startLogged(t *testing.T, opts stack.Options) *stack.Stack {
	t.Helper()
	var log logBook
	opts.Binaries, opts.List, opts.Log = binaries, true, &log
	opts.Env = []string{tasks.RootVariable + "=" + t.TempDir(), "PERDURE_LEEWAY=1", "PERDURE_LOG_LEVEL=DEBUG"}
	s, err := stack.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		checkLog(t, log.String())
	})
	return s
}

// Every call that a function makes is granted by its role, every grant is used, and no payload is in what the functions log
// at the level that logs most.
func TestFunctionsCallWhatTheirRolesGrantAndLogNoPayload(t *testing.T) {
	t.Parallel()
	busy := startLogged(t, stack.Options{})
	exercise(t, busy)
	swept := startLogged(t, stack.Options{NoSchedules: true})
	leftovers(t, swept)
	sweep(t, swept)
	tmpl, err := cfn.Read("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	slow, client, _ := startGated(t, stack.Options{NoSchedules: true})
	finalizeSlowly(t, slow, client)
	calls := busy.Meter.Usage().Calls
	maps.Copy(calls, swept.Meter.Usage().Calls)
	maps.Copy(calls, slow.Meter.Usage().Calls)
	for function, name := range map[string]string{
		stack.StartReady: "StartReady", stack.ProcessChildren: "ProcessChildren", stack.Close: "Close",
		stack.Timeouts: "Timeouts", stack.Cancellation: "Cancellation", stack.Enqueue: "Enqueue",
	} {
		granted := cfn.Grants(tmpl, name, map[string]bool{"KeepsList": true})
		var made []string
		for c := range calls {
			resource := "table"
			if c.Index != "" {
				resource = "index/" + c.Index
			}
			if call := "dynamodb:" + c.Operation + " " + resource; c.App == function {
				made = append(made, call)
				if !slices.Contains(granted, call) {
					t.Errorf("%s makes the call %s, which its role does not grant", name, call)
				}
			}
		}
		if len(granted) == 0 || len(made) == 0 {
			t.Errorf("%s is granted %v and made %v", name, granted, made)
		}
		for _, grant := range granted {
			// The same write is made by itself or, when there are many at once, in a batch of statements.
			alone := strings.NewReplacer("PartiQLInsert", "PutItem", "PartiQLUpdate", "UpdateItem").Replace(grant)
			if slices.Contains(made, alone) && slices.Contains(granted, alone) {
				continue
			}
			if !slices.Contains(made, grant) && !strings.HasSuffix(grant, " stream") { // the service itself reads the stream
				t.Errorf("%s is granted %s and did not make that call", name, grant)
			}
		}
	}
}

func checkLog(t *testing.T, log string) {
	t.Helper()
	if !strings.Contains(log, `"level":`) {
		t.Errorf("the functions logged nothing:\n%.2000s", log)
	}
	for line := range strings.Lines(log) {
		for _, secret := range []string{canary, canaryNumber, "AWS_SECRET_ACCESS_KEY", "Authorization"} {
			if strings.Contains(line, secret) {
				t.Errorf("%s is in the log: %s", secret, line)
			}
		}
	}
}

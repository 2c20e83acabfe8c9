package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestTheEnvironmentIsRead(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"PERDURE_TABLE": "t", "PERDURE_SHARDS": "8", "PERDURE_RETENTION_DAYS": "0", "PERDURE_FUNCTION_TIMEOUT": "120",
		"PERDURE_TASK_TIMEOUT": "900",
		"PERDURE_CONCURRENCY":  "7", "PERDURE_TICK": "5", "PERDURE_LEEWAY": "2", "PERDURE_LOG_LEVEL": "WARN",
		"PERDURE_LIST": "yes", "PERDURE_POLL": "50", "PERDURE_METRICS": "yes",
	}
	got, err := ReadConfig(func(name string) string { return env[name] })
	want := Config{
		Table: "t", Shards: 8, List: true, Timeout: 2 * time.Minute, TaskTimeout: 15 * time.Minute, Concurrency: 7,
		Tick: 5 * time.Second, Poll: 50 * time.Millisecond, Leeway: 2 * time.Second, LogLevel: 4,
		Metrics: true,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
}

func TestEverythingThatIsWrongInTheEnvironmentIsNamed(t *testing.T) {
	t.Parallel()
	_, err := ReadConfig(func(name string) string {
		return map[string]string{
			"PERDURE_SHARDS": "65", "PERDURE_TICK": "soon", "PERDURE_LOG_LEVEL": "LOUD", "PERDURE_LIST": "true",
		}[name]
	})
	for _, says := range []string{
		"PERDURE_TABLE is not set", `PERDURE_SHARDS is "65"`, `PERDURE_TICK is "soon"`, `PERDURE_LOG_LEVEL is "LOUD"`,
		`PERDURE_LIST is "true": it must be yes or no`,
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

// failing is a store that does not answer.
type failing struct{ *memstore.Store }

func (failing) Insert(_ context.Context, e []*core.Execution) []error {
	return []error{errors.New("the table is throttled")}
}

func registry() (*core.Registry, error) {
	return core.NewRegistry(core.NewTask("t", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{}))
}

func TestAStoreThatFailsFailsTheInvocation(t *testing.T) {
	t.Parallel()
	app := &App{Store: failing{memstore.New(memstore.Options{})}}
	handle, err := app.Enqueue(registry)
	if err != nil {
		t.Fatal(err)
	}
	_, err = handle(t.Context(), json.RawMessage(`{"action":"enqueue","task":"t","input":1}`))
	var failed messages.InvokeResponse_Error
	if !errors.As(err, &failed) || failed.Type != CodeUnavailable || !strings.Contains(failed.Message, "the table is throttled") {
		t.Errorf("error %v", err)
	}
}

// unlisted is a store that keeps no list.
type unlisted struct{ *memstore.Store }

func (unlisted) List(context.Context, time.Time, core.Listing) (core.Page, error) {
	return core.Page{}, fmt.Errorf("table t: %w: switch it on", core.ErrNotListed)
}

func TestExecutionsAreListed(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	ask := func(store core.Store, event string) string {
		t.Helper()
		handle, err := (&App{Store: store}).Enqueue(registry)
		if err != nil {
			t.Fatal(err)
		}
		response, err := handle(t.Context(), json.RawMessage(event))
		if err != nil {
			t.Fatal(err)
		}
		for i := range response.Executions {
			if response.Executions[i].CreatedAt.IsZero() {
				t.Errorf("execution %d has no time of creation", i)
			}
			e := &response.Executions[i]
			for _, at := range []*time.Time{&e.CreatedAt, &e.StartAt, &e.FinishedAt} {
				*at = time.Time{}
			}
		}
		text, err := json.Marshal(response)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, event := range []string{
		`{"action":"enqueue","task":"t","input":1,"execution_id":"a"}`,
		`{"action":"enqueue","task":"t","input":1,"execution_id":"b"}`,
		`{"action":"cancel","execution_id":"a","reason":"why"}`,
	} {
		ask(store, event)
	}
	page, err := store.List(t.Context(), time.Now(), core.Listing{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	const a = `{"execution_id":"a","task":"t","status":"cancelled","failure":{"code":"cancelled","message":"why"}}`
	const b = `{"execution_id":"b","task":"t","status":"ready"}`
	for event, want := range map[string]string{
		`{"action":"list"}`:                                   `{"executions":[` + b + `,` + a + `]}`,
		`{"action":"list","limit":1}`:                         `{"executions":[` + b + `],"next":"` + page.Next + `"}`,
		`{"action":"list","after":"` + page.Next + `"}`:       `{"executions":[` + a + `]}`,
		`{"action":"list","status":"ready","task":"t"}`:       `{"executions":[` + b + `]}`,
		`{"action":"list","status":"completed"}`:              `{"executions":[]}`,
		`{"action":"list","status":"running","task":"other"}`: `{"executions":[]}`,
	} {
		if diff := cmp.Diff(want, ask(store, event)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", event, diff)
		}
	}
	for event, want := range map[string]string{
		`{"action":"list","limit":1001}`:    CodeBadRequest,
		`{"action":"list","after":"a"}`:     CodeBadRequest,
		`{"action":"list","status":"done"}`: CodeBadRequest,
	} {
		if got := ask(store, event); !strings.HasPrefix(got, `{"error":{"code":"`+want+`"`) {
			t.Errorf("%s: %s, want the code %s", event, got, want)
		}
	}
	if got := ask(unlisted{store}, `{"action":"list"}`); !strings.HasPrefix(got, `{"error":{"code":"not_listed"`) {
		t.Errorf("without a list: %s", got)
	}
}

func TestALoopsInvocationFlushesWhatItStarted(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	app := &App{Store: store, Config: Config{Tick: time.Second, Leeway: time.Second}}
	tasks, err := registry()
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: tasks})
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.EnqueueRaw(t.Context(), "t", []byte("1"), core.EnqueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range core.Loops() {
		handle, err := app.Loop(loop, registry)
		if err != nil {
			t.Fatal(err)
		}
		report, err := handle(t.Context(), json.RawMessage(`{}`))
		if err != nil || report.Loop != loop {
			t.Errorf("%s: %+v, error %v", loop, report, err)
		}
	}
	if e, err := client.Get(t.Context(), id); err != nil || e.Status != core.StatusCompleted || e.CloseStatus != core.CloseClosed {
		t.Errorf("%+v, error %v", e, err)
	}
}

func TestATaskThatDoesNotFitTheFunctionIsRefusedAtStartUp(t *testing.T) {
	t.Parallel()
	app := &App{Store: memstore.New(memstore.Options{}), Config: Config{Timeout: 10 * time.Second}}
	if _, err := app.Loop(core.LoopStartReady, registry); err == nil || !strings.Contains(err.Error(), `task "t": its Timeout 30s does not fit`) {
		t.Errorf("error %v", err)
	}
	if _, err := app.Loop(core.LoopClose, registry); err != nil {
		t.Errorf("a loop that runs no user code: %v", err)
	}
}

// Keys that are not UTF-8 were one key, whatever their bytes; an id that cannot be was asked for.
func TestTextsThatAreNotUTF8AreRefused(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	app := &App{Store: store}
	handle, err := app.Enqueue(func() (*core.Registry, error) {
		return core.NewRegistry(
			core.NewSleepingTask[int]("asleep", core.TaskOptions{}),
			core.NewTask("t", func(context.Context, int) (int, error) { return 0, nil }, core.TaskOptions{}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{
		"{\"action\":\"wakeup\",\"task\":\"asleep\",\"key\":\"k\xff\",\"output\":1}",
		`{"action":"wakeup","task":"asleep","key":"k\ud800","output":1}`,
		`{"action":"wakeup","task":"asleep","key":"k\ufffd","output":1}`,
		`{"action":"wakeup","task":"asleep","key":"k","failure":"no\udc00"}`,
		"{\"action\":\"enqueue\",\"task\":\"asleep\",\"input\":\"k\xff\"}",
		`{"action":"enqueue","task":"asleep","input":"k\ud800"}`,
		`{"action":"enqueue","task":"t","input":1,"key":"k\ud800"}`,
		`{"action":"cancel","execution_id":"x","reason":"since\ud800"}`,
		`{"action":"wakeup","task":"t","key":"k","output":1}`,
		`{"action":"get","execution_id":"a b"}`,
		`{"action":"tree","execution_id":"a/b"}`,
		`{"action":"cancel","execution_id":"é"}`,
		`{"action":"redrive","execution_id":"` + strings.Repeat("x", 3000) + `"}`,
	} {
		r, err := handle(t.Context(), json.RawMessage(event))
		if err != nil || r.Error == nil || r.Error.Code != CodeBadRequest {
			t.Errorf("%.80q: %+v, error %v", event, r.Error, err)
		}
	}
	if store.Len() != 0 {
		t.Errorf("%d records were written", store.Len())
	}
	for _, event := range []string{
		`{"action":"wakeup","task":"asleep","key":"k\ud83d\ude00","output":1}`,
		`{"action":"wakeup","task":"asleep","key":"k` + "\ufffd" + `","output":1}`,
	} {
		if r, err := handle(t.Context(), json.RawMessage(event)); err != nil || r.Error != nil {
			t.Errorf("%s: %+v, error %v", event, r.Error, err)
		}
	}
}

// An attempt for which the function that starts tasks has no time was once enqueued, and stayed ready for ever.
func TestTheEnqueueFunctionRefusesATimeoutThatNobodyHasTimeFor(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	for name, test := range map[string]struct {
		app   *App
		limit string // empty for none
	}{
		"two minutes":    {&App{Store: store, Config: Config{Timeout: time.Minute, TaskTimeout: 2 * time.Minute}}, "1m56s"},
		"the longest":    {&App{Store: store, Config: Config{TaskTimeout: 15 * time.Minute}}, "14m56s"},
		"not known":      {&App{Store: store, Config: Config{Timeout: time.Minute}}, ""},
		"by the options": {&App{Store: store, Options: Options{Limits: core.Limits{Timeout: time.Hour}}, Config: Config{TaskTimeout: time.Minute}}, "1h0m0s"},
	} {
		handle, err := test.app.Enqueue(registry)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(ms time.Duration) Response {
			t.Helper()
			r, err := handle(t.Context(), json.RawMessage(fmt.Sprintf(`{"action":"enqueue","task":"t","input":1,"timeout_ms":%d}`, ms.Milliseconds())))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if test.limit == "" {
			if r := ask(20 * time.Minute); r.Error != nil {
				t.Errorf("%s: %+v", name, r.Error)
			}
			continue
		}
		limit, err := time.ParseDuration(test.limit)
		if err != nil {
			t.Fatal(err)
		}
		if r := ask(limit); r.Error != nil {
			t.Errorf("%s, what fits: %+v", name, r.Error)
		}
		r := ask(limit + time.Millisecond)
		if r.Error == nil || r.Error.Code != CodeBadRequest || !strings.Contains(r.Error.Message, "no executor has more than "+test.limit) {
			t.Errorf("%s: %+v", name, r.Error)
		}
	}
}

// What was enqueued by somebody who did not know ends, in the first invocation that sees it.
func TestWhatFitsNoInvocationEndsInTheFirst(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	tasks, err := registry()
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: tasks})
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.EnqueueRaw(t.Context(), "t", []byte("1"), core.EnqueueOptions{Timeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	app := &App{Store: store, Config: Config{Timeout: 2 * time.Minute, TaskTimeout: 15 * time.Minute, Tick: time.Millisecond}}
	handle, err := app.Loop(core.LoopStartReady, registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := handle(ctx, nil); err != nil {
		t.Fatal(err)
	}
	e, err := client.Get(t.Context(), id)
	if err != nil || e.Status != core.StatusFailed || e.Failure.Code != core.CodeInvalid || !strings.Contains(e.Failure.Message, "more than 1m56s") {
		t.Errorf("error %v, %s, %+v", err, e.Status, e.Failure)
	}
}

// An answer over 6 MB once failed the invocation, of which the caller learned nothing.
func TestAnErrorFitsTheAnswer(t *testing.T) {
	t.Parallel()
	picky := func() (*core.Registry, error) {
		return core.NewRegistry(core.NewTask("picky", func(_ context.Context, s string) (string, error) { return s, nil }, core.TaskOptions{}).
			Validate(func(string) error { return errors.New(strings.Repeat("é", 5<<20)) }))
	}
	handle, err := (&App{Store: memstore.New(memstore.Options{})}).Enqueue(picky)
	if err != nil {
		t.Fatal(err)
	}
	r, err := handle(t.Context(), json.RawMessage(`{"action":"enqueue","task":"picky","input":"x"}`))
	if err != nil || r.Error == nil || len(r.Error.Message) > maxMessage+100 || !utf8.ValidString(r.Error.Message) || !strings.Contains(r.Error.Message, "bytes more") {
		t.Errorf("error %v, answer of %d bytes", err, len(r.Error.Message))
	}
}

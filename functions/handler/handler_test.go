package handler

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestTheEnvironmentIsRead(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"PERDURE_TABLE": "t", "PERDURE_SHARDS": "8", "PERDURE_RETENTION_DAYS": "0", "PERDURE_FUNCTION_TIMEOUT": "120",
		"PERDURE_CONCURRENCY": "7", "PERDURE_TICK": "5", "PERDURE_LEEWAY": "2", "PERDURE_LOG_LEVEL": "WARN",
	}
	got, err := ReadConfig(func(name string) string { return env[name] })
	want := Config{
		Table: "t", Shards: 8, Timeout: 2 * time.Minute, Concurrency: 7,
		Tick: 5 * time.Second, Leeway: 2 * time.Second, LogLevel: 4,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
}

func TestEverythingThatIsWrongInTheEnvironmentIsNamed(t *testing.T) {
	t.Parallel()
	_, err := ReadConfig(func(name string) string {
		return map[string]string{"PERDURE_SHARDS": "65", "PERDURE_TICK": "soon", "PERDURE_LOG_LEVEL": "LOUD"}[name]
	})
	for _, says := range []string{
		"PERDURE_TABLE is not set", `PERDURE_SHARDS is "65"`, `PERDURE_TICK is "soon"`, `PERDURE_LOG_LEVEL is "LOUD"`,
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
		report, err := handle(t.Context())
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

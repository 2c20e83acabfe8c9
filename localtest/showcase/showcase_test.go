// Package showcase runs every kind of task, every option and every way an execution can end through three doors: in
// this process on memory, in this process on DynamoDB Local, and through the compiled Lambda functions.
package showcase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// door is a way to the engine.
type door struct {
	// request is answered as by the enqueue function.
	request func(ctx context.Context, request handler.Request) (handler.Response, error)
	// client is that of another program.
	client *core.Client
}

func newDoor(t *testing.T, store core.Store, request func(context.Context, handler.Request) (handler.Response, error)) door {
	t.Helper()
	client, err := core.NewClient(store, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return door{request, client}
}

// binaries has the compiled functions.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "perdure-showcase")
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

// inProcess runs the engine and the enqueue function's handler in this process.
func inProcess(t *testing.T, store core.Store) door {
	t.Helper()
	registry, err := tasks.Registry()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	app := &handler.App{Store: store}
	handle, err := app.Enqueue(tasks.Registry)
	if err != nil {
		t.Fatal(err)
	}
	return newDoor(t, store, func(ctx context.Context, r handler.Request) (handler.Response, error) {
		event, err := json.Marshal(r)
		if err != nil {
			return handler.Response{}, err
		}
		return handle(ctx, event)
	})
}

// requestWhenThereIsRoom repeats a request that is throttled: the scenarios ask for more at once than the enqueue function
// may answer.
func requestWhenThereIsRoom(ctx context.Context, s *stack.Stack, r handler.Request) (handler.Response, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := s.Request(ctx, r)
		if !errors.Is(err, lambdalocal.ErrThrottled) {
			return answer, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return answer, err
		}
	}
}

func TestEveryFeatureThroughEveryDoor(t *testing.T) {
	doors := map[string]func(t *testing.T) door{
		"in process on memory": func(t *testing.T) door { return inProcess(t, memstore.New(memstore.Options{})) },
		"in process on DynamoDB Local": func(t *testing.T) door {
			server, err := dynamolocal.Start(t.Context(), dynamolocal.Options{Log: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			client := dynamostore.LocalClient(server.Endpoint())
			if err := dynamostore.CreateTable(t.Context(), client, "showcase", dynamostore.TableOptions{List: true}); err != nil {
				t.Fatal(err)
			}
			store, err := dynamostore.New(client, "showcase", dynamostore.Options{List: true})
			if err != nil {
				t.Fatal(err)
			}
			return inProcess(t, store)
		},
		"through the functions": func(t *testing.T) door {
			s, err := stack.Start(t.Context(), stack.Options{Binaries: binaries, List: true, Log: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return newDoor(t, s.Store, func(ctx context.Context, r handler.Request) (handler.Response, error) {
				return requestWhenThereIsRoom(ctx, s, r)
			})
		},
	}
	for name, open := range doors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			for name, scenario := range scenarios {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					scenario(visitor{t, d})
				})
			}
		})
	}
}

// visitor asks through a door; what goes wrong fails its test.
type visitor struct {
	*testing.T
	door
}

func (v visitor) ask(r handler.Request) handler.Response {
	v.Helper()
	answer, err := v.request(v.Context(), r)
	if err != nil {
		v.Fatal(err)
	}
	return answer
}

// done is ask for a request that is in order.
func (v visitor) done(r handler.Request) handler.Response {
	v.Helper()
	answer := v.ask(r)
	if answer.Error != nil {
		v.Fatalf("%s: %s: %s", r.Action, answer.Error.Code, answer.Error.Message)
	}
	return answer
}

// refused fails the test unless the request is answered with the error code.
func (v visitor) refused(code string, r handler.Request) {
	v.Helper()
	if answer := v.ask(r); answer.Error == nil || answer.Error.Code != code {
		v.Errorf("%s answered %+v, want error code %s", r.Action, answer, code)
	}
}

func (v visitor) enqueue(task string, input any, more ...func(*handler.Request)) string {
	v.Helper()
	r := handler.Request{Action: "enqueue", Task: task, Input: jsonOf(input)}
	for _, m := range more {
		m(&r)
	}
	return v.done(r).ExecutionID
}

func jsonOf(value any) json.RawMessage {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// until asks again and again until the answer is as wanted.
func (v visitor) until(r handler.Request, wanted func(handler.Response) bool) handler.Response {
	v.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(2 * time.Minute)
	for {
		answer := v.ask(r)
		if wanted(answer) {
			return answer
		}
		select {
		case <-ticker.C:
		case <-deadline:
			v.Fatalf("%s %s: still %+v", r.Action, r.ExecutionID, answer)
		}
	}
}

func finished(r handler.Response) bool { return r.Error == nil && r.Status.Finished() }

// end waits for an execution's end, which must be of the given status.
func (v visitor) end(id string, status core.Status) handler.Response {
	v.Helper()
	answer := v.until(handler.Request{Action: "get", ExecutionID: id}, finished)
	if answer.Status != status {
		v.Fatalf("execution %s of %s is %s, want %s: %+v", id, answer.Task, answer.Status, status, answer.Failure)
	}
	return answer
}

// outcome fails the test unless the execution completes with the output.
func (v visitor) outcome(id string, want any) {
	v.Helper()
	answer := v.end(id, core.StatusCompleted)
	if diff := cmp.Diff(string(jsonOf(want)), string(answer.Output)); diff != "" {
		v.Errorf("output of %s (-want +got):\n%s", answer.Task, diff)
	}
}

// fails waits for a bad end and checks its failure.
func (v visitor) fails(id string, status core.Status, code core.FailureCode, text string) handler.Response {
	v.Helper()
	answer := v.end(id, status)
	if answer.Failure == nil || answer.Failure.Code != code || !strings.Contains(answer.Failure.Message, text) {
		v.Errorf("failure of %s is %+v, want code %s and %q in the message", answer.Task, answer.Failure, code, text)
	}
	return answer
}

package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/tasks"
)

// fuzzTasks are tasks of every kind: those that the functions have, and one more.
func fuzzTasks() (*core.Registry, error) { return tasks.Registry() }

// requests are good and bad ones of every action.
func requests() []string {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	return []string{
		`{"action":"enqueue","task":"count_words","input":"a","execution_id":"a"}`,
		`{"action":"enqueue","task":"count_words","input":"a","key":"k","delay_ms":5,"timeout_ms":100,"retry":{"max_attempts":3,"base_delay_ms":1,"multiplier":2,"max_delay_ms":9,"jitter":0.5}}`,
		`{"action":"enqueue","task":"await_payment","input":"order 1"}`, `{"action":"enqueue","task":"slow","input":1,"start_at":"2030-01-01T00:00:00Z"}`,
		`{"action":"enqueue","task":"slow","input":1,"schedule_to_start_ms":-9223372036854775808,"start_to_finish_ms":9223372036854775807}`,
		`{"action":"enqueue","task":"nobody","input":1}`, `{"action":"enqueue","task":"slow","input":{"a":` + deep + `}}`,
		`{"action":"enqueue","task":"place_order","input":{"id":"17","items":["lamp"]}}`,
		`{"action":"wakeup","task":"await_payment","key":"order 1","output":{"reference":"card","cents":400}}`,
		`{"action":"wakeup","task":"await_payment","key":"order 2","failure":"declined"}`, `{"action":"wakeup","task":"slow","key":"","output":1}`,
		`{"action":"get","execution_id":"a"}`, `{"action":"tree","execution_id":"a"}`, `{"action":"get","execution_id":"` + strings.Repeat("x", 3000) + `"}`,
		`{"action":"cancel","execution_id":"a","reason":"why"}`, `{"action":"redrive","execution_id":"a"}`, `{"action":"list","status":"cancelled","limit":2,"after":"x"}`,
		`{"action":"list"}`, `{"action":"get"}`, `{"action":1}`, `{"action":"list"}{}`, `{}`, ``, `null`, `[]`, `{"action":"list","more":1}`, deep, "\xff\xfe", `{"action":"get","execution_id":"\u0000\ud800"}`,
	}
}

// FuzzEnqueue sends the enqueue function what anybody may send. On a store that works no request fails the invocation, and
// each answer is JSON: an error with a code, or what was asked for.
func FuzzEnqueue(f *testing.F) {
	for _, r := range requests() {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, event string) {
		store := memstore.New(memstore.Options{})
		handle, err := (&App{Store: store}).Enqueue(fuzzTasks)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is there already
			response, err := handle(t.Context(), json.RawMessage(event))
			if err != nil {
				t.Fatalf("%q failed the invocation: %v", event, err)
			}
			if text, err := json.Marshal(response); err != nil || len(text) < 3 {
				t.Errorf("%q: the answer is %s, error %v", event, text, err)
			}
			if e := response.Error; e != nil && (e.Code == "" || e.Message == "" || e.Code == CodeUnavailable) {
				t.Errorf("%q: the answer is %+v", event, e)
			}
		}
	})
}

// FuzzInput enqueues any text as the input of every task. It is refused, or the task is started and comes to an end of its
// own: an executor survives it.
func FuzzInput(f *testing.F) {
	for i, s := range []string{`"a"`, `1`, `null`, `{"id":"17","items":["lamp"]}`, `{"path":"../x","chunk_bytes":-1}`, `[1`, `{"path":1}`, "\xff", `1e999`, `{"chunk_bytes":1e30}`} {
		f.Add(i, s)
	}
	f.Setenv(tasks.RootVariable, f.TempDir())
	f.Fuzz(func(t *testing.T, which int, input string) {
		registry, err := tasks.Registry()
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{"count_words", "count_file", "place_order", "reserve_item", "track_parcel", "receipt", "checked", "crash", "await_payment"}
		task := ids[uint(which)%uint(len(ids))] //nolint:gosec // it only chooses
		store := memstore.New(memstore.Options{})
		client, err := core.NewClient(store, core.ClientOptions{Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		id, err := client.EnqueueRaw(t.Context(), task, []byte(input), core.EnqueueOptions{})
		if err != nil {
			return
		}
		engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		x := engine.NewExecutor(core.ExecutorOptions{})
		if _, err := x.StartReady(t.Context(), 1); err != nil {
			t.Errorf("task %s, input %q: %v", task, input, err)
		}
		x.Flush()
		e, err := client.Get(t.Context(), id)
		if err != nil || e.Status == core.StatusReady && e.Attempts == 0 {
			t.Errorf("task %s, input %q: %+v, error %v", task, input, e, err)
		}
	})
}

// What is too large or too deep is refused before it is parsed, with the limit in the message.
func TestRequestsThatAreTooLargeOrTooDeepAreRefused(t *testing.T) {
	t.Parallel()
	handle, err := (&App{Store: memstore.New(memstore.Options{})}).Enqueue(registry)
	if err != nil {
		t.Fatal(err)
	}
	nested := func(depth int) string {
		return fmt.Sprintf(`{"action":"enqueue","task":"t","input":%s1%s}`, strings.Repeat("[", depth), strings.Repeat("]", depth))
	}
	for name, c := range map[string]struct{ event, code, says string }{
		"too large a request":    {`{"action":"enqueue","task":"t","input":"` + strings.Repeat("x", maxRequest) + `"}`, CodeTooLarge, "the limit is 2097152"},
		"too large an input":     {`{"action":"enqueue","task":"t","input":"` + strings.Repeat("x", 1<<20) + `"}`, CodeTooLarge, "the limit is 1048576"},
		"too deep":               {nested(maxDepth), CodeBadRequest, "nested 129 deep, the limit is 128"},
		"deep enough":            {nested(maxDepth - 1), CodeBadRequest, "cannot unmarshal array"},
		"brackets within text":   {`{"action":"enqueue","task":"t","execution_id":"a","input":"` + strings.Repeat(`[\"{`, 500) + `"}`, CodeBadRequest, "cannot unmarshal string"},
		"far too deep":           {strings.Repeat("[", maxRequest), CodeBadRequest, "the limit is 128"},
		"an id that is too long": {`{"action":"get","execution_id":"` + strings.Repeat("x", 2049) + `"}`, CodeBadRequest, "execution_id has 2049 bytes"},
	} {
		r, err := handle(context.Background(), json.RawMessage(c.event))
		if err != nil || r.Error == nil || r.Error.Code != c.code || !strings.Contains(r.Error.Message, c.says) {
			t.Errorf("%s: %+v, error %v, want %s and %q", name, r.Error, err, c.code, c.says)
		}
		if r.Error != nil && len(r.Error.Message) > 1000 {
			t.Errorf("%s: the message has %d bytes", name, len(r.Error.Message))
		}
	}
}

// FuzzStreamEvent reads what the stream, a schedule or anybody else may send to a loop function.
func FuzzStreamEvent(f *testing.F) {
	for _, event := range []string{
		``, `{}`, `null`, `[]`, `{"Records":null}`, `{"Records":[{}]}`, `{"Records":[{"dynamodb":{"NewImage":{}}}]}`,
		`{"Records":[{"dynamodb":{"ApproximateCreationDateTime":1e300,"NewImage":{"pk":{"S":"a"},"sk":{"S":"e"},"queue":{"S":"ready#00"},"dueAt":{"N":"1"}}}}]}`,
		`{"Records":[{"dynamodb":{"NewImage":{"pk":{"N":"a"},"sk":{"BOOL":true},"queue":{"S":"ready#"},"dueAt":{"N":"x"}}}}]}`,
		`{"Records":[{"dynamodb":{"NewImage":{"pk":{"NULL":true},"sk":{"M":{}},"queue":{"L":[]},"dueAt":{"B":"!"}}}}]}`,
	} {
		f.Add([]byte(event))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		hints, streamed, err := hintsOf(event)
		if err != nil && streamed || len(hints) > 0 && !streamed {
			t.Errorf("%q: %v, streamed %t, error %v", event, hints, streamed, err)
		}
	})
}

// It spoke of Go values and struct fields to callers of any language.
func TestWhatIsWrongWithARequestIsToldInJSONsWords(t *testing.T) {
	t.Parallel()
	handle, err := (&App{Store: memstore.New(memstore.Options{})}).Enqueue(registry)
	if err != nil {
		t.Fatal(err)
	}
	for event, says := range map[string]string{
		`[]`:                                   `the request is of type array: it must be an object like {"action":"tasks"}`,
		`{"action":5}`:                         "action is of type number: it must be a text",
		`{"action":"list","limit":"5"}`:        "limit is of type string: it must be a whole number",
		`{"action":"list","limit":1.5}`:        "limit is of type number 1.5: it must be a whole number",
		`{"action":"list","limit":1e30}`:       "limit is of type number 1e30: it must be a whole number",
		`{"action":"enqueue","retry":1}`:       "retry is of type number: it must be an object",
		`{"retry":{"max_delay_ms":"1s"}}`:      "retry.max_delay_ms is of type string: it must be a whole number",
		`{"retry":{"jitter":true}}`:            "retry.jitter is of type bool: it must be a number",
		`{"action":"enqueue","start_at":"9h"}`: `start_at is "9h": it must be a time like 2026-11-24T18:00:00Z`,
		`{"action":"enqueue","start_at":5}`:    "start_at is not a text: it must be a time",
	} {
		r, err := handle(t.Context(), json.RawMessage(event))
		if err != nil || r.Error == nil || r.Error.Code != CodeBadRequest || !strings.Contains(r.Error.Message, says) || strings.Contains(r.Error.Message, "Go ") {
			t.Errorf("%s: %+v, error %v, want %q", event, r.Error, err, says)
		}
	}
}

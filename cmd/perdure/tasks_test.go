package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/localtest/stack"
)

func TestTheVersionIsAFlagToo(t *testing.T) {
	t.Parallel()
	if flag, command := done(t, nil, "--version"), done(t, nil, "version"); flag != command {
		t.Errorf("%q and %q", flag, command)
	}
	var v struct{ Version, Go string }
	if err := json.Unmarshal([]byte(done(t, nil, "--version", "--json")), &v); err != nil || v.Go == "" {
		t.Errorf("%+v, error %v", v, err)
	}
}

// What sleeps until somebody wakes it was shown as running, and its key nowhere but by get.
func TestASleepingExecutionIsShownAsSleepingWithItsKey(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true, List: true})
	id := strings.TrimSpace(done(t, w.env, "enqueue", "await_payment", "--input", `"order 17"`))
	for _, args := range [][]string{{"list"}, {"tree", id}} {
		if out := done(t, w.env, args...); !strings.Contains(out, `await_payment "order 17"  sleeping`) || strings.Contains(out, "running") {
			t.Errorf("perdure %v\n%s", args, out)
		}
	}
	if out := done(t, w.env, "get", id); !strings.Contains(out, "sleeping\n") || !strings.Contains(out, "order 17\n") || strings.Contains(out, "running") {
		t.Error(out)
	}
	if o := perdure(t, w.env, "wait", id, "--timeout", "1s"); o.exit != 7 || !strings.Contains(o.stderr, id+" is sleeping: the wait's --timeout is over") {
		t.Errorf("exit code %d, %s", o.exit, o.stderr)
	}
	if o := perdure(t, w.env, "enqueue", "slow", "--input", "1", "--delay", "1h", "--wait", "--wait-timeout", "1s"); o.exit != 7 ||
		!strings.Contains(o.stderr, " is ready: the wait's --wait-timeout is over") {
		t.Errorf("exit code %d, %s", o.exit, o.stderr)
	}
	// Scripts go by the status that the record has.
	if out := done(t, w.env, "get", id, "--json"); !strings.Contains(out, `"status": "running"`) || !strings.Contains(out, `"sleep_key": "order 17"`) {
		t.Error(out)
	}
}

// A function of a version before knows no tables, and refuses what it does not know.
func TestAnEnqueueFunctionOfAVersionBeforeIsAsked(t *testing.T) {
	t.Parallel()
	var asked []string
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, string(body))
		answer := `{"execution_id":"done"}`
		if strings.Contains(string(body), `"table"`) {
			answer = `{"error":{"code":"bad_request","message":"invalid request: json: unknown field \"table\""}}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer old.Close()
	env := []string{"AWS_ENDPOINT_URL_LAMBDA=" + old.URL, "PERDURE_TABLE=t", "PERDURE_ENQUEUE_FUNCTION=enqueue"}
	if out := done(t, env, "enqueue", "count_words", "--input", `"x"`); out != "done\n" || len(asked) != 2 {
		t.Errorf("it printed %s and asked %q", out, asked)
	}
}

// The SDK asked again when an answer was late or an error, and the function enqueued again.
func TestAnEnqueueIsNotSentASecondTime(t *testing.T) {
	t.Parallel()
	asked := 0
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		http.Error(w, `{"Message":"later"}`, http.StatusServiceUnavailable)
	}))
	defer failing.Close()
	env := []string{"AWS_ENDPOINT_URL_LAMBDA=" + failing.URL, "PERDURE_TABLE=t", "PERDURE_ENQUEUE_FUNCTION=enqueue"}
	o := perdure(t, env, "enqueue", "count_words", "--input", `"x"`)
	if o.exit != 1 || asked != 1 || !strings.Contains(o.stderr, "it may have done what it was asked for: ask again with the same --id or --key") {
		t.Errorf("exit code %d, asked %d times: %s", o.exit, asked, o.stderr)
	}
}

// A file of Windows begins with a mark that is no part of its JSON.
func TestAnInputMayBeginWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	dir := t.TempDir()
	for name, text := range map[string]string{"one.json": "\ufeff\"to be\"\n", "lines.jsonl": "\ufeff\"to be\"\n\"or not\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done(t, w.env, "enqueue", "count_words", "--input", "@"+filepath.Join(dir, "one.json"))
	if ids := done(t, w.env, "enqueue", "count_words", "--each", filepath.Join(dir, "lines.jsonl")); strings.Count(ids, "\n") != 2 {
		t.Errorf("it printed\n%s", ids)
	}
}

// It asked for no delay, which stands for the task's own.
func TestADelayOfZeroIsNoDelayAndNotTheTasks(t *testing.T) {
	t.Parallel()
	var asked []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, _ = io.ReadAll(r.Body) // the comparison tells
		_, _ = io.WriteString(w, `{"execution_id":"x"}`)
	}))
	defer server.Close()
	done(t, []string{"AWS_ENDPOINT_URL_LAMBDA=" + server.URL}, "enqueue", "greet", "--input", "1", "--delay", "0", "--function", "f")
	if !strings.Contains(string(asked), `"start_at":"1970-01-01T00:00:00Z"`) {
		t.Errorf("it asked for %s", asked)
	}
}

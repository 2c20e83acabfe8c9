//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The log said that an attempt had failed and kept why to itself, and how a process ended was nowhere. A child that is not
// registered was found when its parent ran.
func TestRunTellsWhyAttemptsFailAndProcessesEnd(t *testing.T) {
	t.Parallel()
	dir := newApp(t)
	source := filepath.Join(dir, "tasks", "tasks.go")
	edit(t, source, "core.NewRegistry(Greet)", "core.NewRegistry(Greet, Panics, Exits)", "\t\"errors\"\n", "\t\"errors\"\n\t\"os\"\n")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, `
var Panics = core.NewTask("panics", func(context.Context, struct{}) (int, error) { panic("no luck") }, core.TaskOptions{Timeout: time.Second})

var Exits = core.NewTask("exits", func(context.Context, struct{}) (int, error) { os.Exit(7); return 0, nil }, core.TaskOptions{Timeout: time.Second})

var Forgotten = core.NewTask("forgotten", greet, core.TaskOptions{})
`...)
	if err := os.WriteFile(source, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--dir", dir, "--no-watch", "--env", "PERDURE_LEEWAY=1")
	s.until("perdure: task forgotten (tasks/tasks.go:") // is not registered

	if o := perdure(t, s.env, "enqueue", "greet", "--input", `""`, "--id", "nobody", "--wait"); o.exit != 3 {
		t.Errorf("exit code %d, %s", o.exit, o.stderr)
	}
	s.until("perdure: attempt 1 of 3 of task greet, execution nobody: failed after ")
	if o := perdure(t, s.env, "enqueue", "panics", "--id", "unlucky", "--wait"); o.exit != 3 { // without an input: it takes none
		t.Errorf("exit code %d, %s", o.exit, o.stderr)
	}
	s.until("perdure: attempt 1 of 1 of task panics, execution unlucky: panicked after ")
	s.until("tasks.go:") // of the stack
	done(t, s.env, "enqueue", "exits", "--id", "gone")
	s.until("perdure: a process of function startready ended after ") // exit status 7
	s.until("perdure: task exits, execution gone: its process ended while it ran (crash 1): it is run again")

	// Doctor said seven times that it does not see the functions, which are there.
	if o := perdure(t, s.env, "doctor"); strings.Count(o.stdout, "\n") != 6 || !strings.Contains(o.stdout, "skipped  functions  the functions are those of perdure run") {
		t.Errorf("doctor:\n%s%s", o.stdout, o.stderr)
	}
	if out := done(t, s.env, "tasks"); !strings.Contains(out, "greet   task  10.0s    3\n") {
		t.Errorf("tasks:\n%s", out)
	}
	for _, event := range []struct{ function, name, answer string }{
		{"enqueue", "enqueue", `"execution_id":"first"`}, {"enqueue", "get", `"task":"greet"`}, {"enqueue", "tasks", `"kind":"task"`},
		{"startready", "stream", `"loop":"start_ready"`}, {"close", "tick", `"loop":"close"`},
	} {
		text, err := os.Open(filepath.Join(dir, "events", event.name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		defer text.Close()
		answer, err := http.Post(s.endpoint+"/2015-03-31/functions/"+event.function+"/invocations", "application/json", text)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if body, _ := io.ReadAll(answer.Body); !json.Valid(body) || !strings.Contains(string(body), event.answer) {
			t.Errorf("events/%s.json: %s", event.name, body)
		}
	}
	s.stop()
}

// Who has a clone that is published nowhere was told what Go had said, and not what to do.
func TestInitSaysHowAnApplicationIsBuiltWithAClone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	env := append(tools(t), "GOPROXY=off", "GOFLAGS=-mod=mod")
	const says = " && go mod edit -replace github.com/perdure-dev/perdure="
	o := perdure(t, env, "init", dir)
	if o.exit != 1 || !strings.Contains(o.stderr, "cd "+dir+says) || !strings.Contains(o.stderr, "perdure init --replace ") || strings.Contains(o.stdout, "Next: ") {
		t.Errorf("exit code %d\n%s%s", o.exit, o.stdout, o.stderr)
	}
	if o := perdure(t, env, "run", "--dir", dir, "--port", "0"); o.exit != 1 || !strings.Contains(o.stderr, "cd "+dir+says) {
		t.Errorf("exit code %d\n%s%s", o.exit, o.stdout, o.stderr)
	}
	if o := perdure(t, env, "init", dir+"2", "--replace", dir); o.exit != 2 || !strings.Contains(o.stderr, "is not perdure") {
		t.Errorf("exit code %d\n%s%s", o.exit, o.stdout, o.stderr)
	}
}

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tools is an environment in which Go and DynamoDB Local find what this machine has of them.
func tools(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_CACHE_HOME=" + cache, "TMPDIR=" + t.TempDir()}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GONOSUMDB", "GOFLAGS", "GOSUMDB"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}

// descendants returns the living processes below one, itself left out.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	parents := map[int][]int{}
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, _ := strconv.Atoi(fields[1])
		if fields[0] != "Z" {
			parents[parent] = append(parents[parent], child)
		}
	}
	all := parents[pid]
	for i := 0; i < len(all); i++ {
		all = append(all, parents[all[i]]...)
	}
	return all
}

// server is a perdure run.
type server struct {
	t        *testing.T
	cmd      *exec.Cmd
	endpoint string
	welcome  string      // what it printed when it was ready
	lines    chan string // of standard error
	env      []string
}

var endpointLine = regexp.MustCompile(`endpoint +(http://127\.0\.0\.1:\d+)`)

// serve starts perdure run and returns once it is ready.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, lines: make(chan string, 10_000)}
	s.cmd = exec.Command(filepath.Join(folder, "perdure"), append([]string{"run", "--port", "0"}, args...)...)
	s.cmd.Env = bare(t, tools(t)...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	go func() {
		for in := bufio.NewScanner(stderr); in.Scan(); {
			fmt.Fprintln(t.Output(), in.Text())
			s.lines <- in.Text()
		}
		close(s.lines)
	}()
	for in := bufio.NewScanner(stdout); !strings.HasSuffix(s.welcome, "perdure list\n") && in.Scan(); {
		s.welcome += in.Text() + "\n"
		if m := endpointLine.FindStringSubmatch(in.Text()); m != nil {
			s.endpoint = m[1]
		}
	}
	if s.endpoint == "" {
		t.Fatal("it ended before it was ready")
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	s.env = []string{"AWS_ENDPOINT_URL=" + s.endpoint, "PERDURE_TABLE=perdure", "PERDURE_ENQUEUE_FUNCTION=enqueue"}
	return s
}

// until waits for a line of standard error, and returns the lines up to it.
func (s *server) until(says string) (lines []string) {
	s.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case line, open := <-s.lines:
			lines = append(lines, line)
			if strings.Contains(line, says) {
				return lines
			}
			if !open {
				s.t.Fatalf("it ended without saying %q", says)
			}
		case <-deadline:
			s.t.Fatalf("it did not say %q", says)
		}
	}
}

// stop is Ctrl-C.
func (s *server) stop() {
	s.t.Helper()
	below := descendants(s.t, s.cmd.Process.Pid)
	if len(below) < 2 {
		s.t.Errorf("%d processes run below it", len(below))
	}
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	s.until("nothing of it is left")
	if err := s.cmd.Wait(); err != nil {
		s.t.Error(err)
	}
	for _, pid := range below {
		if err := syscall.Kill(pid, 0); err == nil {
			s.t.Errorf("process %d is left", pid)
		}
	}
}

// edit replaces texts of a file, each by the one that follows it, with a single write: no build has a part of them.
func edit(t *testing.T, name string, replacements ...string) {
	t.Helper()
	text, err := os.ReadFile(name)
	for i := 0; i < len(replacements); i += 2 {
		if err != nil || !bytes.Contains(text, []byte(replacements[i])) {
			t.Fatalf("%s has no %q, error %v", name, replacements[i], err)
		}
	}
	if err := os.WriteFile(name, []byte(strings.NewReplacer(replacements...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestANewApplicationRunsAndIsBuiltAnewWhenItChanges(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	out := done(t, tools(t), "init", dir, "--module", "example.com/me/shop", "--replace", checkout)
	if !strings.Contains(out, "tasks/tasks.go") || !strings.Contains(out, "perdure run") {
		t.Errorf("init printed %s", out)
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, bare(t, tools(t)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}

	s := serve(t, "--dir", dir, "--env", "GREETING=hello")
	if out := done(t, s.env, "enqueue", "greet", "--input", `"world"`, "--wait", "--id", "first"); out != "\"hello, world\"\n" {
		t.Errorf("it printed %s", out)
	}
	said := strings.Join(s.until("building the functions"), "\n") + "\n" + s.welcome
	if diff := cmp.Diff(settled(shown(t, "$ perdure run")), settled("$ perdure run\n"+said)); diff != "" {
		t.Errorf("-page +run\n%s", diff)
	}
	// Any language, any credentials.
	curl := regexp.MustCompile(`^curl http://127\.0\.0\.1:8600(/\S+) -d '(.+)'\n$`).FindStringSubmatch(shown(t, "curl "))
	if curl == nil {
		t.Fatal("the page's curl is another")
	}
	request := strings.Replace(strings.Replace(curl[2], "world", "curl", 1), "}", `,"execution_id":"second"}`, 1)
	answer, err := http.Post(s.endpoint+curl[1], "application/json", strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if string(body) != `{"execution_id":"second"}` {
		t.Errorf("it answered %s", body)
	}
	others := slices.Concat(s.env, []string{"AWS_ACCESS_KEY_ID=AKIAOTHER", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=eu-central-1"})
	if out := done(t, others, "wait", "second"); out != "\"hello, curl\"\n" {
		t.Errorf("it printed %s", out)
	}

	source := filepath.Join(dir, "tasks", "tasks.go")
	edit(t, source, `"hello, "`, `"good morning, "`)
	s.until("a source changed: built in")
	if out := done(t, s.env, "enqueue", "greet", "--input", `"world"`, "--wait"); out != "\"good morning, world\"\n" {
		t.Errorf("after the change it printed %s", out)
	}
	edit(t, source, `return "good`, `return good`)
	s.until("the functions stay as they were")
	if out := done(t, s.env, "enqueue", "greet", "--input", `"you"`, "--wait"); out != "\"good morning, you\"\n" {
		t.Errorf("after a change that does not compile it printed %s", out)
	}
	if out := done(t, s.env, "list"); strings.Count(out, "completed") != 4 {
		t.Errorf("the table has:\n%s", out)
	}
	s.stop()
}

// The layout of this repository: a program for each function.
func TestAModuleWithAProgramForEachFunctionRuns(t *testing.T) {
	t.Parallel()
	s := serve(t, "--dir", "../..", "--no-watch")
	if out := done(t, s.env, "enqueue", "reserve_item", "--input", `"lamp"`, "--wait"); out != "400\n" {
		t.Errorf("it printed %s", out)
	}
	s.stop()
}

func TestWhatCannotRunIsToldBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	empty, broken := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"go.mod": "module broken\n", "main.go": "package main\n\nfunc main() { x }\n"} {
		if err := os.WriteFile(filepath.Join(broken, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	library := t.TempDir()
	if err := os.Mkdir(filepath.Join(library, "part"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"go.mod": "module library\n", "part/part.go": "package part\n\nfunc Part() {}\n"} {
		if err := os.WriteFile(filepath.Join(library, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"run", "--dir", empty}, 1, "there is no go.mod"},
		{[]string{"run", "--dir", filepath.Join(empty, "nowhere")}, 1, "there is no go.mod"},
		{[]string{"run", "--dir", library}, 1, "it takes a main package there that calls handler.Start"},
		{[]string{"run", "--dir", library, "--package", "./part", "--port", "0"}, 1, "package ./part is not a program: it must be package main"}, // it was started all the same
		{[]string{"run", "--dir", broken, "--port", "0"}, 1, "undefined: x"},
		{[]string{"run", "--port", "99999"}, 2, "--port is 99999"},
		{[]string{"run", "--tick", "1500ms"}, 2, "--tick is 1.5s"},
		{[]string{"run", "--function-timeout", "1h"}, 2, "--function-timeout is 1h0m0s"},
		{[]string{"run", "--env", "x"}, 2, `--env is "x"`},
		{[]string{"init"}, 2, "init takes one folder"},
		{[]string{"init", broken}, 2, "is not empty"},
		{[]string{"init", filepath.Join(empty, "net")}, 2, "Go has its own package net: choose another with --module"},
		{[]string{"init", filepath.Join(empty, "new"), "--module", "a b"}, 2, "name one with --module"},
		{[]string{"init", filepath.Join(empty, "new"), "--replace", empty}, 2, "--replace"},
	} {
		o := perdure(t, tools(t), test.args...)
		if o.exit != test.exit || o.stdout != "" || !strings.Contains(o.stderr, test.says) {
			t.Errorf("perdure %v: exit code %d, want %d and %q\n%s%s", test.args, o.exit, test.exit, test.says, o.stdout, o.stderr)
		}
	}
	o := perdure(t, []string{"PATH=" + empty}, "run", "--dir", library)
	if want := "Go is not on the PATH, and perdure run builds the functions with it: install it from https://go.dev/dl"; o.exit != 1 || !strings.Contains(o.stderr, want) {
		t.Errorf("without Go: exit code %d, want %q\n%s", o.exit, want, o.stderr)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("something was left: %v, error %v", left, err)
	}
}

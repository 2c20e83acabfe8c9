//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newApp writes a new application and returns its folder.
func newApp(t *testing.T) string {
	t.Helper()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	done(t, tools(t), "init", dir, "--module", "example.com/me/shop", "--replace", checkout)
	return dir
}

// tries waits until a file has so many lines more, one for each try to start.
func tries(t *testing.T, name string, more int) {
	t.Helper()
	count := func() int {
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	want := count() + more
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for count() < want {
		select {
		case <-deadline:
			t.Fatalf("%d tries, want %d", count(), want)
		case <-tick.C:
		}
	}
}

func counted(lines []string, says string) int {
	n := 0
	for _, l := range lines {
		if strings.Contains(l, says) {
			n++
		}
	}
	return n
}

// What does not start is tried every second, by each of five schedules. Its words were told each time, and nobody said what
// to do.
func TestAFunctionThatDoesNotStartIsToldOnceAndOnceAgainWhenItDoes(t *testing.T) {
	t.Parallel()
	dir := newApp(t)
	tried := filepath.Join(t.TempDir(), "tried")
	const registered, twice = "core.NewRegistry(Greet)", "core.NewRegistry(Greet, Greet)"
	source := filepath.Join(dir, "tasks", "tasks.go")
	edit(t, source, registered, twice)
	edit(t, source, "\t\"errors\"\n", "\t\"errors\"\n\t\"os\"\n")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	// Every start leaves a line, so that the test knows of them.
	text = append(text, `
func init() {
	f, err := os.OpenFile(`+strconv.Quote(tried)+`, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	_, _ = f.WriteString("x\n")
	// here
}
`...)
	if err := os.WriteFile(source, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--dir", dir)

	said := s.until("this is told once")
	if counted(said, "does not start: exit status 1") != 1 || counted(said, "  | perdure: ") != 1 || counted(said, "Mend the source") != 1 {
		t.Errorf("it said\n%s", strings.Join(said, "\n"))
	}
	if o := perdure(t, s.env, "enqueue", "greet", "--input", `"you"`); o.exit != 1 || !strings.Contains(o.stderr, "perdure run") {
		t.Errorf("exit code %d, %s", o.exit, o.stderr)
	}
	tries(t, tried, 15)

	// Another failure after a build is told as well.
	edit(t, source, "// here", `panic("no such luck")`)
	said = s.until("this is told once")
	if counted(said, " starts again") != 0 || counted(said, "does not start:") != 1 || counted(said, "does not start either") > 5 ||
		counted(said, "  | panic: no such luck") != 1 || counted(said, "greet") != 0 {
		t.Errorf("after many tries and a change it said\n%s", strings.Join(said, "\n"))
	}
	tries(t, tried, 15)

	edit(t, source, `panic("no such luck")`, "// here", twice, registered)
	if said = s.until(" starts again"); counted(said, "no such luck") != 0 || counted(said, "does not start:") != 0 {
		t.Errorf("after many tries and the repair it said\n%s", strings.Join(said, "\n"))
	}
	if out := done(t, s.env, "enqueue", "greet", "--input", `"world"`, "--wait"); out != "\"hello, world\"\n" {
		t.Errorf("it printed %s", out)
	}
	_ = s.cmd.Process.Signal(os.Interrupt)
	if said = s.until("nothing of it is left"); counted(said, " starts again") != 0 {
		t.Errorf("it said that more than once:\n%s", strings.Join(said, "\n"))
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

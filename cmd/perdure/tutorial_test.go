//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const tutorial = "../../docs/tutorial.md"

// A reader's steps: a new application, the page's tasks put into it, and the page's commands.
func TestTheTutorialsStepsWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(tutorial)
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	done(t, tools(t), "init", dir, "--module", "github.com/me/shop", "--replace", checkout)

	source := filepath.Join(dir, "tasks", "tasks.go")
	edit(t, source, "\t\"errors\"\n", "\t\"errors\"\n\t\"strings\"\n")
	edit(t, source, "core.NewRegistry(Greet)", "core.NewRegistry(Greet, GreetAll, Confirmed)")
	whole, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(text, -1) {
		if strings.HasPrefix(string(b[1]), "// ") { // a task; what else there is belongs to a test
			whole = append(append(whole, '\n'), b[1]...)
		}
	}
	if err := os.WriteFile(source, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "./...")
	cmd.Dir, cmd.Env = dir, bare(t, tools(t)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	s := serve(t, "--dir", dir, "--no-watch")
	const there = "http://127.0.0.1:8600"
	if setting := strings.ReplaceAll(strings.Join(s.env, " "), s.endpoint, there); !strings.Contains(string(text), "export "+setting+"\n") {
		t.Errorf("the page does not set %s", setting)
	}
	showsWhatIsPrinted(t, tutorial, 3, s.env, func(command string) string { return strings.ReplaceAll(command, there, s.endpoint) })
	s.stop()
}

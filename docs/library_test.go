package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is a part of a page that does something: a block of code, or a comment for the test alone.
var step = regexp.MustCompile("(?s)```(go|sh) ([a-z]+)(?:=(\\S+))?\n(.*?)```|<!-- test\n(.*?)-->")

// A page's steps are taken in their order, in a folder of its own: "go file=" writes a file, "go in=" must be in a file
// of this repository, "sh run" is run.
func TestTheStepsOfThePageOnLibrariesWork(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("library.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	steps := step.FindAllStringSubmatch(string(page), -1)
	if len(steps) < 8 {
		t.Fatalf("the page has %d steps", len(steps))
	}
	for _, s := range steps {
		kind, what, path, text := s[1], s[2], s[3], s[4]
		switch {
		case s[5] != "":
			runIn(t, folder, root, s[5])
		case kind == "sh" && what == "run":
			runIn(t, folder, root, text)
		case kind == "go" && what == "file":
			path = filepath.Join(folder, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case kind == "go" && what == "in":
			source, err := os.ReadFile(filepath.Join(root, path))
			if err != nil || !strings.Contains(string(source), text) {
				t.Errorf("error %v; this is not in %s:\n%s", err, path, text)
			}
		default:
			t.Errorf("a step of no kind: %s", s[0])
		}
	}
}

func runIn(t *testing.T, folder, root, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-c", script)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PERDURE="+root, "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
}

var (
	makeTarget = regexp.MustCompile(`make ([a-z][a-z0-9_-]*)`)
	parameter  = regexp.MustCompile("`([A-Z]\\w+)`")
	cell       = regexp.MustCompile(`(?m)^\| ([^|]+) \|`)
	override   = regexp.MustCompile(`\b([A-Z][A-Za-z]+)=\w`)
)

func TestThePageOnDeployingNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	page, makefile, template := read("deploy.md"), read("../Makefile"), read("../template.yaml")
	parameters, _, _ := strings.Cut(template, "\nConditions:")
	named := map[string]bool{}
	for _, first := range found(cell, page) {
		for _, name := range found(parameter, first) {
			named[name] = true
		}
	}
	for _, m := range override.FindAllStringSubmatch(page, -1) {
		named[m[1]] = true
	}
	for name := range named {
		if !strings.Contains(parameters, "\n  "+name+":\n") {
			t.Errorf("the template has no parameter %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^  (\w+):$`).FindAllStringSubmatch(parameters, -1) {
		if !named[m[1]] {
			t.Errorf("parameter %s is not on the page", m[1])
		}
	}
	for _, target := range found(makeTarget, page) {
		if !strings.Contains(makefile, "\n"+target+":") && target != "targets" {
			t.Errorf("the Makefile has no target %s", target)
		}
	}
	for _, file := range found(regexp.MustCompile(`(localtest/[a-z/-]+\.json)`), page) {
		read("../" + file)
	}
	for _, output := range found(regexp.MustCompile("output `(\\w+)`"), page) {
		if !strings.Contains(template, "\n  "+output+":\n") {
			t.Errorf("the template has no output %s", output)
		}
	}
}

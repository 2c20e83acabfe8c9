//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shown returns the indented block of docs/cli.md whose first line begins so, without the indentation.
func shown(t *testing.T, begins string) string {
	t.Helper()
	source, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(source)) {
		text, indented := strings.CutPrefix(line, "    ")
		switch {
		case b.Len() == 0 && (!indented || !strings.HasPrefix(text, begins)):
		case indented || line == "\n":
			b.WriteString(strings.TrimPrefix(line, "    "))
		default:
			return strings.TrimSpace(b.String()) + "\n"
		}
	}
	t.Fatalf("no block of the page begins with %q", begins)
	return ""
}

// The released version cannot be had before it is released, so its path is installed from here.
func TestTheInstalledCommandPrintsWhatThePageShowsOfInit(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin, work := t.TempDir(), t.TempDir()
	env := append(bare(t, tools(t)...), "GOBIN="+bin)
	run := func(dir, command string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = slices.Concat(env, []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")})
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	install, latest := strings.CutSuffix(shown(t, "go install "), "@latest\n")
	if !latest || strings.Contains(install, "\n") {
		t.Fatalf("the page installs by %q", install)
	}
	run(checkout, install)
	if _, err := os.Stat(filepath.Join(bin, "perdure")); err != nil {
		t.Fatal(err)
	}
	if out := run(work, "perdure version"); !regexp.MustCompile(`^perdure \S+, go1\.\d+`).MatchString(out) {
		t.Errorf("it is of version %q", out)
	}
	command, want, _ := strings.Cut(strings.TrimPrefix(shown(t, "$ perdure init "), "$ "), "\n")
	if diff := cmp.Diff(want, run(work, command+" --replace '"+checkout+"'")); diff != "" {
		t.Errorf("%s: -page +run\n%s", command, diff)
	}
}

// The page's first way was that of a version that is published, which nobody who only has a clone can go.
func TestTheCommandOfACloneIsInstalledAsThePageSays(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	home, bin := t.TempDir(), t.TempDir()
	if err := os.Symlink(checkout, filepath.Join(home, "perdure")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", shown(t, "cd perdure "))
	cmd.Dir = home
	cmd.Env = append(bare(t, tools(t)...), "HOME="+home, "GOBIN="+bin, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "shop has a new application:") || !regexp.MustCompile(`(?m)^ok\s+shop/tasks`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

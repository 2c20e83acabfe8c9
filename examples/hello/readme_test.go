package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTheReadmesFirstTaskIsThisProgramAndRuns(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(program), "package main")
	if !strings.Contains(string(readme), "```go\npackage main"+body+"```") {
		t.Error("README.md does not show main.go as it is")
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", ".").CombinedOutput()
	if err != nil || string(out) != "hello, world\n" {
		t.Errorf("it printed %q, error %v", out, err)
	}
}

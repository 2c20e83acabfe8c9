package dev

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTasksThatASourceMakesAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain.go": `package tasks

import "github.com/perdure-dev/perdure/core"

var (
	a = core.NewTask("a", run, core.TaskOptions{})
	b = core.NewSleepingTask[int](` + "`b`" + `, core.TaskOptions{})
	c = core.NewParentTaskWithFinalize[int, int, int]("c", run, end, core.TaskOptions{}).Validate(check)
	// core.NewTask("in a comment", run, core.TaskOptions{})
	d = core.NewTask(name, run, core.TaskOptions{}) // nobody knows its id before it runs
	e = other.NewTask("of another package", run, core.TaskOptions{})
	f = core.Then(a, core.NewTask("f", run, core.TaskOptions{}))
)
`,
		"named.go": `package tasks

import durable "github.com/perdure-dev/perdure/core"

func init() { _ = durable.NewLoopingTask("g", a, durable.LoopOptions{}, durable.TaskOptions{}) }
`,
		"without.go": "package tasks\n\nvar h = core.NewTask(\"of another core\", run)\n",
		"broken.go":  "package tasks\n\nvar i = core.NewTask(\"i\"",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []Unregistered
	for _, name := range []string{"plain.go", "named.go", "without.go", "broken.go"} {
		got = append(got, madeIn(dir, filepath.Join(dir, name))...)
	}
	if diff := cmp.Diff([]Unregistered{
		{"a", "plain.go:6"}, {"b", "plain.go:7"}, {"c", "plain.go:8"}, {"f", "plain.go:12"}, {"g", "named.go:5"},
	}, got); diff != "" {
		t.Error(diff)
	}
}

package docs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
)

var (
	perdureVariable = regexp.MustCompile(`\bPERDURE_[A-Z0-9_]*[A-Z0-9]\b`)
	anyVariable     = regexp.MustCompile("`((?:PERDURE|AWS)_[A-Z0-9_]*[A-Z0-9])`")
	awsVariable     = regexp.MustCompile(`"(AWS_[A-Z0-9_]*[A-Z0-9])`)
)

// shipped returns the text of every file that is no test, no page and no part of what was built, by its path.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil || len(all) < 100 {
		t.Fatalf("%d files, error %v", len(all), err)
	}
	return all
}

func TestThePageOnVariablesHasEveryVariable(t *testing.T) {
	t.Parallel()
	page := readText(t, "configuration.md")
	shown := map[string]bool{}
	for line := range strings.Lines(page) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range found(regexp.MustCompile("`([A-Z0-9_]+)`"), cells[1]) {
				shown[name] = true
			}
		}
	}
	used, read := map[string]string{}, map[string]bool{}
	for path, text := range shipped(t) {
		for _, name := range perdureVariable.FindAllString(text, -1) {
			used[name] = path
			if strings.HasSuffix(path, ".go") && strings.Contains(text, `"`+name+`"`) {
				read[name] = true
			}
		}
		// What the SDK reads by itself is on the page as far as it matters; what this code reads must be.
		if strings.HasPrefix(path, "../functions/") || strings.HasPrefix(path, "../cmd/perdure/internal/cli/") ||
			strings.HasPrefix(path, "../dynamostore/") {
			for _, name := range found(awsVariable, text) {
				used[name], read[name] = path, true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if !shown[name] {
			t.Errorf("%s, which %s names, has no row in configuration.md", name, used[name])
		}
	}
	for _, name := range found(anyVariable, page) {
		if strings.HasPrefix(name, "PERDURE_") && !read[name] {
			t.Errorf("configuration.md names %s, which nothing reads", name)
		}
	}
	if len(read) < 15 {
		t.Errorf("%d variables were found", len(read))
	}
}

// Other pages name variables too.
func TestEveryVariableThatAPageNamesIsOnThePageOfVariables(t *testing.T) {
	t.Parallel()
	all := readText(t, "configuration.md")
	for page, text := range pages(t) {
		for _, name := range append(found(anyVariable, text), perdureVariable.FindAllString(text, -1)...) {
			if !strings.Contains(all, "`"+name+"`") {
				t.Errorf("%s names %s, which configuration.md does not", page, name)
			}
		}
	}
}

// Two pages said 3 s still when it was 4 s.
func TestEveryPageLeavesTheSameTimeToStartAndToFlush(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../template.yaml", "../cmd/perdure/internal/cli/run.go"} {
		if said := found(regexp.MustCompile(`, less (\d+) s\b`), readText(t, name)); len(said) != 1 || said[0] != "4" {
			t.Errorf("%s says %q", name, said)
		}
	}
	n := 0
	for name, page := range pages(t) {
		for _, said := range found(regexp.MustCompile(`\bless (\d+) s\b`), page) {
			if n++; said != "4" {
				t.Errorf("%s says that a task's timeout must fit the function's less %s s", name, said)
			}
		}
	}
	if n < 6 {
		t.Errorf("%d were found", n)
	}
	minute := core.Config{FunctionTimeout: time.Minute}
	if left := time.Minute - minute.LongestTimeout(); left != 4*time.Second {
		t.Errorf("it is %s", left)
	}
}

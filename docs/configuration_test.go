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

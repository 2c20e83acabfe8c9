package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Example)\w*)\(`)
	scenario = regexp.MustCompile(`(?m)^\t"([^"]+)": +func\(v visitor\)`)
	inTicks  = regexp.MustCompile("`((?:Test|Example)\\w*)`")
	inStars  = regexp.MustCompile(`\*([^*]+)\*`)
)

// found returns what a pattern's first group matches.
func found(pattern *regexp.Regexp, text string) []string {
	var all []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestTheTableOfFeaturesNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	var functions, scenarios []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		functions = append(functions, found(testFunc, string(source))...)
		if filepath.Base(path) == "scenarios_test.go" {
			scenarios = append(scenarios, found(scenario, string(source))...)
		}
		return err
	})
	if err != nil || len(functions) == 0 || len(scenarios) == 0 {
		t.Fatalf("%d functions, %d scenarios, error %v", len(functions), len(scenarios), err)
	}
	page, err := os.ReadFile("features.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(page), "## ")
	named, shown := found(inTicks, tables), found(inStars, tables)
	for _, name := range named {
		if !slices.Contains(functions, name) {
			t.Errorf("%s is named and does not exist", name)
		}
	}
	for _, name := range shown {
		if !slices.Contains(scenarios, name) {
			t.Errorf("scenario %q is named and does not exist", name)
		}
	}
	for _, name := range functions {
		if strings.HasPrefix(name, "Example") && !slices.Contains(named, name) {
			t.Errorf("%s is not in the table", name)
		}
	}
	for _, name := range scenarios {
		if !slices.Contains(shown, name) {
			t.Errorf("scenario %q is not in the table", name)
		}
	}
	for line := range strings.Lines(tables) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && !strings.Contains(line, "---") && !strings.Contains(line, "| feature |") &&
			(!strings.Contains(cells[2], "`Example") || strings.TrimSpace(cells[3]) == "") {
			t.Errorf("a feature without an example or a proof: %s", line)
		}
	}
}

package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// The code of these pages is that of tests, word for word.
func TestPagesShowCodeThatIsTested(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]string{
		"testing.md":       "../core/coretest/coretest_test.go",
		"observability.md": "../otelperdure/example_test.go",
	} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(of)
		if err != nil {
			t.Fatal(err)
		}
		blocks := found(goBlock, string(page))
		if len(blocks) == 0 {
			t.Errorf("%s shows no code", name)
		}
		for _, block := range blocks {
			if !strings.Contains(string(source), block) {
				t.Errorf("%s: this is not in %s:\n%s", name, of, block)
			}
		}
	}
}

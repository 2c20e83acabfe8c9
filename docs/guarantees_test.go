package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The code that docs/guarantees.md shows is that of an example, which is run.
func TestTheCodeOfTheGuaranteesIsRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../dynamostore/once_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatal("the page shows no code")
	}
	for _, b := range blocks {
		if !strings.Contains(string(example), b[1]) {
			t.Errorf("this is not in ExampleOnce:\n%s", b[1])
		}
	}
}

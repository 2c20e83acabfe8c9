package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/localtest/cfn"
	"github.com/perdure-dev/perdure/localtest/events"
)

func TestThePageOnSamLocalNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	page := readText(t, "sam-local.md")
	template, err := cfn.Read("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// An event is given to the function that it is for.
	of := map[string]map[string]bool{}
	for _, e := range events.All() {
		if of[e.File] == nil {
			of[e.File] = map[string]bool{}
		}
		of[e.File][e.Resource()] = true
	}
	invoked := regexp.MustCompile(`(?:invoke |functions/|--function-name )(\w+Function)[^\n]*(?:\n +--payload file:)?[^\n]*localtest/events/([\w-]+\.json)`).FindAllStringSubmatch(page, -1)
	if len(invoked) < 6 {
		t.Errorf("%d invocations were found", len(invoked))
	}
	for _, m := range invoked {
		if !of[m[2]][m[1]] {
			t.Errorf("%s is no event for %s", m[2], m[1])
		}
	}
	for _, name := range found(regexp.MustCompile(`\b((?:StartReady|ProcessChildren|Close|Timeouts|Cancellation|Enqueue)\w*Function)\b`), page) {
		if cfn.At(template, "Resources", name) == nil {
			t.Errorf("the template has no %s", name)
		}
	}
	for _, name := range found(regexp.MustCompile("`([a-z]+-tick\\.json)`"), page) {
		if len(of[name]) == 0 {
			t.Errorf("there is no event %s", name)
		}
	}
	// What the page says of the table and of the variables is so.
	var env struct{ Parameters map[string]string }
	if err := json.Unmarshal([]byte(readText(t, "../localtest/env.json")), &env); err != nil {
		t.Fatal(err)
	}
	program := readText(t, "../localtest/samlocal/main.go")
	for _, says := range []string{`table = "` + env.Parameters["PERDURE_TABLE"] + `"`, `port  = "8000"`} {
		if !strings.Contains(program, says) {
			t.Errorf("make sam-table has no %s", says)
		}
	}
	for _, says := range []string{"PERDURE_TABLE=" + env.Parameters["PERDURE_TABLE"] + " ", "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000\n"} {
		if !strings.Contains(page, says) {
			t.Errorf("the page has no %q", says)
		}
	}
	for name := range env.Parameters {
		if cfn.At(template, "Globals", "Function", "Environment", "Variables", name) == nil {
			t.Errorf("the template does not name %s, so sam local would not set it", name)
		}
	}
	for _, path := range found(regexp.MustCompile(`\b(localtest/[\w/.-]+\.json)`), page) {
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			t.Error(err)
		}
	}
}

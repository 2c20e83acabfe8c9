package docs

import (
	"regexp"
	"strings"
	"testing"
)

// sayings are the cells and lines in which the page quotes a message: in a first column, before a colon, or after "Log:".
var sayings = []*regexp.Regexp{
	regexp.MustCompile("(?m)^\\| `([^`]+)`"),
	regexp.MustCompile("(?m)^\\| `[^`]+`, `([^`]+)`"),
	regexp.MustCompile("(?m)^(?:- )?`([^`]+)`(?: … `[^`]+`)?(?:, or [^:]*)?:"),
	regexp.MustCompile("(?:[Ll]og: |then says |is answered |sleeper: |For\n)`([^`]+)`"),
	regexp.MustCompile("(?m)^\\| `[^`]+` after `([^`]+)`"),
}

func TestThePageOnTroubleQuotesWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	page := readText(t, "troubleshooting.md")
	code := strings.Join(sources(t), "\n")
	// These are said by Lambda and by Go, or are a failure's code.
	others := map[string]bool{"signal: killed": true, "panic:": true, "Task timed out": true, "exit status": true}
	n := 0
	for _, pattern := range sayings {
		for _, said := range found(pattern, page) {
			n++
			if !others[said] && !strings.Contains(code, said) {
				t.Errorf("nothing says %q", said)
			}
		}
	}
	if n < 35 {
		t.Errorf("%d quotes were found", n)
	}
}

// Each failure code, and each status of an execution that did not complete, is explained.
func TestThePageOnTroubleHasEveryFailureCode(t *testing.T) {
	t.Parallel()
	page := readText(t, "troubleshooting.md")
	codes := found(regexp.MustCompile(`(?m)^\tCode\w+ +FailureCode += "(\w+)"`), strings.Join(sources(t), "\n"))
	if len(codes) < 8 {
		t.Fatalf("the codes are %q", codes)
	}
	for _, code := range append(codes, "finalize_failed") {
		if code != "failed" && !strings.Contains(page, code) {
			t.Errorf("the page does not explain %s", code)
		}
	}
}

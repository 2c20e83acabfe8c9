package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/localtest/stack"
)

const page = "../../docs/cli.md"

var (
	console = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	// vary is what differs from one run to the next.
	vary = []struct {
		pattern *regexp.Regexp
		name    string
	}{
		{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
		{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m\d\ds|h\d\dm)\b`), "SPAN"},
		{regexp.MustCompile(`\b[a-z]+\.[A-Za-z0-9_-]{16,}\b`), "ID"},
		{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
		{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
		{regexp.MustCompile(`perdure-[a-z0-9]{10,}`), "TABLE"},
		{regexp.MustCompile(`go1\.\d+(\.\d+)?`), "GO"},
		{regexp.MustCompile(` {2,}`), "  "},
		{regexp.MustCompile(`(?m)^(ready|running|sleeping|parent|parent-claimed|finished|close|closing)  \d+( +(in SPAN|SPAN late))?`), "$1  DEPTH"},
		{regexp.MustCompile(`(SPAN  |write units  )\d+`), "${1}UNITS"}, // a child costs more when it takes longer
		{regexp.MustCompile(`\d+ write units`), "UNITS write units"},
	}
)

func settled(text string) string {
	for _, v := range vary {
		text = v.pattern.ReplaceAllString(text, v.name)
	}
	return text
}

// The page's commands are run in their order by a shell, as a reader would.
func TestThePageShowsWhatTheCommandsPrint(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{List: true})
	showsWhatIsPrinted(t, page, 10, w.env, func(command string) string { return command })
}

// showsWhatIsPrinted runs the commands of a page's blocks, least of them at the least, and compares what they print. change
// may change a command before it is run.
func showsWhatIsPrinted(t *testing.T, page string, least int, env []string, change func(command string) string) {
	t.Helper()
	source, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := console.FindAllSubmatchIndex(source, -1)
	if len(blocks) < least {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	var written bytes.Buffer
	from := 0
	for _, b := range blocks {
		shown := string(source[b[2]:b[3]])
		ran := ""
		for line := range strings.Lines(shown) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec 2>&1; "+change(command))
				cmd.Env = bare(t, env...)
				ran += line + outcomeOf(t, cmd).stdout
			}
		}
		if diff := cmp.Diff(settled(shown), settled(ran)); diff != "" && !*update {
			t.Errorf("-page +run\n%s", diff)
		}
		written.Write(source[from:b[2]])
		written.WriteString(ran)
		from = b[3]
	}
	written.Write(source[from:])
	if *update {
		if err := os.WriteFile(page, written.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

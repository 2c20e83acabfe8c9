package scaffold

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the application's template anew from the root's")

// programs are the values of PERDURE_FUNCTION.
var programs = map[string]string{
	"StartReadyFunction": "start_ready", "ProcessChildrenFunction": "process_children", "CloseFunction": "close",
	"TimeoutsFunction": "timeouts", "CancellationFunction": "cancellation", "EnqueueFunction": "enqueue",
}

var (
	resource  = regexp.MustCompile(`(?m)^  (\w+):\n    Type: AWS::Serverless::Function\n`)
	variables = "      Environment:\n        Variables:\n"
	role      = regexp.MustCompile(`(?m)^      Role: .*\n`)
)

// fromRoot makes the template of an application of one program out of this repository's, which has six.
func fromRoot(t *testing.T, text string) string {
	t.Helper()
	text = strings.ReplaceAll(text, "BuildMethod: makefile", "BuildMethod: go1.x")
	starts := resource.FindAllStringSubmatchIndex(text, -1)
	if len(starts) != len(programs) {
		t.Fatalf("the root's template has %d functions", len(starts))
	}
	out := text[:starts[0][0]]
	for i, s := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		section, name := text[s[0]:end], text[s[2]:s[3]]
		line := "          PERDURE_FUNCTION: " + programs[name] + "\n"
		at := role.FindStringIndex(section)
		if i := strings.Index(section, variables); i >= 0 {
			section = section[:i+len(variables)] + line + section[i+len(variables):]
		} else {
			section = section[:at[1]] + variables + line + section[at[1]:]
		}
		out += section
	}
	return out
}

func TestTheApplicationsTemplateIsTheRootsForOneProgram(t *testing.T) {
	t.Parallel()
	root, err := os.ReadFile("../../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := fromRoot(t, string(root))
	if *update {
		if err := os.WriteFile("app/template.yaml", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(Template())); diff != "" {
		t.Errorf("template.yaml has changed: go test ./cmd/perdure/internal/scaffold -update (-want +got):\n%s", diff)
	}
}

func TestAnApplicationIsWrittenIntoAnEmptyFolderAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "shop")
	files, err := Write(dir, App{Module: "example.com/shop", Version: "v1.2.3"})
	if err != nil || len(files) != 9 {
		t.Fatalf("%d files: %v, error %v", len(files), files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(text) == 0 || name != "template.yaml" && strings.Contains(string(text), "{{") {
			t.Errorf("%s: error %v\n%s", name, err, text)
		}
	}
	mod, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
	if diff := cmp.Diff("module example.com/shop\n\ngo 1.26\n\nrequire github.com/perdure-dev/perdure v1.2.3\n\n", string(mod)); diff != "" {
		t.Error(diff)
	}
	if _, err := Write(dir, App{Module: "example.com/shop"}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second time: error %v", err)
	}
	for _, module := range []string{"", "a b", "/x", "x/", "../x"} {
		if _, err := Write(filepath.Join(dir, "below"), App{Module: module}); err == nil {
			t.Errorf("module %q was taken", module)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "below")); err == nil {
		t.Error("something was left")
	}
}

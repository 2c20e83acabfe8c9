package scaffold

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/functions/handler"
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
	if err != nil || len(files) != 15 {
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
	// Others may read it, as far as the umask lets them.
	umask := umaskOf(t)
	for name, mode := range map[string]os.FileMode{".": 0o755, "tasks": 0o755, "main.go": 0o644, "events/tick.json": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode&^umask {
			t.Errorf("%s: %v, error %v", name, info.Mode(), err)
		}
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

// umaskOf returns the bits that new files lack here.
func umaskOf(t *testing.T) os.FileMode {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(name, 0o777); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return 0o777 &^ info.Mode().Perm()
}

// sam local sets only variables that the template names, and hands events on as they are.
func TestTheApplicationsEventsAndEnvironmentAreWhatTheFunctionsTake(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	files, err := Write(dir, App{Module: "example.com/shop"})
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ Parameters map[string]string }
	read := func(name string, v any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	read("env.json", &env)
	if len(env.Parameters) == 0 {
		t.Error("env.json sets nothing")
	}
	for name := range env.Parameters {
		if !strings.Contains(string(Template()), "\n        "+name+": ") {
			t.Errorf("the template does not name %s", name)
		}
	}
	requests := 0
	for _, name := range files {
		switch {
		case !strings.HasPrefix(name, "events/"):
		case name == "events/tick.json" || name == "events/stream.json":
			read(name, &map[string]any{})
		default:
			var r handler.Request
			if read(name, &r); r.Action == "" {
				t.Errorf("%s asks for nothing", name)
			}
			requests++
		}
	}
	if requests < 3 {
		t.Errorf("%d requests", requests)
	}
}

func TestWhatGoSaysWhenItCannotHavePerdureIsKnown(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"main.go:5:2: no required module provides package github.com/perdure-dev/perdure/functions/handler; to add it:",
		"go: shop imports\n\tgithub.com/perdure-dev/perdure/core: cannot find module providing package github.com/perdure-dev/perdure/core: module lookup disabled by GOPROXY=off",
		"module github.com/perdure-dev/perdure/core: reading https://proxy.golang.org/github.com/perdure-dev/perdure/core/@v/list: 404 Not Found",
		"main.go:2:8: missing go.sum entry for module providing package github.com/perdure-dev/perdure/core (imported by v); to add:",
		"github.com/perdure-dev/perdure/core: github.com/perdure-dev/perdure@v0.0.0-20260101000000-abcdefabcdef: invalid version: git ls-remote -q",
		`Get "https://127.0.0.1:1/github.com/perdure-dev/perdure/@v/v0.1.0.zip": dial tcp 127.0.0.1:1: connect: connection refused`,
	} {
		for _, says := range []string{"cd shop && go mod edit -replace github.com/perdure-dev/perdure=", "perdure init --replace "} {
			if hint := Unfetched(said, "shop"); !strings.Contains(hint, says) {
				t.Errorf("of %s it says %q", said, hint)
			}
		}
	}
	for _, said := range []string{
		"main.go:3:6: x declared and not used",
		"tasks.go:9:2: cannot use 1 (untyped int constant) as *core.Task[string, string] value in argument to github.com/perdure-dev/perdure/core.NewRegistry",
		"no required module provides package github.com/other/perdure; to add it:",
	} {
		if hint := Unfetched(said, "shop"); hint != "" {
			t.Errorf("of %s it says %q", said, hint)
		}
	}
}

// An application in a folder called net was written, and could not be built.
func TestAModuleThatGoDoesNotBuildIsRefused(t *testing.T) {
	t.Parallel()
	for _, module := range []string{
		"net", "testing", "cmd", "vendor", "encoding/shop", "con", "example.com/aux/shop", "example.com/nul.shop", "example.com/../shop",
		"example.com/shop.", "example.com/.shop", corePath,
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if _, err := Write(dir, App{Module: module}); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), module) {
			t.Errorf("%s: error %v", module, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was written: %v", module, err)
		}
	}
	for _, module := range []string{"shop", "main", "2024", "core", "shop.v2", "example.com/net", "console", "github.com/perdure-dev/perdure-shop"} {
		if err := (App{Module: module}).check(); err != nil {
			t.Error(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "std", "cmd").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if first, _, _ := strings.Cut(path, "/"); !slices.Contains(inGo, first) {
			t.Errorf("Go's own %s is not in the list", path)
		}
	}
}

// sam deploy refused the stack of an application called shop_x, or 2024.
func TestTheStackHasANameThatCloudFormationTakes(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{
		"shop": "shop", "github.com/me/shop": "shop", "shop_x": "shop-x", "shop.v2": "shop-v2", "2024": "app-2024", "a/-x": "app--x",
		"example.com/" + strings.Repeat("x", 200): strings.Repeat("x", 128),
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if _, err := Write(dir, App{Module: module}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "samconfig.toml"))
		if err != nil || !strings.Contains(string(text), `stack_name = "`+want+`"`) {
			t.Errorf("%s: want %s, error %v\n%s", module, want, err, text)
		}
	}
}

// Where a folder's name has a space the go.mod could not be read, and the line to go on with not be pasted.
func TestFoldersWithSpacesInTheirNamesWork(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "my source", "it's")
	if err := os.MkdirAll(source, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "go.mod"), []byte("module "+corePath+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := Write(dir, App{Module: "shop", Replace: source}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Replace.Path}}", corePath)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != source {
		t.Errorf("it is replaced by %s, error %v", out, err)
	}
	for text, want := range map[string]string{
		"shop": "shop", "/home/me/shop-2.1": "/home/me/shop-2.1", "../shop": "../shop", "my shop": "'my shop'", "it's": `'it'\''s'`, "~shop": "'~shop'",
		"a$(b)": "'a$(b)'", "": "''",
	} {
		if got := Shell(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

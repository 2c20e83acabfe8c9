// Package scaffold writes new applications.
package scaffold

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed all:app
var app embed.FS

// The modes of what is written, less the umask: sources are everybody's to read.
const (
	fileMode   = 0o644
	folderMode = 0o755
)

// suffix is what files of the templates have behind their names, so that no tool takes them for what they will be.
const suffix = ".tmpl"

// Template returns the SAM template of a new application.
func Template() []byte {
	text, err := app.ReadFile("app/template.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	return text
}

// App is what a new application is called.
type App struct {
	// Module is its module path.
	Module string
	// Version is the version of perdure that it is written for; empty for the latest.
	Version string
	// Replace is a folder with the source of perdure, to build with that; it goes before Version.
	Replace string
}

// corePath is the module path of perdure itself.
const corePath = "github.com/perdure-dev/perdure"

// Unfetched returns what to do when Go says that it cannot have perdure itself, for an application in dir; empty when it says
// something else.
func Unfetched(said, dir string) string {
	if !lacks.MatchString(said) {
		return ""
	}
	source := cmp.Or(sourceFolder(), "DIR")
	hint := fmt.Sprintf("Go cannot fetch perdure itself, as when it is not published where Go looks: build with the source in a clone of it: cd %s && go mod edit -replace %s=%s && go mod tidy; a new application gets that by perdure init --replace %s",
		Shell(dir), corePath, Shell(source), Shell(source))
	if source == "DIR" {
		hint += ", DIR being the clone's folder"
	}
	return hint
}

// lacks is how Go says that it cannot have perdure.
var lacks = regexp.MustCompile(`(package|module|reading) github\.com/perdure-dev/perdure|github\.com/perdure-dev/perdure@\S+: |//\S*/github\.com/perdure-dev/perdure`)

// sourceFolder returns the folder of the source that this program was built from, where that is a clone that is still there;
// else an empty text.
func sourceFolder() string {
	_, file, _, ok := runtime.Caller(0)
	dir, here := strings.CutSuffix(filepath.ToSlash(file), "/cmd/perdure/internal/scaffold/scaffold.go")
	if !ok || !here || strings.Contains(dir, "@") { // a version in Go's cache of modules
		return ""
	}
	if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || !strings.HasPrefix(string(text), "module "+corePath+"\n") {
		return ""
	}
	return filepath.FromSlash(dir)
}

// Name is the last part of the module's path.
func (a App) Name() string { return a.Module[strings.LastIndexByte(a.Module, '/')+1:] }

// plain matches texts that need quotes neither in a shell nor in go.mod.
var plain = regexp.MustCompile(`^[A-Za-z0-9._~:+@%=-]*(/[A-Za-z0-9._~:+@%=-]+)*/?$`)

// Shell returns the text quoted, where it needs that, so that a POSIX shell reads it as one word.
func Shell(text string) string {
	if text != "" && plain.MatchString(text) && text[0] != '~' {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Source returns Replace as go.mod needs it: quoted where it has a space or another special character.
func (a App) Source() string {
	if plain.MatchString(a.Replace) {
		return a.Replace
	}
	return strconv.Quote(a.Replace)
}

// Stack returns a stack name that CloudFormation accepts: letters, digits and '-', a letter first, at most 128 characters
// (AWS documentation, CreateStack, StackName).
func (a App) Stack() string {
	name := notInStack.ReplaceAllString(a.Name(), "-")
	if first := name[0]; first < 'A' || first > 'z' || first > 'Z' && first < 'a' {
		name = "app-" + name
	}
	return name[:min(len(name), 128)]
}

var notInStack = regexp.MustCompile(`[^A-Za-z0-9]+`)

var modulePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)*$`)

// ErrModule means that a module path is none.
var ErrModule = errors.New("module path must have letters, digits, '-', '_', '.' and '/'")

// ErrTaken means that Go cannot build a module of this path: it is a package of Go's own, perdure's, or holds a part that Go refuses.
var ErrTaken = errors.New("Go cannot build a module of this path")

// inGo are the first parts of the import paths of Go's own packages. The go command prefers those to a module's.
var inGo = strings.Fields(`archive bufio builtin bytes cmd cmp compress container context crypto database debug embed encoding
	errors expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect regexp runtime
	slices sort strconv strings structs sync syscall testing text time unicode unique unsafe vendor weak`)

// forbidden are parts of a path that Go refuses: names that Windows does not have for files, and those with a dot at an end.
var forbidden = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$|^\.|\.$`)

// check returns what is wrong with the module's path.
func (a App) check() error {
	if !modulePattern.MatchString(a.Module) {
		return fmt.Errorf("%q: %w", a.Module, ErrModule)
	}
	parts := strings.Split(a.Module, "/")
	switch {
	case slices.Contains(inGo, parts[0]):
		return fmt.Errorf("%q: %w: Go has its own package %s", a.Module, ErrTaken, parts[0])
	case a.Module == corePath:
		return fmt.Errorf("%q: %w: it is perdure's own", a.Module, ErrTaken)
	}
	for _, part := range parts {
		if forbidden.MatchString(part) {
			return fmt.Errorf("%q: %w: Go refuses the part %q", a.Module, ErrTaken, part)
		}
	}
	return nil
}

// Write writes the application into a folder, which must not exist or be empty, and returns the names of its files.
// When it fails, no file is left that it wrote.
func Write(dir string, a App) (files []string, err error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	made, err := emptyFolder(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		for _, name := range files {
			_ = os.Remove(filepath.Join(dir, name))
		}
		for _, name := range []string{"tasks", "events"} {
			_ = os.Remove(filepath.Join(dir, name))
		}
		if made {
			_ = os.Remove(dir)
		}
	}()
	err = fs.WalkDir(app, "app", func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, "app"), "/")
		if err != nil || name == "" {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), folderMode)
		}
		text, err := render(path, a)
		if err != nil {
			return err
		}
		name = strings.TrimSuffix(name, suffix)
		if name == "gitignore" {
			name = ".gitignore"
		}
		files = append(files, name)
		return os.WriteFile(filepath.Join(dir, name), text, fileMode)
	})
	return files, err
}

func render(path string, a App) ([]byte, error) {
	text, err := app.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, suffix) {
		return text, err
	}
	t, err := template.New(path).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, a)
	return bytes.TrimLeft(b.Bytes(), "\n"), err
}

// emptyFolder makes sure that there is an empty folder, and reports whether it made it.
func emptyFolder(dir string) (made bool, err error) {
	there, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(dir, folderMode)
	case err != nil:
		return false, err
	case len(there) > 0:
		return false, fmt.Errorf("folder %s is not empty: name a new one", dir)
	}
	return false, nil
}

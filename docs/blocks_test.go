package docs

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// Every page is checked by the same rules:
//
//	block of Go         is in a Go file of this repository, word for word, so that it is compiled and run with that
//	block of JSON, YAML parses
//	block of commands   has a marker above it, which holds until the next one: <!-- run: TestName --> names the test that
//	                    runs it, <!-- not run: why --> says why there is none
//	link                leads to a file, and to a heading of it
//	`name of a test`    is one

// block is a block of code of a page: fenced, or indented where it is of commands.
type block struct {
	page   string
	line   int
	lang   string // the fence's first word; "commands" for an indented block
	info   string // what follows it
	marker string // the marker that holds for it, without "<!--"; empty for none
	text   string
}

var (
	fence    = regexp.MustCompile("^```(\\S*) ?(.*)$")
	marker   = regexp.MustCompile(`^<!-- ((?:run|not run): .+?) -->$`)
	commands = regexp.MustCompile(`^    (?:\$ )?(?:go|make|perdure|sam|aws|curl|git|docker|[A-Z_]+=\S+) `)
	runBy    = regexp.MustCompile(`^run: (Test\w+)$`)
	makes    = regexp.MustCompile(`\bmake ([a-z][a-z0-9_-]*)`)
	goRun    = regexp.MustCompile(`\bgo (?:run|install) (?:\./|github\.com/perdure-dev/perdure/)([a-z/]+)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code     = regexp.MustCompile("`[^`\n]*`")
	named    = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w*)\(`)
)

// pages returns the text of every page by its path from the repository's root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md", "../examples/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[path] = string(text)
		}
	}
	if len(all) < 10 {
		t.Fatalf("there are %d pages", len(all))
	}
	return all
}

// sources returns the text of every Go file of the repository, without its indentation.
func sources(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// flat returns text without indentation and empty lines at its ends.
func flat(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		b.WriteString(strings.TrimLeft(line, " \t"))
	}
	return strings.TrimRight(b.String(), "\n")
}

// blocksOf returns the blocks of a page.
func blocksOf(page, text string) []block {
	var all []block
	var open *block
	indented, held := false, ""
	for i, line := range strings.Split(text, "\n") {
		switch m := fence.FindStringSubmatch(line); {
		case open != nil && line == "```":
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case m != nil:
			open = &block{page: page, line: i + 1, lang: m[1], info: m[2], marker: held}
		case marker.MatchString(line):
			held = marker.FindStringSubmatch(line)[1]
		case !indented && commands.MatchString(line+" "):
			all = append(all, block{page: page, line: i + 1, lang: "commands", marker: held, text: line + "\n"})
		case indented && strings.HasPrefix(line, "    ") && len(all) > 0 && all[len(all)-1].lang == "commands":
			all[len(all)-1].text += line + "\n"
		}
		indented = strings.HasPrefix(line, "    ")
	}
	return all
}

func TestEveryBlockOfCodeIsRunOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	files := sources(t)
	var tests, flatFiles []string
	for _, f := range files {
		tests = append(tests, found(declared, f)...)
		flatFiles = append(flatFiles, flat(f))
	}
	makefiles := readText(t, "../Makefile") + readText(t, "../examples/orders/Makefile")
	for page, text := range pages(t) {
		for _, b := range blocksOf(page, text) {
			at := func(format string, args ...any) {
				t.Helper()
				t.Errorf("%s:%d: "+format, append([]any{b.page, b.line}, args...)...)
			}
			ran := runBy.FindStringSubmatch(b.marker)
			if ran != nil && !slices.Contains(tests, ran[1]) {
				at("test %s does not exist", ran[1])
			}
			switch b.lang {
			case "go":
				shown := flat(b.text)
				if ran == nil && !slices.ContainsFunc(flatFiles, func(f string) bool { return strings.Contains(f, shown) }) {
					at("this is in no Go file:\n%s", b.text)
				}
			case "sh", "console", "commands":
				for _, target := range found(makes, b.text) {
					if !strings.Contains(makefiles, "\n"+target+":") {
						at("no Makefile has a target %s", target)
					}
				}
				for _, path := range found(goRun, b.text) {
					if _, err := os.Stat(filepath.Join("..", path)); err != nil {
						at("there is no %s", path)
					}
				}
				if b.marker == "" {
					at("neither <!-- run: TestName --> nor <!-- not run: why --> holds for this:\n%s", b.text)
				}
			case "json":
				if !json.Valid([]byte(b.text)) {
					at("this is no JSON:\n%s", b.text)
				}
			case "yaml":
				var v any
				if err := yaml.Unmarshal([]byte(b.text), &v); err != nil {
					at("this is no YAML: %v\n%s", err, b.text)
				}
			case "", "mermaid", "toml": // drawings, and what the page's own test reads
			default:
				at("nobody checks a block of %q", b.lang)
			}
		}
	}
}

// anchor returns the fragment that leads to a heading, as GitHub makes it.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteRune('-')
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestEveryLinkLeadsSomewhereAndEveryNamedTestExists(t *testing.T) {
	t.Parallel()
	var tests []string
	for _, f := range sources(t) {
		tests = append(tests, found(declared, f)...)
	}
	fenced := regexp.MustCompile("(?ms)^```.*?^```$")
	for page, text := range pages(t) {
		for _, name := range found(named, text) {
			if !slices.Contains(tests, name) {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
		prose := code.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
		for _, target := range found(link, prose) {
			if strings.Contains(target, "://") {
				continue
			}
			path, fragment, _ := strings.Cut(target, "#")
			at := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				at = page
			}
			if _, err := os.Stat(at); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, target)
				continue
			}
			if fragment == "" {
				continue
			}
			there, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			var anchors []string
			for _, h := range found(heading, fenced.ReplaceAllString(string(there), "")) {
				anchors = append(anchors, anchor(strings.ReplaceAll(h, "`", "")))
			}
			if !slices.Contains(anchors, fragment) {
				t.Errorf("%s: %s has no heading %q", page, at, fragment)
			}
		}
	}
}

// Each page is on the list of docs/README.md, so that a reader finds it.
func TestEveryPageIsOnTheList(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for page := range pages(t) {
		if filepath.Dir(page) == "." && page != "README.md" && !strings.Contains(string(list), "]("+page+")") {
			t.Errorf("%s is not on the list", page)
		}
	}
}

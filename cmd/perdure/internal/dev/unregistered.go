package dev

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// corePath is the package whose functions make tasks.
const corePath = "github.com/perdure-dev/perdure/core"

// makers are the functions of that package that make a task of an id, their first argument.
var makers = []string{
	"NewTask", "NewParentTask", "NewParentTaskWithFinalize", "NewParentTaskWithFinalizeTask", "NewSequentialTask", "NewLoopingTask", "NewSleepingTask",
}

// Unregistered is a task that the sources make and no function knows: a parent that has it for a child fails.
type Unregistered struct {
	Task string
	// Where is the file, below the module's folder, and the line.
	Where string
}

// unregistered returns the tasks that the sources make and the functions do not know. A function that does not start is
// told elsewhere.
func (b *builder) unregistered(ctx context.Context, s *stack.Stack) []Unregistered {
	known, err := s.Request(ctx, handler.Request{Action: "tasks"})
	if err != nil || known.Error != nil {
		return nil
	}
	all, err := b.made(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(u Unregistered) bool {
		return slices.ContainsFunc(known.Tasks, func(t handler.Task) bool { return t.Task == u.Task })
	})
}

// made returns the tasks that the functions' sources make under an id that stands there as a text, in the order of their
// places. What does not parse, or is not the module's own, has none.
func (b *builder) made(ctx context.Context) ([]Unregistered, error) {
	packages := []string{b.pkg}
	if b.pkg == "" {
		packages = nil
		for _, name := range stack.Functions() {
			packages = append(packages, "./functions/"+name)
		}
	}
	const files = `{{if .Module}}{{if .Module.Main}}{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-tags", "lambda.norpc", "-f", files}, packages...)...)
	cmd.Dir = b.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []Unregistered
	for _, name := range slices.Compact(slices.Sorted(strings.FieldsFuncSeq(string(out), func(r rune) bool { return r == '\n' }))) {
		all = append(all, madeIn(b.dir, name)...)
	}
	return all, nil
}

// madeIn returns the tasks that a file makes.
func madeIn(dir, name string) (all []Unregistered) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	imported := importedAs(file)
	if imported == "" {
		return nil
	}
	shown, err := filepath.Rel(dir, name)
	if err != nil {
		shown = name
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 || !makes(call.Fun, imported) {
			return true
		}
		if id, ok := call.Args[0].(*ast.BasicLit); ok && id.Kind == token.STRING {
			if text, err := strconv.Unquote(id.Value); err == nil {
				all = append(all, Unregistered{text, shown + ":" + strconv.Itoa(set.Position(id.Pos()).Line)})
			}
		}
		return true
	})
	return all
}

// importedAs returns the name by which a file knows package core; empty when it does not.
func importedAs(file *ast.File) string {
	for _, i := range file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err != nil || p != corePath {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path.Base(corePath)
	}
	return ""
}

// makes reports whether an expression is one of the makers, with type arguments or without.
func makes(fun ast.Expr, imported string) bool {
	switch generic := fun.(type) {
	case *ast.IndexExpr:
		fun = generic.X
	case *ast.IndexListExpr:
		fun = generic.X
	}
	selector, ok := fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(makers, selector.Sel.Name) {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	return ok && pkg.Name == imported
}

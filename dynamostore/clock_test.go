package dynamostore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A read asked the clock which records are expired. What may ask it is how long the database keeps an item (it deletes by its
// own clock), and what decides nothing about records: the creation of a table, and measurements.
func TestNoStoreReadsAClockForADecision(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"parts.go Load": true, "once.go Once": true, "schema.go CreateTable": true,
		"metrics.go Metrics": true,
	}
	seen := map[string]bool{}
	for _, folder := range []string{".", "../core/memstore", "../core/storewrap"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(files) < 3 {
			t.Fatalf("%d files in %s, error %v", len(files), folder, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				ast.Inspect(f, func(n ast.Node) bool {
					s, ok := n.(*ast.SelectorExpr)
					if !ok || s.Sel.Name != "Now" && s.Sel.Name != "Since" && s.Sel.Name != "Until" {
						return true
					}
					if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "time" {
						where := filepath.Base(name) + " " + f.Name.Name
						seen[where] = true
						if !allowed[where] {
							t.Errorf("%s reads a clock: take the time as an argument", where)
						}
					}
					return true
				})
			}
		}
	}
	for where := range allowed {
		if !seen[where] {
			t.Errorf("%s does not read a clock any more", where)
		}
	}
}

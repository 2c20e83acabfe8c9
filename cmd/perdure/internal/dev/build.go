package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/scaffold"
	"github.com/perdure-dev/perdure/localtest/process"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// ErrNoFunctions means that a folder holds no functions to build.
var ErrNoFunctions = errors.New("no functions")

// builder compiles the functions of a module.
type builder struct {
	dir string // of the module
	pkg string // the program that is all functions; empty for one program each below functions/
	out string // gets <function>/bootstrap
}

// newBuilder finds out which layout the module in dir has: a program for each function below functions/, or one program,
// in the module's own folder, which handler.Start makes into all functions. pkg, when it is not empty, names the latter.
func newBuilder(dir, pkg, out string) (*builder, error) {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return nil, fmt.Errorf("%w in %s: there is no go.mod: name the module's folder with --dir, or make one with perdure init", ErrNoFunctions, dir)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("Go is not on the PATH, and perdure run builds the functions with it: install it from https://go.dev/dl: %w", err)
	}
	b := &builder{dir: dir, pkg: pkg, out: out}
	if pkg != "" {
		return b, nil
	}
	separate := true
	for _, name := range stack.Functions() {
		if _, err := os.Stat(filepath.Join(dir, "functions", name)); err != nil {
			separate = false
		}
	}
	if separate {
		return b, nil
	}
	mains, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, m := range mains {
		if text, err := os.ReadFile(m); err == nil && strings.Contains(string(text), "package main") {
			b.pkg = "."
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w in %s: it takes a main package there that calls handler.Start, or one for each of %s below functions/; --package names another",
		ErrNoFunctions, dir, strings.Join(stack.Functions(), ", "))
}

// build compiles, and puts all functions in place when all have compiled. What the compiler says is in the error.
func (b *builder) build(ctx context.Context) error {
	next, err := os.MkdirTemp(b.out, "next-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(next) }() // it is a temporary folder
	for _, name := range stack.Functions() {
		if b.pkg != "" && name != stack.Functions()[0] {
			first := filepath.Join(next, stack.Functions()[0])
			if err := os.Link(first, filepath.Join(next, name)); err != nil {
				return err
			}
			continue
		}
		pkg := b.pkg
		if pkg == "" {
			pkg = "./functions/" + name
		}
		if err := b.compile(ctx, pkg, filepath.Join(next, name)); err != nil {
			return err
		}
	}
	for _, name := range stack.Functions() {
		if err := os.MkdirAll(filepath.Join(b.out, name), 0o750); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(next, name), filepath.Join(b.out, name, "bootstrap")); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) compile(ctx context.Context, pkg, out string) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "go", "build", "-tags", "lambda.norpc", "-o", out, pkg)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said []string
	// Run ends what the compiler started too, when ctx ends.
	err := process.Run(ctx, cmd, func(line string) { said = append(said, line) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		text := strings.Join(said, "\n")
		if hint := scaffold.Unfetched(text, b.dir); hint != "" {
			text += "\n" + hint
		}
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	// For a package that is not main, go build writes an archive without the bits of an executable file.
	if info, err := os.Stat(out); err != nil || info.Mode()&0o111 == 0 {
		return fmt.Errorf("package %s is not a program: it must be package main and call handler.Start", pkg)
	}
	return nil
}

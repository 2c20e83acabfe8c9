// Package gated has tasks that wait for files, so that a test decides when they end.
package gated

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// FolderVariable names the environment variable that says where the files are.
const FolderVariable = "GATED_FOLDER"

func folder() string { return os.Getenv(FolderVariable) }

// Gate waits until there is a file of the given name.
var Gate = core.NewTask("gate", func(ctx context.Context, name string) (string, error) {
	return name, until(ctx, func() (bool, error) {
		_, err := os.Stat(filepath.Join(folder(), name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	})
}, core.TaskOptions{Timeout: 100 * time.Second})

// Meet waits until as many executions of it have begun as its input says.
var Meet = core.NewTask("meet", func(ctx context.Context, n int) (int, error) {
	mine := filepath.Join(folder(), "meet-"+core.InfoOf(ctx).ExecutionID)
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		return 0, err
	}
	return n, until(ctx, func() (bool, error) {
		begun, err := filepath.Glob(filepath.Join(folder(), "meet-*"))
		return len(begun) >= n, err
	})
}, core.TaskOptions{Timeout: 100 * time.Second})

// Short ends at once.
var Short = core.NewTask("short", func(_ context.Context, n int) (int, error) { return n, nil }, core.TaskOptions{})

// Fold is a parent whose finalize function takes as many milliseconds as its run returned.
var Fold = core.NewParentTaskWithFinalize("fold",
	func(_ context.Context, ms int) (int, []core.Child, error) {
		return ms, []core.Child{Short.Child(ms)}, nil
	},
	func(ctx context.Context, r core.Results[int]) (int, error) {
		select {
		case <-time.After(time.Duration(r.Output) * time.Millisecond):
			return r.Output, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: 20 * time.Second})

// until asks again and again, until the answer is yes or ctx ends.
func until(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if yes, err := done(); yes || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Registry returns the tasks.
func Registry() (*core.Registry, error) { return core.NewRegistry(Gate, Meet, Short, Fold) }

package dev

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lookEvery is how often the sources are looked at. A change counts once it has stood for as long.
const lookEvery = 400 * time.Millisecond

// state sums up the sources of a module: which files there are, their sizes and when they were changed. What is hidden,
// tests and vendored code are left out.
func state(dir string) (uint64, error) {
	h := fnv.New64a()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := ""
		if d != nil {
			name = d.Name()
		}
		switch {
		case err != nil:
			return nil //nolint:nilerr // it went away while it was looked at
		case d.IsDir() && path != dir && (strings.HasPrefix(name, ".") || slices.Contains([]string{"vendor", "node_modules", "testdata"}, name)):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		case !strings.HasSuffix(name, ".go") && name != "go.mod" && name != "go.sum":
			return nil
		}
		if info, err := d.Info(); err == nil {
			_, _ = fmt.Fprintln(h, path, info.Size(), info.ModTime().UnixNano()) // a hash takes all
		}
		return nil
	})
	return h.Sum64(), err
}

// watch calls changed after each change of the sources since they were as built says, until ctx ends.
func watch(ctx context.Context, dir string, built uint64, changed func()) error {
	last := built
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now, err := state(dir)
		if err != nil {
			return err
		}
		if now == last && now != built {
			built = now
			changed()
		}
		last = now
	}
}

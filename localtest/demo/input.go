package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/perdure-dev/perdure/functions/tasks"
)

const (
	// maxFileBytes is the size of the largest file that the demo takes.
	maxFileBytes = 32 << 20
	// chunkBytes is how much of a file one execution counts.
	chunkBytes = 16 << 10
)

// input is what the demo counts.
type input struct {
	folder string
	files  []string // paths below folder, sorted
	bytes  int64
	counts tasks.Counts // as a plain loop counts them
	// executions are how many each file takes: its own, one for each chunk, and one that merges the chunks' counts.
	executions map[string]int
}

// readInput finds the text files below a folder, hidden ones left out, and counts their words in a plain loop. A
// file is text when it is valid UTF-8 without NUL bytes.
func readInput(folder string) (*input, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(folder); err != nil {
		return nil, fmt.Errorf("input folder %s: %w", folder, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("input folder %s: it is a file, not a folder", folder)
	}
	in := &input{folder: folder, counts: tasks.Counts{}, executions: map[string]int{}}
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != folder && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() > maxFileBytes {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
			return nil
		}
		counts, err := tasks.Count(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		in.files = append(in.files, name)
		in.bytes += int64(len(data))
		in.executions[name] = 1 + (len(data)+chunkBytes-1)/chunkBytes + 1
		in.counts.Add(counts)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read input folder %s: %w", folder, err)
	}
	if len(in.files) == 0 {
		return nil, fmt.Errorf("input folder %s: there is no text file in it", folder)
	}
	slices.Sort(in.files)
	return in, nil
}

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// write makes a folder with the given files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestOnlyTextFilesAreInput(t *testing.T) {
	t.Parallel()
	in, err := readInput(write(t, map[string]string{
		"a.txt": "one two", "b/c.md": "two", ".hidden": "three", ".git/d": "four", "bin": "five\x00", "latin1": "\xe9t\xe9",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.txt", "b/c.md"}, in.files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(tasks.Counts{"one": 1, "two": 2}, in.counts); diff != "" {
		t.Error(diff)
	}
}

func TestABadInputFolderIsNamed(t *testing.T) {
	t.Parallel()
	folder := write(t, map[string]string{"bin": "\x00"})
	for path, says := range map[string]string{
		"/nonexistent/x":             "/nonexistent/x",
		folder:                       "there is no text file in it",
		filepath.Join(folder, "bin"): "it is a file, not a folder",
	} {
		if _, err := readInput(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

// TestTheJobRunsInMemoryWhereThereIsNoDynamoDBLocal sets the environment of the process and so is not parallel.
func TestTheJobRunsInMemoryWhereThereIsNoDynamoDBLocal(t *testing.T) {
	t.Setenv(tasks.RootVariable, "")
	folder := write(t, map[string]string{"a.txt": strings.Repeat("one two ", 9000), "b.txt": "", "c.txt": "three"})
	in, err := readInput(folder)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := runEmbedded(t.Context(), newPrinter(out), in); err != nil {
		t.Fatal(err)
	}
	printed, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"18001 words, 3 of them different, in 3 files", "one 9000, two 9000, three 1"} {
		if !bytes.Contains(printed, []byte(says)) {
			t.Errorf("printed\n%s\nwithout %q", printed, says)
		}
	}
}

func TestAWrongResultIsNoticed(t *testing.T) {
	t.Parallel()
	if err := check(tasks.Counts{"a": 1}, tasks.Counts{"a": 1}); err != nil {
		t.Error(err)
	}
	if err := check(tasks.Counts{"a": 1}, tasks.Counts{"a": 2}); err == nil || !strings.Contains(err.Error(), `"a" 1 times, not 2`) {
		t.Errorf("error %v", err)
	}
}

// An editor's save during the demo was told as if the engine had counted wrong.
func TestAFileThatChangesMeanwhileIsToldAsSuch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(name, []byte("one two"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := readInput(dir)
	if err != nil {
		t.Fatal(err)
	}
	says := func() string {
		err := summarize(progress.New(io.Discard), in, nil, tasks.Counts{"one": 2}, time.Second, nil, &losses{})
		if err == nil {
			t.Fatal("no error")
		}
		return err.Error()
	}
	if text := says(); strings.Contains(text, "changed") {
		t.Error(text)
	}
	if err := os.WriteFile(name, []byte("one one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := says(); !strings.Contains(text, "changed while the demo counted them: run it again") {
		t.Error(text)
	}
}

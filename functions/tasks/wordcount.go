package tasks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/perdure-dev/perdure/core"
)

// RootVariable names the environment variable with the folder whose files CountFile may read.
const RootVariable = "WORDCOUNT_ROOT"

// Counts says how often each word occurs. A word is a longest run of letters and digits, in lower case.
type Counts map[string]int

// File names a file below the folder in RootVariable.
type File struct {
	Path string `json:"path"`
	// ChunkBytes is how much of the file one child counts. Default 16 KiB.
	ChunkBytes int64 `json:"chunk_bytes,omitempty"`
}

// Chunk is the part of a file from Offset to End, in bytes. The words that begin in it belong to it.
type Chunk struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	End    int64  `json:"end"`
}

var retry = core.RetryPolicy{MaxAttempts: 3, BaseDelay: 100 * time.Millisecond}

// CountWords counts the words of a text.
var CountWords = core.NewTask("count_words",
	func(_ context.Context, text string) (Counts, error) {
		return Count(strings.NewReader(text), int64(len(text)))
	},
	core.TaskOptions{Timeout: 10 * time.Second})

// CountFile counts the words of a file: a child per chunk, and MergeCounts adds up what they found.
var CountFile = core.NewParentTaskWithFinalizeTask("count_file", splitFile, MergeCounts,
	core.TaskOptions{Timeout: 5 * time.Second, Retry: retry})

// CountChunk counts the words that begin in a chunk of a file.
var CountChunk = core.NewTask("count_chunk", countChunk,
	core.TaskOptions{Timeout: 5 * time.Second, Retry: retry})

// MergeCounts adds up the counts of a file's chunks.
var MergeCounts = core.NewTask("merge_counts", mergeCounts,
	core.TaskOptions{Timeout: 5 * time.Second, Retry: retry})

const defaultChunkBytes = 16 << 10

func splitFile(_ context.Context, file File) (int, []core.Child, error) {
	f, err := openFile(file.Path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	size := file.ChunkBytes
	if size <= 0 {
		size = defaultChunkBytes
	}
	var children []core.Child
	for offset := int64(0); offset < info.Size(); offset += size {
		children = append(children, CountChunk.Child(Chunk{
			Path: file.Path, Offset: offset, End: min(offset+size, info.Size()),
		}))
	}
	return len(children), children, nil
}

func countChunk(_ context.Context, c Chunk) (Counts, error) {
	f, err := openFile(c.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	offset, underWay, err := alignChunk(f, c.Offset)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.NewSectionReader(f, offset, 1<<62-offset))
	return countFrom(r, c.End-offset, underWay)
}

// alignChunk returns the first offset from the given one on at which a character begins, and whether the
// character before it is in a word.
func alignChunk(f io.ReaderAt, offset int64) (aligned int64, underWay bool, err error) {
	start := max(0, offset-utf8.UTFMax)
	around := make([]byte, 2*utf8.UTFMax)
	n, err := f.ReadAt(around, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	at := min(int(offset-start), n)
	for at < n && at > 0 && !utf8.RuneStart(around[at]) {
		at++
	}
	char, _ := utf8.DecodeLastRune(around[:at])
	return start + int64(at), at > 0 && inWord(char), nil
}

func inWord(char rune) bool { return unicode.IsLetter(char) || unicode.IsDigit(char) }

func mergeCounts(_ context.Context, chunks core.Results[int]) (Counts, error) {
	total := Counts{}
	for _, child := range chunks.Children {
		counts, err := CountChunk.Result(child)
		if err != nil {
			return nil, core.NonRetryable(err)
		}
		total.Add(counts)
	}
	return total, nil
}

// Add adds the counts of more to c.
func (c Counts) Add(more Counts) {
	for word, n := range more {
		c[word] += n
	}
}

// Words returns how many words were counted.
func (c Counts) Words() int {
	n := 0
	for _, count := range c {
		n += count
	}
	return n
}

// openFile opens a file below the folder in RootVariable. Errors that another attempt would meet again are
// not retried.
func openFile(path string) (*os.File, error) {
	folder := os.Getenv(RootVariable)
	if folder == "" {
		return nil, core.NonRetryable(fmt.Errorf("%s is not set: it names the folder with the files to count", RootVariable))
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, core.NonRetryable(err)
	}
	return f, err
}

// Count counts the words that begin in the first size bytes of r in a plain loop.
func Count(r io.Reader, size int64) (Counts, error) {
	return countFrom(bufio.NewReader(r), size, false)
}

// countFrom counts the words that begin in the next size bytes of r; a word that is under way belongs to
// whoever reads before.
func countFrom(r *bufio.Reader, size int64, underWay bool) (Counts, error) {
	counts := Counts{}
	var word strings.Builder
	for at := int64(0); ; {
		char, n, err := r.ReadRune()
		within := err == nil && inWord(char)
		switch {
		case within && underWay:
		case within && (at < size || word.Len() > 0):
			word.WriteRune(unicode.ToLower(char))
		case word.Len() > 0:
			counts[word.String()]++
			word.Reset()
		}
		underWay = underWay && within
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return counts, nil
		case err != nil:
			return nil, err
		case at >= size && word.Len() == 0:
			return counts, nil
		}
	}
}

package tasks

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChunksOfEverySizeCountWhatTheWholeTextHas(t *testing.T) {
	texts := map[string]string{
		"empty":                  "",
		"one word":               "perdure",
		"spaces only":            "  \n\t ",
		"words of many lengths":  "a bb ccc dddd eeeee\nffffff, ggggggg; hhhhhhhh a BB Ccc",
		"characters of 2 to 4 B": "über straße 東京 タワー 𝔸𝔹ℂ ünïcödé x 𐐀𐐁 ø",
		"one long word":          strings.Repeat("é", 50),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv(RootVariable, dir)
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			want, err := Count(bytes.NewReader([]byte(text)), int64(len(text)))
			if err != nil {
				t.Fatal(err)
			}
			for size := int64(1); size <= int64(len(text))+1; size++ {
				got := Counts{}
				for offset := int64(0); offset < int64(len(text)); offset += size {
					counts, err := countChunk(context.Background(), Chunk{"f", offset, min(offset+size, int64(len(text)))})
					if err != nil {
						t.Fatal(err)
					}
					got.Add(counts)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("chunks of %d bytes (-whole +chunks):\n%s", size, diff)
				}
			}
		})
	}
}

func TestCountFoldsCase(t *testing.T) {
	got, err := Count(strings.NewReader("Go go GO, gone."), 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Counts{"go": 3, "gone": 1}, got); diff != "" {
		t.Error(diff)
	}
	if got.Words() != 4 {
		t.Errorf("Words() = %d, want 4", got.Words())
	}
}

func TestAFileOutsideTheFolderIsNotOpened(t *testing.T) {
	t.Setenv(RootVariable, t.TempDir())
	for _, path := range []string{"../x", "/etc/hostname", "missing"} {
		if f, err := openFile(path); err == nil {
			f.Close()
			t.Errorf("openFile(%q) opened it", path)
		}
	}
}

func TestRegistryIsValid(t *testing.T) {
	if _, err := Registry(); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"fmt"
	"os"

	"github.com/perdure-dev/perdure/localtest/progress"
)

func newPrinter(out *os.File) *progress.Printer { return progress.New(out) }

func bytesText(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

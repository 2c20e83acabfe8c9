package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// printer prints lines, and below them, on a terminal, one line that is written anew again and again. Without a
// terminal that line is printed plainly every few seconds.
type printer struct {
	out      *os.File
	terminal bool
	shown    int // characters of the line that is written anew
	last     time.Time
}

// plainInterval is the time between progress lines without a terminal.
const plainInterval = 2 * time.Second

func newPrinter(out *os.File) *printer {
	info, err := out.Stat()
	return &printer{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *printer) line(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *printer) progress(text string) {
	if !p.terminal {
		if time.Since(p.last) >= plainInterval {
			p.last = time.Now()
			fmt.Fprintln(p.out, text)
		}
		return
	}
	fmt.Fprintf(p.out, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-len(text))))
	p.shown = len(text)
}

func (p *printer) clear() {
	if p.shown > 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}

func bytesText(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

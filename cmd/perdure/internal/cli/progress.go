package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress keeps a person who waits informed, on standard error: with one line that is written anew on a terminal, else
// with a line every few seconds. With --json it is silent off a terminal.
type progress struct {
	app      *app
	terminal bool
	shown    int // characters of the line that is written anew
	last     time.Time
}

const (
	terminalInterval = 100 * time.Millisecond
	plainInterval    = 5 * time.Second
)

func (a *app) progress() *progress {
	return &progress{app: a, terminal: terminal(a.Err), last: time.Now()}
}

// show tells how far things are.
func (p *progress) show(format string, args ...any) {
	interval := plainInterval
	if p.terminal {
		interval = terminalInterval
	}
	if time.Since(p.last) < interval || !p.terminal && p.app.json {
		return
	}
	p.last = time.Now()
	text := visible(fmt.Sprintf(format, args...))
	if !p.terminal {
		_, _ = fmt.Fprintln(p.app.Err, text)
		return
	}
	text = fit(text, width(p.app.Err))
	long := utf8.RuneCountInString(text)
	_, _ = fmt.Fprintf(p.app.Err, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-long)))
	p.shown = long
}

// width returns how many characters a line of a terminal has; 0 where that is not known.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // a file descriptor fits
	if err != nil {
		return 0
	}
	return columns
}

// fit returns so much of text as one line of a terminal has room for without the cursor's going to the next, from where
// the line could not be written anew.
func fit(text string, columns int) string {
	runes := []rune(text)
	if columns < 2 || len(runes) < columns {
		return text
	}
	return string(runes[:columns-2]) + "…"
}

// showOnTerminal is show for what a log need not repeat.
func (p *progress) showOnTerminal(format string, args ...any) {
	if p.terminal {
		p.show(format, args...)
	}
}

// tell prints a line that stays. With --json it is silent off a terminal, where standard error is read as JSON too.
func (p *progress) tell(format string, args ...any) {
	if !p.terminal && p.app.json {
		return
	}
	p.done()
	_, _ = fmt.Fprintf(p.app.Err, format+"\n", args...)
}

// done takes the line away.
func (p *progress) done() {
	if p.shown > 0 {
		_, _ = fmt.Fprintf(p.app.Err, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}

// Package progress tells a person what a program is doing, so that it is never silent for longer than Silence while a
// step is under way.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// Silence is the longest time without a word while a step is under way.
	Silence = 2 * time.Second
	// beat is after how much silence the step under way is named again; the rest is left to a slow machine.
	beat = Silence * 3 / 4
)

// Printer prints lines, and tells of the step under way until it is over: on a terminal in one line that is written anew, else
// in a line whenever nothing was printed for a while. Its methods may be called from any goroutine.
type Printer struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	shown    int     // bytes of the line that is written anew
	steps    []*step // under way, the innermost last
	timer    *time.Timer
	rest     []byte // of Write, the beginning of a line
}

// step is what a program is doing.
type step struct {
	what   string
	begun  time.Time
	state  string // how far it is; empty where nothing tells
	stated time.Time
	told   bool // state was printed
}

// New returns a printer on out, which may be a terminal.
func New(out io.Writer) *Printer {
	p := &Printer{out: out}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// Line prints a line.
func (p *Printer) Line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(fmt.Sprintf(format, args...))
}

// Write prints the whole lines of what is written, and keeps the beginning of one for the next call.
func (p *Printer) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, text...)
	if end := strings.LastIndexByte(string(p.rest), '\n'); end >= 0 {
		p.print(string(p.rest[:end]))
		p.rest = append([]byte(nil), p.rest[end+1:]...)
	}
	return len(text), nil
}

// Step prints what begins now, as in "building the functions", and tells that it goes on until done is called. Steps may be
// within each other: the innermost is told of.
func (p *Printer) Step(format string, args ...any) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &step{what: fmt.Sprintf(format, args...), begun: time.Now()}
	p.steps = append(p.steps, s)
	p.print(s.what)
	return sync.OnceFunc(func() { p.end(s) })
}

// Doing gives the step under way another name, as of what it waits for. It is not printed unless it takes a while.
func (p *Printer) Doing(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.steps) > 0 {
		s := p.steps[len(p.steps)-1]
		s.what, s.state = fmt.Sprintf(format, args...), ""
	}
}

// Show says how far the step under way is.
func (p *Printer) Show(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.steps) == 0 {
		return
	}
	s := p.steps[len(p.steps)-1]
	s.state, s.stated, s.told = fmt.Sprintf(format, args...), time.Now(), false
	if p.terminal {
		p.tell(s)
	}
}

// end takes a step away, and prints how far it came if that was not printed yet.
func (p *Printer) end(s *step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state != "" && !s.told {
		p.print(s.text())
	} else {
		p.clear()
	}
	for i, other := range p.steps {
		if other == s {
			p.steps = append(p.steps[:i:i], p.steps[i+1:]...)
		}
	}
	p.rewind()
}

// tell prints how far a step is.
func (p *Printer) tell(s *step) {
	if !p.terminal {
		p.print(s.text())
		s.told = true
		return
	}
	text := s.text()
	_, _ = fmt.Fprintf(p.out, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-len(text)))) // who cannot be told sees the result
	p.shown = len(text)
	p.rewind()
}

// text is what is told of a step.
func (s *step) text() string {
	elapsed := time.Since(s.begun).Seconds()
	if s.state == "" {
		return fmt.Sprintf("%5.1f s  still %s", elapsed, s.what)
	}
	age := ""
	if old := time.Since(s.stated); old > Silence {
		age = fmt.Sprintf(" (%.0f s ago)", old.Seconds())
	}
	return fmt.Sprintf("%5.1f s  %s%s", elapsed, s.state, age)
}

// print prints a line of its own.
func (p *Printer) print(line string) {
	p.clear()
	_, _ = fmt.Fprintln(p.out, line) // who cannot be told sees the result
	p.rewind()
}

func (p *Printer) clear() {
	if p.shown > 0 {
		_, _ = fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}

// rewind lets the silence begin now.
func (p *Printer) rewind() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if len(p.steps) > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(beat, func() { p.silent(func() bool { return p.timer == timer }) })
		p.timer = timer
	}
}

// silent ends a silence, unless somebody else did meanwhile.
func (p *Printer) silent(still func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if still() && len(p.steps) > 0 {
		p.tell(p.steps[len(p.steps)-1])
	}
}

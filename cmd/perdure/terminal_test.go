//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/perdure-dev/perdure/localtest/stack"
)

// screen is a terminal and what was written to it.
type screen struct {
	t     *testing.T
	tty   *os.File // what a command gets
	ended chan struct{}

	mu   sync.Mutex
	text strings.Builder
}

// newScreen returns a new pseudo terminal (see pty(7)) of so many columns.
func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd()) //nolint:gosec // a file descriptor fits
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, tty: tty, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			s.mu.Lock()
			s.text.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil { // EIO, when nobody has the terminal any more
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close() // a second time, where the test has read all
		<-s.ended
		_ = master.Close()
	})
	return s
}

// soFar returns what was written.
func (s *screen) soFar() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// all returns what was written once no command has the terminal any more.
func (s *screen) all() string {
	s.t.Helper()
	if err := s.tty.Close(); err != nil {
		s.t.Fatal(err)
	}
	<-s.ended
	return s.soFar()
}

// where says which of a command's streams are the terminal; the others are pipes.
type where struct{ out, err bool }

// onScreen runs a command that ends by itself, and returns what the terminal got and what the pipes did.
func onScreen(t *testing.T, columns uint16, streams where, env []string, args ...string) (shown, piped string) {
	t.Helper()
	s := newScreen(t, columns)
	var pipes strings.Builder
	cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "perdure"), args...)
	cmd.Env = bare(t, env...)
	cmd.Stdout, cmd.Stderr = &pipes, &pipes
	if streams.out {
		cmd.Stdout = s.tty
	}
	if streams.err {
		cmd.Stderr = s.tty
	}
	_ = cmd.Run() // what it printed is what the test looks at
	return s.all(), pipes.String()
}

// Colours are for terminals, and for those who ask for them.
func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "there", "--delay", "1h")
	const coloured = "\x1b[34mready\x1b[0m"
	for _, test := range []struct {
		name     string
		env      []string
		args     []string
		terminal bool
		want     bool
	}{
		{"a terminal", []string{"TERM=xterm"}, nil, true, true},
		{"a pipe", []string{"TERM=xterm"}, nil, false, false},
		{"NO_COLOR", []string{"TERM=xterm", "NO_COLOR=1"}, nil, true, false},
		{"NO_COLOR that is empty", []string{"TERM=xterm", "NO_COLOR="}, nil, true, true},
		{"a dumb terminal", []string{"TERM=dumb"}, nil, true, false},
		{"never", []string{"TERM=xterm"}, []string{"--color", "never"}, true, false},
		{"always, in a pipe", []string{"TERM=xterm"}, []string{"--color", "always"}, false, true},
		{"always, with NO_COLOR", []string{"NO_COLOR=1"}, []string{"--color=always"}, false, true},
		{"JSON", []string{"TERM=xterm"}, []string{"--json"}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shown, piped := onScreen(t, 80, where{out: test.terminal, err: test.terminal}, append(test.env, w.env...),
				append([]string{"get", "there"}, test.args...)...)
			text := shown + piped
			if !strings.Contains(text, "ready") || strings.Contains(text, coloured) != test.want || strings.Contains(text, "\x1b") != test.want {
				t.Errorf("colours wanted: %t\n%q", test.want, text)
			}
		})
	}
}

// rewritten takes a terminal's text apart: what stays, and the longest of the lines that were written anew in place.
func rewritten(text string) (stays []string, times, longest int) {
	for line := range strings.SplitSeq(text, "\n") {
		parts := strings.Split(strings.TrimSuffix(line, "\r"), "\r")
		for _, p := range parts[:len(parts)-1] {
			if p = strings.TrimRight(p, " "); p != "" {
				times++
				longest = max(longest, len([]rune(p)))
			}
		}
		if last := parts[len(parts)-1]; strings.TrimSpace(last) != "" {
			stays = append(stays, last)
		}
	}
	return stays, times, longest
}

// A line that was longer than the terminal is wide went on in the next, and was not written anew but repeated.
func TestProgressIsWrittenAnewInPlaceOnATerminalHoweverNarrow(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	id := "an-id-of-more-characters-than-this-terminal-has-in-a-line"
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", id, "--delay", "1h")
	args := []string{"wait", id, "--timeout", "3s"}
	for _, columns := range []uint16{40, 120} {
		shown, piped := onScreen(t, columns, where{err: true}, w.env, args...)
		stays, times, longest := rewritten(shown)
		if times < 3 || longest >= int(columns) || piped != "" {
			t.Errorf("in %d columns %d lines were written in place, the longest of %d characters\n%q%q", columns, times, longest, shown, piped)
		}
		if len(stays) != 1 || !strings.Contains(stays[0], "--timeout is over") {
			t.Errorf("of %q this stays: %q", shown, stays)
		}
	}
	// Off a terminal a wait has nothing to say but how it ends.
	if _, piped := onScreen(t, 80, where{}, w.env, args...); strings.Count(piped, "\n") != 1 || strings.Contains(piped, "\r") {
		t.Errorf("in a pipe it says %q", piped)
	}
}

// feed gives a command lines until its standard error, which soFar returns, has what is waited for.
func feed(t *testing.T, in io.Writer, soFar func() string, has func(string) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !has(soFar()) {
		select {
		case <-deadline:
			t.Fatalf("it said %q", soFar())
		case <-tick.C:
		}
		if _, err := io.WriteString(in, "order\n"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProgressOfManyIsInPlaceOnATerminalAndLineByLineWithoutOne(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	for _, onTerminal := range []bool{true, false} {
		t.Run(fmt.Sprintf("terminal %t", onTerminal), func(t *testing.T) {
			t.Parallel()
			s := newScreen(t, 80)
			cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "perdure"), "redrive", "-", "--dry-run")
			cmd.Env = bare(t, w.env...)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var log logged
			cmd.Stderr = &log
			soFar := log.String
			if onTerminal {
				cmd.Stderr, soFar = s.tty, s.soFar
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			feed(t, in, soFar, func(text string) bool { return strings.Count(text, "redriven") >= 2 })
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			text := s.all() + log.String()
			stays, times, _ := rewritten(text)
			switch {
			case onTerminal && (times < 2 || len(stays) > 0):
				t.Errorf("%d times in place, and this stays: %q", times, stays)
			case !onTerminal && (times > 0 || len(stays) < 2 || !strings.HasSuffix(stays[0], " redriven, 0 before, 0 failed")):
				t.Errorf("%d times in place, and this stays: %q", times, stays)
			}
		})
	}
}

// logged is a text that may be read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A failure of some length went on in the next lines, and the table was one no more.
func TestATableFitsTheTerminalAndIsWholeElsewhere(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{List: true})
	long := strings.Repeat("no such word, ", 12)
	id := strings.TrimSpace(done(t, w.env, "enqueue", "await_payment", "--input", `"order 17"`))
	done(t, w.env, "wakeup", "await_payment", "order 17", "--failure", long+"at all")
	for _, columns := range []uint16{60, 80, 120} {
		for _, args := range [][]string{{"list", "--color", "always"}, {"tree", id}} {
			shown, _ := onScreen(t, columns, where{out: true}, w.env, args...)
			shown = regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(shown, "")
			if lines := strings.Split(strings.TrimSpace(shown), "\r\n"); len(lines) != 2 || !strings.Contains(lines[1], "…") || columns >= 120 && !strings.Contains(lines[1], "no such") ||
				columns >= 80 && !strings.Contains(lines[1], id) {
				t.Errorf("perdure %v on %d columns:\n%s", args, columns, shown)
			} else if n := max(utf8.RuneCountInString(lines[0]), utf8.RuneCountInString(lines[1])); n > int(columns) {
				t.Errorf("perdure %v on %d columns has %d:\n%s", args, columns, n, shown)
			}
		}
	}
	for _, args := range [][]string{{"list"}, {"tree", id}, {"get", id}} {
		if out := done(t, w.env, args...); !strings.Contains(out, "at all\n") {
			t.Errorf("perdure %v, not on a terminal:\n%s", args, out)
		}
	}
	if shown, _ := onScreen(t, 80, where{out: true}, w.env, "get", id); !strings.Contains(shown, "at all") {
		t.Errorf("perdure get:\n%s", shown)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// losses reads from the functions' logs what was lost with a process and made good: a record forgets its recoveries once it has
// got on, and has none of its children's that were never put. It passes the logs on.
type losses struct {
	next io.Writer // nil for nobody

	mu       sync.Mutex
	line     []byte
	attempts int // that were recovered
	children int // that were put in
}

// Write implements io.Writer.
func (l *losses) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, text...)
	for {
		line, rest, whole := bytes.Cut(l.line, []byte{'\n'})
		if !whole {
			break
		}
		l.read(line)
		l.line = rest
	}
	if l.next == nil {
		return len(text), nil
	}
	return l.next.Write(text)
}

// read counts what a line of a log tells.
func (l *losses) read(line []byte) {
	var said struct {
		Message string `json:"message"`
		Count   int    `json:"count"`
	}
	if at := bytes.IndexByte(line, '{'); at < 0 || json.Unmarshal(line[at:], &said) != nil {
		return // a line of something else
	}
	switch said.Message {
	case "attempt is recovered: its executor was lost":
		l.attempts++
	case "children were missing and are put in":
		l.children += said.Count
	}
}

// String tells what was lost, for the summary.
func (l *losses) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d attempts and %d children made again after a crash", l.attempts, l.children)
}

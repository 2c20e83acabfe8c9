package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Messages of the engine's log lines that losses counts.
const (
	attemptRecovered = "attempt is recovered: its executor was lost"
	childrenPutIn    = "children were missing and are put in"
)

// losses counts, from the functions' logs, what the engine recovered after a crash. The records do not tell it in the end: an
// execution's count of recoveries starts again at 0 when an attempt ends by itself. It passes the logs on.
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
	case attemptRecovered:
		l.attempts++
	case childrenPutIn:
		l.children += said.Count
	}
}

// String tells what was lost, for the summary.
func (l *losses) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d attempts and %d children recovered after a crash", l.attempts, l.children)
}

package dev

import (
	"regexp"
	"strings"
	"sync"

	"github.com/perdure-dev/perdure/localtest/lambdalocal"
)

// Broken is a function whose process does not start.
type Broken struct {
	Function string
	Ended    string   // how the process ended
	Lines    []string // the last that it wrote
	// Alike tells that another function was told before that does not start either, for the same reason as it seems.
	Alike bool
}

// starts tells once of each function that does not start, however often it is tried, and once when it does again.
type starts struct {
	broken   func(Broken)
	restored func(function string)

	mu     sync.Mutex
	reason map[string]string // of the functions that do not start
	stale  map[string]bool   // those of them that were told of another build
}

func newStarts(broken func(Broken), restored func(function string)) *starts {
	return &starts{broken: broken, restored: restored, reason: map[string]string{}, stale: map[string]bool{}}
}

// rebuilt makes what does not start from now on worth telling again.
func (s *starts) rebuilt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for function := range s.reason {
		s.stale[function] = true
	}
}

// started takes what came of a start.
func (s *starts) started(start lambdalocal.Start) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, was := s.reason[start.Function]
	switch {
	case start.Err == nil && was:
		// The end of what they had in common is told once. One of another build is told anew if it still does not start.
		for function, reason := range s.reason {
			if reason == before || s.stale[function] {
				s.forget(function)
			}
		}
		s.restored(start.Function)
	case start.Err != nil && (!was || s.stale[start.Function]):
		s.forget(start.Function)
		b := Broken{Function: start.Function, Ended: strings.TrimPrefix(start.Err.Error(), ended), Lines: start.Lines}
		reason := reasonOf(start)
		for function, other := range s.reason {
			b.Alike = b.Alike || other == reason && !s.stale[function]
		}
		s.reason[start.Function] = reason
		s.broken(b)
	}
}

func (s *starts) forget(function string) {
	delete(s.reason, function)
	delete(s.stale, function)
}

// ended is how Lambda words the end of a process, of which only the last words say something here.
const ended = "Runtime exited with error: "

// differs is what differs in the same failure of two functions: numbers and addresses.
var differs = regexp.MustCompile(`0x[0-9a-f]+|[0-9]+`)

// reasonOf is what the failures of two functions that fail alike have in common: how they end, and the first line.
func reasonOf(start lambdalocal.Start) string {
	text := start.Err.Error()
	if len(start.Lines) > 0 {
		text += "\n" + start.Lines[0]
	}
	return differs.ReplaceAllString(strings.ReplaceAll(text, start.Function, ""), "")
}

package core

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bounded returns a text as a failure may hold it: valid UTF-8, which every store gives back as it is, of at most
// maxFailureText bytes and a note of how many were left out.
func bounded(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= maxFailureText {
		return text
	}
	cut := runeStart(text, maxFailureText)
	return fmt.Sprintf("%s… (%d bytes more were left out)", text[:cut], len(text)-cut)
}

// runeStart returns the last place in a text, at most at, where a character begins.
func runeStart(text string, at int) int {
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return at
}

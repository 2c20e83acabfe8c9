package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// maxInput is how much is read of a file that is to be an input: more than any limit allows.
const maxInput = 16 << 20

// readJSON returns the JSON that a flag names: its value, @file or - for standard input.
func (a *app) readJSON(flag, value string) (json.RawMessage, error) {
	data := []byte(value)
	var err error
	switch {
	case value == "-":
		data, err = readAtMost(a.In)
	case value == "@":
		err = errors.New("a file's name must follow the @")
	case strings.HasPrefix(value, "@"):
		data, err = readFile(value[1:])
	}
	if err != nil {
		return nil, usagef("%s: %w", flag, err)
	}
	data = bytes.TrimPrefix(data, byteOrderMark)
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, usagef("%s has nothing in it: it must be JSON, such as null", flag)
	}
	if at, err := checkJSON(data); err != nil {
		before := data[:at]
		return nil, usagef("%s is not valid JSON: line %d, column %d: %w", flag, bytes.Count(before, []byte{'\n'})+1, column(before), err)
	}
	return json.RawMessage(data), nil
}

// byteOrderMark is what text files of Windows begin with. It is not part of the text.
var byteOrderMark = []byte("\ufeff")

// checkJSON returns what is wrong with a JSON value, and the offset of that byte. It refuses bytes that are not UTF-8, because
// encoding/json would replace them.
func checkJSON(data []byte) (at int, err error) {
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at, fmt.Errorf("byte 0x%02x is not UTF-8: save the text as UTF-8", data[at])
		}
		at += size
	}
	var v any
	err = json.Unmarshal(data, &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return 0, err
	}
	if at = int(syntax.Offset); at > 0 && syntax.Error() != "unexpected end of JSON input" {
		at-- // it counts the byte that is wrong
	}
	if first := bytes.TrimSpace(data)[0]; !bytes.ContainsRune([]byte(`{["-0123456789`), rune(first)) {
		err = fmt.Errorf("%w (a text needs its quotes: '\"text\"')", err)
	}
	return min(at, len(data)), err
}

// column returns the place in its line, from 1, of the character that follows a text.
func column(before []byte) int {
	return utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// interruptible reads until a context ends. A read that waits then goes on in vain: nobody can take it back from the system.
type interruptible struct {
	ctx context.Context //nolint:containedctx // of the whole command
	in  io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		data := make([]byte, len(p))
		n, err := r.in.Read(data)
		read <- result{data[:n], err}
	}()
	select {
	case got := <-read:
		return copy(p, got.data), got.err
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	}
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f)
}

func readAtMost(r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, errors.New("there is no standard input")
	}
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("it has over %d bytes", maxInput)
	}
	return data, err
}

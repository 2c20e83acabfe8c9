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
	case strings.HasPrefix(value, "@"):
		data, err = readFile(value[1:])
	}
	if err != nil {
		return nil, usagef("%s: %w", flag, err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, usagef("%s has nothing in it: it must be JSON, such as null", flag)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, usagef("%s is no JSON: %w (a text needs its quotes: '\"text\"')", flag, err)
	}
	return json.RawMessage(data), nil
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

package process

import "bytes"

// maxLine is the length, in bytes, past which a line is delivered in pieces.
const maxLine = 64 << 10

// lineWriter cuts what is written to it into lines.
type lineWriter struct {
	emit func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		switch {
		case i > maxLine || i < 0 && len(w.rest) > maxLine:
			w.emit(string(w.rest[:maxLine]))
			w.rest = w.rest[maxLine:]
		case i >= 0:
			w.emit(string(bytes.TrimSuffix(w.rest[:i], []byte("\r"))))
			w.rest = w.rest[i+1:]
		default:
			return len(p), nil
		}
	}
}

// flush delivers a last line that has no end.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.emit(string(w.rest))
		w.rest = nil
	}
}

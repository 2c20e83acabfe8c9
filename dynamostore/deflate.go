package dynamostore

import (
	"bytes"
	"compress/flate"
	"io"
	"runtime"
)

// deflaters has a place for each compressor that may work at once: one takes a megabyte. A place is nil until it is
// needed.
var deflaters = func() chan *flate.Writer {
	places := make(chan *flate.Writer, runtime.GOMAXPROCS(0))
	for range cap(places) {
		places <- nil
	}
	return places
}()

// deflate compresses data (RFC 1951). What cannot be compressed comes back as it is.
func deflate(data []byte) []byte {
	w := <-deflaters
	defer func() { deflaters <- w }()
	var buf bytes.Buffer
	if w == nil {
		var err error
		if w, err = flate.NewWriter(&buf, flate.DefaultCompression); err != nil {
			return data
		}
	}
	w.Reset(&buf)
	if _, err := w.Write(data); err != nil {
		return data
	}
	if err := w.Close(); err != nil {
		return data
	}
	return buf.Bytes()
}

// inflate undoes deflate. It returns at most a byte more than the size that is expected.
func inflate(data []byte, size int) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, min(size, partBytes)+bytes.MinRead))
	_, err := buf.ReadFrom(io.LimitReader(flate.NewReader(bytes.NewReader(data)), int64(size)+1))
	return buf.Bytes(), err
}

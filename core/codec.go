package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Codec turns inputs and outputs into bytes and back. All executors and clients of one store must use the
// same one.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode reads exactly one value into v, a pointer.
	Decode(data []byte, v any) error
}

// JSON is the default codec. Anything behind the value is an error.
type JSON struct {
	// Strict makes fields that the Go type does not have an error. Default: they are ignored, so that a caller may
	// be newer than a task.
	Strict bool
}

// Encode returns the JSON text of v without a trailing newline; HTML characters are not escaped.
func (JSON) Encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Decode reads JSON text into v.
func (j JSON) Decode(data []byte, v any) error {
	if !j.Strict {
		return json.Unmarshal(data, v) // half the price of a Decoder
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the JSON ends too early")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the JSON value")
	}
	return nil
}

// value is an input or output as the engine hands it on: encoded bytes, or what a family came to, which is
// kept in its members' records and not copied.
type value struct {
	data   []byte
	family *familyValue
}

// size returns how many bytes the encoded value has.
func (v value) size() int {
	n := len(v.data)
	if v.family != nil {
		n += len(v.family.output)
		for _, child := range v.family.children {
			n += child.value.size()
		}
	}
	return n
}

// familyValue is a parent's run output and its children's results, not decoded yet.
type familyValue struct {
	output   []byte
	children []ChildResult
}

// familyDecoder is implemented by *Results[R] alone.
type familyDecoder interface {
	decodeFamily(c Codec, v *familyValue) error
}

// decodeValue decodes v into a T. A family is decoded into Results only.
func decodeValue[T any](c Codec, v value) (T, error) {
	var t T
	if v.family == nil {
		if err := c.Decode(v.data, &t); err != nil {
			var zero T
			return zero, fmt.Errorf("decode %T: %w", zero, err)
		}
		return t, nil
	}
	d, ok := any(&t).(familyDecoder)
	if !ok {
		return t, invalidf("type %T: the value is a family's, which decodes into core.Results", t)
	}
	return t, d.decodeFamily(c, v.family)
}

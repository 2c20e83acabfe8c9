package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Codec turns inputs and outputs into bytes and back. All executors and clients of one store must use the
// same one.
type Codec interface {
	// Encode returns bytes that nobody changes any more.
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
	data := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if !nestsWithin(data, maxNesting) {
		return nil, fmt.Errorf("the JSON is nested more than %d deep, and could not be read again", maxNesting)
	}
	return data, nil
}

// maxNesting is how deep the JSON of a value may be nested. encoding/json writes any depth and reads 10,000; what the
// engine puts around a value takes some of that.
const maxNesting = 9000

// nestsWithin reports whether JSON text is nested at most limit deep.
func nestsWithin(data []byte, limit int) bool {
	if len(data) <= 2*limit {
		return true // each level has two characters
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// isJSON reports whether a codec is JSON, which it is by default.
func isJSON(c *Codec) bool {
	if c == nil {
		return true
	}
	_, ok := (*c).(JSON)
	return ok
}

// encodeValue encodes a value: the bytes are not nil, and nobody else's.
func encodeValue(c Codec, v any) ([]byte, error) {
	if p, ok := v.(persistable); ok && reflect.TypeOf(v).Kind() != reflect.Pointer { // a nil one has no persisted form
		v = p.persisted()
	}
	data, err := c.Encode(v)
	switch {
	case err != nil:
		return nil, err
	case data == nil:
		return []byte{}, nil // a payload with no bytes is still a payload
	}
	if _, own := c.(JSON); !own {
		data = bytes.Clone(data) // another codec may use its buffer again
	}
	return data, nil
}

// persistable is implemented by types of the engine whose persisted form is another one.
type persistable interface{ persisted() any }

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

// restorable is the other side of persistable.
type restorable interface {
	record() any // a pointer to the persisted form
	restore(record any, encoded []byte) error
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

// decodeCopy decodes bytes that others go on to read, into what may keep or change what it is given: by a codec that copies
// nothing, or an UnmarshalJSON that works in place.
func decodeCopy(c Codec, data []byte, into any) error { return c.Decode(bytes.Clone(data), into) }

// decodeValue decodes v into a T. A family is decoded into Results only.
func decodeValue[T any](c Codec, v value) (T, error) {
	var t T
	if v.family == nil {
		var into any = &t
		p, other := into.(restorable)
		if other {
			into = p.record()
		}
		err := decodeCopy(c, v.data, into)
		if err == nil && other {
			err = p.restore(into, v.data)
		}
		if err != nil {
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

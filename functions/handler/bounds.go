package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/perdure-dev/perdure/core"
)

// Bounds of a request, checked before it is parsed. Lambda's own limit is 6 MB.
const (
	maxRequest = 2 << 20  // bytes: the largest input (core.Limits), and as much for escapes in it
	maxDepth   = 128      // of arrays and objects within each other, the request itself included
	maxID      = 255      // bytes of an execution's id; a derived one has less than 100
	maxMessage = 16 << 10 // bytes of an error's message, which may quote what a task's Validate says
)

// checkBounds refuses a request that is too large or nested too deep. The error matches core.ErrTooLarge or
// core.ErrInvalid.
func checkBounds(event json.RawMessage) error {
	if len(event) > maxRequest {
		return fmt.Errorf("%w: the request has %d bytes, the limit is %d: keep large values elsewhere and pass a reference",
			core.ErrTooLarge, len(event), maxRequest)
	}
	depth := 0
	for i, text := 0, false; i < len(event); i++ {
		switch c := event[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%w request: it is nested %d deep, the limit is %d", core.ErrInvalid, depth, maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

// checkTexts refuses texts that are not UTF-8. Of those encoding/json makes other ones, without an error, so that two
// different keys would be the same. The error matches core.ErrInvalid.
func checkTexts(event json.RawMessage, r Request) error {
	var raw struct {
		Key     json.RawMessage `json:"key"`
		Reason  json.RawMessage `json:"reason"`
		Failure json.RawMessage `json:"failure"`
	}
	if err := json.Unmarshal(event, &raw); err != nil {
		return fmt.Errorf("%w request: %w", core.ErrInvalid, err)
	}
	const sign = string(utf8.RuneError) // what encoding/json puts in place of what is not UTF-8; it may be there as well
	for _, text := range []struct {
		name, decoded string
		raw           []byte
	}{{"key", r.Key, raw.Key}, {"reason", r.Reason, raw.Reason}, {"failure", r.Failure, raw.Failure}} {
		if strings.Count(text.decoded, sign) > bytes.Count(text.raw, []byte(sign)) {
			return fmt.Errorf("%w request: %s %q is not UTF-8 text", core.ErrInvalid, text.name, text.decoded)
		}
	}
	return nil
}

// inJSONsWords rewrites an error of encoding/json with the names and types of JSON, because a sender of requests may not
// know Go. It returns other errors unchanged.
func inJSONsWords(err error) error {
	var wrong *json.UnmarshalTypeError
	var noTime *time.ParseError
	switch {
	case errors.As(err, &noTime):
		return fmt.Errorf("start_at is %.100q: it must be a time like 2026-11-24T18:00:00Z", strings.Trim(noTime.Value, `"`)) // the one time of a request
	case strings.HasPrefix(err.Error(), "Time.UnmarshalJSON: "):
		return errors.New("start_at is not a text: it must be a time like 2026-11-24T18:00:00Z")
	case !errors.As(err, &wrong):
		return err
	case wrong.Field == "":
		return fmt.Errorf("the request is of type %s: it must be an object like {\"action\":\"tasks\"}", wrong.Value)
	}
	must := "a text"
	switch wrong.Type.Kind() { //nolint:exhaustive // a request has no others
	case reflect.Int, reflect.Int64:
		must = "a whole number"
	case reflect.Float64:
		must = "a number"
	case reflect.Struct, reflect.Pointer:
		must = "an object"
	}
	return fmt.Errorf("%s is of type %s: it must be %s", wrong.Field, wrong.Value, must)
}

// message returns the text of an error, cut at a character when it is long.
func message(err error) string {
	text := strings.ToValidUTF8(err.Error(), string(utf8.RuneError))
	if len(text) <= maxMessage {
		return text
	}
	cut := maxMessage
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:cut], len(text)-cut)
}

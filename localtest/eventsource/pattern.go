package eventsource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Pattern is an event filter: the subset of Lambda's rules that a template here may use, which are exact values, prefix
// and exists. See https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html.
type Pattern struct{ fields map[string]any }

// ParsePattern reads a pattern. The error names a rule that is not in the subset.
func ParsePattern(text string) (Pattern, error) {
	var p Pattern
	if err := json.Unmarshal([]byte(text), &p.fields); err != nil {
		return p, fmt.Errorf("filter pattern %s: %w", text, err)
	}
	if err := check(p.fields, "$"); err != nil {
		return p, fmt.Errorf("filter pattern %s: %w", text, err)
	}
	return p, nil
}

func check(fields map[string]any, path string) error {
	if len(fields) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	for name, rules := range fields {
		path := path + "." + name
		switch rules := rules.(type) {
		case map[string]any:
			if err := check(rules, path); err != nil {
				return err
			}
		case []any:
			if len(rules) == 0 {
				return fmt.Errorf("%s has no rule", path)
			}
			for _, rule := range rules {
				if err := checkRule(rule, path); err != nil {
					return err
				}
			}
		default:
			return fmt.Errorf("%s is neither an object nor a list of rules", path)
		}
	}
	return nil
}

func checkRule(rule any, path string) error {
	switch rule := rule.(type) {
	case []any:
		return fmt.Errorf("%s: a rule is a list", path)
	case map[string]any:
		_, prefix := rule["prefix"].(string)
		_, exists := rule["exists"].(bool)
		if len(rule) != 1 || !prefix && !exists {
			return fmt.Errorf("%s: the rule %v is none of exact, prefix and exists", path, rule)
		}
	}
	return nil
}

// Match reports whether a record, as JSON, passes the filter.
func (p Pattern) Match(record []byte) (bool, error) {
	dec := json.NewDecoder(bytes.NewReader(record))
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return false, fmt.Errorf("filter a record: %w", err)
	}
	return match(p.fields, fields), nil
}

func match(pattern, fields map[string]any) bool {
	for name, rules := range pattern {
		value, present := fields[name]
		switch rules := rules.(type) {
		case map[string]any:
			below, _ := value.(map[string]any) // without one, only what must not exist matches
			if !match(rules, below) {
				return false
			}
		case []any:
			if !matchAny(rules, value, present) {
				return false
			}
		}
	}
	return true
}

func matchAny(rules []any, value any, present bool) bool {
	for _, rule := range rules {
		named, _ := rule.(map[string]any)
		if exists, is := named["exists"].(bool); is {
			_, inner := value.(map[string]any) // exists is about leaves
			if (present && !inner) == exists {
				return true
			}
			continue
		}
		values, list := value.([]any)
		if !list {
			values = []any{value}
		}
		for _, v := range values {
			if present && matchOne(rule, named, v) {
				return true
			}
		}
	}
	return false
}

func matchOne(rule any, named map[string]any, value any) bool {
	if prefix, is := named["prefix"].(string); is {
		text, is := value.(string)
		return is && strings.HasPrefix(text, prefix)
	}
	switch value.(type) {
	case map[string]any, []any:
		return false
	}
	return named == nil && rule == value
}

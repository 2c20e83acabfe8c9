package eventsource

import (
	"strings"
	"testing"
)

func TestAPatternMatchesAsLambdaDoes(t *testing.T) {
	t.Parallel()
	const ready = `{"eventName":["INSERT","MODIFY"],"dynamodb":{"NewImage":{"queue":{"S":[{"prefix":"ready#"}]}}}}`
	for name, c := range map[string]struct {
		pattern, record string
		want            bool
	}{
		"an insert into ready":     {ready, `{"eventName":"INSERT","dynamodb":{"NewImage":{"queue":{"S":"ready#07"}}}}`, true},
		"a change to ready":        {ready, `{"eventName":"MODIFY","dynamodb":{"NewImage":{"queue":{"S":"ready#00"},"x":{"N":"1"}}}}`, true},
		"another queue":            {ready, `{"eventName":"MODIFY","dynamodb":{"NewImage":{"queue":{"S":"running#00"}}}}`, false},
		"a queue of another type":  {ready, `{"eventName":"MODIFY","dynamodb":{"NewImage":{"queue":{"N":"1"}}}}`, false},
		"no queue":                 {ready, `{"eventName":"INSERT","dynamodb":{"NewImage":{"pk":{"S":"ready#"}}}}`, false},
		"a removal":                {ready, `{"eventName":"REMOVE","dynamodb":{"OldImage":{"queue":{"S":"ready#00"}}}}`, false},
		"a removal with an image":  {ready, `{"eventName":"REMOVE","dynamodb":{"NewImage":{"queue":{"S":"ready#00"}}}}`, false},
		"a number":                 {`{"n":[1,2]}`, `{"n":2}`, true},
		"another number":           {`{"n":[1,2]}`, `{"n":3}`, false},
		"null":                     {`{"n":[null]}`, `{"n":null}`, true},
		"nothing is not null":      {`{"n":[null]}`, `{}`, false},
		"one of a list":            {`{"n":["a"]}`, `{"n":["b","a"]}`, true},
		"it exists":                {`{"a":{"n":[{"exists":true}]}}`, `{"a":{"n":"x"}}`, true},
		"it does not exist":        {`{"a":{"n":[{"exists":true}]}}`, `{"a":{}}`, false},
		"it must not exist":        {`{"a":{"n":[{"exists":false}]}}`, `{}`, true},
		"it must not, and does":    {`{"a":{"n":[{"exists":false}]}}`, `{"a":{"n":1}}`, false},
		"an object is no leaf":     {`{"a":[{"exists":true}]}`, `{"a":{"n":1}}`, false},
		"a prefix of no text":      {`{"n":[{"prefix":"1"}]}`, `{"n":12}`, false},
		"one of two fields":        {`{"a":[1],"b":[1]}`, `{"a":1,"b":2}`, false},
		"prefix or exact, exact":   {`{"a":[{"prefix":"x"},"yz"]}`, `{"a":"yz"}`, true},
		"an object for exact text": {`{"a":["x"]}`, `{"a":{"x":1}}`, false},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := p.Match([]byte(c.record)); got != c.want || err != nil {
			t.Errorf("%s: %t, error %v, want %t", name, got, err, c.want)
		}
	}
}

func TestAPatternOutsideOfTheSubsetIsRefused(t *testing.T) {
	t.Parallel()
	for pattern, says := range map[string]string{
		`{`:                                 "unexpected end",
		`{}`:                                "$ is empty",
		`{"a":{}}`:                          "$.a is empty",
		`{"a":"x"}`:                         "$.a is neither",
		`{"a":[]}`:                          "$.a has no rule",
		`{"a":[["x"]]}`:                     "$.a: a rule is a list",
		`{"a":[{"suffix":"x"}]}`:            "none of exact, prefix and exists",
		`{"a":[{"prefix":1}]}`:              "none of exact",
		`{"a":[{"prefix":"x","not":"y"}]}`:  "none of exact",
		`{"a":{"b":[{"numeric":[">",1]}]}}`: "$.a.b: the rule",
	} {
		if _, err := ParsePattern(pattern); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one that says %q", pattern, err, says)
		}
	}
}

package eventsource

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// Mapping is how a table's stream invokes a function, in the words of Lambda's event source mappings.
type Mapping struct {
	BatchSize       int // records of one invocation at most
	Parallelization int // invocations at once for each shard of the stream; records of one item stay in order
	Retries         int // of an invocation that fails
	RecordAge       time.Duration
	Filters         []Pattern // a record passes when one of them matches it; all records when there is none
}

// scalar is a value of the template, or the name of the parameter that has it.
type scalar struct{ value, parameter string }

// UnmarshalYAML takes a plain value or a !Ref of one.
func (s *scalar) UnmarshalYAML(n *yaml.Node) error {
	switch {
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("line %d: neither a value nor a !Ref", n.Line)
	case n.Tag == "!Ref":
		s.parameter = n.Value
	default:
		s.value = n.Value
	}
	return nil
}

// template is what is read of a template.
type template struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Properties struct {
			Events map[string]struct {
				Type       string    `yaml:"Type"`
				Properties yaml.Node `yaml:"Properties"`
			} `yaml:"Events"`
		} `yaml:"Properties"`
	} `yaml:"Resources"`
}

// streamEvent is a function's event of type DynamoDB. Its fields are all that the emulation understands.
type streamEvent struct {
	Stream                         yaml.Node `yaml:"Stream"`
	StartingPosition               scalar    `yaml:"StartingPosition"`
	BatchSize                      scalar    `yaml:"BatchSize"`
	MaximumBatchingWindowInSeconds scalar    `yaml:"MaximumBatchingWindowInSeconds"`
	ParallelizationFactor          scalar    `yaml:"ParallelizationFactor"`
	MaximumRetryAttempts           scalar    `yaml:"MaximumRetryAttempts"`
	MaximumRecordAgeInSeconds      scalar    `yaml:"MaximumRecordAgeInSeconds"`
	BisectBatchOnFunctionError     scalar    `yaml:"BisectBatchOnFunctionError"`
	DestinationConfig              yaml.Node `yaml:"DestinationConfig"`
	FilterCriteria                 struct {
		Filters []struct {
			Pattern string `yaml:"Pattern"`
		} `yaml:"Filters"`
	} `yaml:"FilterCriteria"`
}

// FromTemplate returns the mapping of a function of a SAM template, which must have exactly one. Parameters stand in
// place of the template's defaults.
func FromTemplate(path, function string, parameters map[string]string) (Mapping, error) {
	m, err := fromTemplate(path, function, parameters)
	if err != nil {
		return m, fmt.Errorf("stream of %s in %s: %w", function, path, err)
	}
	return m, nil
}

func fromTemplate(path, function string, parameters map[string]string) (Mapping, error) {
	var m Mapping
	data, err := os.ReadFile(path) //nolint:gosec // the path is the caller's choice
	if err != nil {
		return m, err
	}
	var t template
	if err := yaml.Unmarshal(data, &t); err != nil {
		return m, err
	}
	var found []streamEvent
	for _, e := range t.Resources[function].Properties.Events {
		if e.Type != "DynamoDB" {
			continue
		}
		var s streamEvent
		if err := e.Properties.Decode(&s); err != nil {
			return m, err
		}
		found = append(found, s)
	}
	if len(found) != 1 {
		return m, fmt.Errorf("it has %d events of type DynamoDB, want 1", len(found))
	}
	s := found[0]
	number := func(name string, v scalar, standard int) (n int) {
		text := v.value
		if v.parameter != "" {
			if text = parameters[v.parameter]; text == "" {
				text = t.Parameters[v.parameter].Default
			}
		}
		if text == "" {
			return standard
		}
		if n, e := strconv.Atoi(text); e == nil {
			return n
		}
		err = fmt.Errorf("%s is %q, want a number", name, text)
		return 0
	}
	// The standards are Lambda's own; those of the last two mean for ever.
	m = Mapping{
		BatchSize:       number("BatchSize", s.BatchSize, 100),
		Parallelization: number("ParallelizationFactor", s.ParallelizationFactor, 1),
		Retries:         number("MaximumRetryAttempts", s.MaximumRetryAttempts, -1),
		RecordAge:       time.Duration(number("MaximumRecordAgeInSeconds", s.MaximumRecordAgeInSeconds, -1)) * time.Second,
	}
	window := number("MaximumBatchingWindowInSeconds", s.MaximumBatchingWindowInSeconds, 0)
	switch {
	case err != nil:
		return m, err
	case s.StartingPosition.value != "LATEST":
		return m, fmt.Errorf("StartingPosition is %q; the emulation knows LATEST alone", s.StartingPosition.value)
	case window != 0 || s.BisectBatchOnFunctionError.value == "true":
		return m, fmt.Errorf("the emulation knows neither a batching window nor bisected batches")
	case m.Retries < 0 || m.RecordAge < 0:
		return m, fmt.Errorf("the emulation wants MaximumRetryAttempts and MaximumRecordAgeInSeconds to be set")
	}
	for _, f := range s.FilterCriteria.Filters {
		p, err := ParsePattern(f.Pattern)
		if err != nil {
			return m, err
		}
		m.Filters = append(m.Filters, p)
	}
	return m, nil
}

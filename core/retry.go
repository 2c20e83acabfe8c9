package core

import (
	"math"
	"time"
)

// RetryPolicy says how often a task is attempted and how long to wait between attempts. Attempts that end
// because an executor died are not counted here: they are recovered, up to the engine's own limit.
type RetryPolicy struct {
	// MaxAttempts is how many attempts there are, the first included. Default 1: no retry. At most 1,000.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// BaseDelay is the wait before the second attempt. Default 1 s. From 1 ms to 30 days; like all durations of an
	// execution it counts in whole milliseconds.
	BaseDelay time.Duration `json:"base_delay,omitempty"`
	// Multiplier is what the wait grows by with each attempt. Default 2; from 1 to 100.
	Multiplier float64 `json:"multiplier,omitempty"`
	// MaxDelay is the longest wait. Default 1 h, or BaseDelay where that is longer. From 1 ms to 30 days.
	MaxDelay time.Duration `json:"max_delay,omitempty"`
	// Jitter is the share of the wait that is drawn at random and taken off, from 0 to 1. Default 0.
	Jitter float64 `json:"jitter,omitempty"`
}

const (
	maxRetryDelay     = 30 * 24 * time.Hour
	maxRetryAttempts  = 1000
	maxMultiplier     = 100
	defaultBaseDelay  = time.Second
	defaultMultiplier = 2
	defaultMaxDelay   = time.Hour
)

// attempts returns how many attempts the policy allows.
func (p RetryPolicy) attempts() int { return max(1, p.MaxAttempts) }

// validate returns an error that matches ErrInvalid and names the first field out of range.
func (p RetryPolicy) validate() error {
	switch {
	case p.MaxAttempts < 0 || p.MaxAttempts > maxRetryAttempts:
		return invalidf("retry policy: MaxAttempts is %d, must be from 0 to %d", p.MaxAttempts, maxRetryAttempts)
	case p.BaseDelay != 0 && (p.BaseDelay < time.Millisecond || p.BaseDelay > maxRetryDelay):
		return invalidf("retry policy: BaseDelay is %s, must be 0 (default %s) or from 1ms to %s", p.BaseDelay, defaultBaseDelay, maxRetryDelay)
	case p.MaxDelay != 0 && (p.MaxDelay < time.Millisecond || p.MaxDelay > maxRetryDelay):
		return invalidf("retry policy: MaxDelay is %s, must be 0 (default %s) or from 1ms to %s", p.MaxDelay, defaultMaxDelay, maxRetryDelay)
	case p.Multiplier != 0 && !(p.Multiplier >= 1 && p.Multiplier <= maxMultiplier):
		return invalidf("retry policy: Multiplier is %v, must be 0 (default %d) or from 1 to %d", p.Multiplier, defaultMultiplier, maxMultiplier)
	case !(p.Jitter >= 0 && p.Jitter <= 1):
		return invalidf("retry policy: Jitter is %v, must be from 0 to 1", p.Jitter)
	}
	return nil
}

// delay returns the wait after the given attempt (1 is the first); random is in [0, 1).
func (p RetryPolicy) delay(attempt int, random float64) time.Duration {
	base, multiplier, limit := p.BaseDelay, p.Multiplier, p.MaxDelay
	if base == 0 {
		base = defaultBaseDelay
	}
	if multiplier == 0 {
		multiplier = defaultMultiplier
	}
	if limit == 0 {
		limit = max(defaultMaxDelay, base)
	}
	d := math.Min(float64(base)*math.Pow(multiplier, float64(attempt-1)), float64(limit))
	return time.Duration(d * (1 - p.Jitter*random))
}

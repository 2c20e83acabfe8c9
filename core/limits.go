package core

import (
	"fmt"
	"time"
)

// Limits bound what one execution may hold. They are checked before the first write.
type Limits struct {
	// Payload is the largest input or output in bytes. Default 1 MiB, at most 10 MiB.
	Payload int
	// Children is the largest number of children of one parent. Default 10,000, which is also the most.
	Children int
}

const (
	defaultMaxPayload = 1 << 20
	maxPayload        = 10 << 20
	maxChildren       = 10_000
)

func (l Limits) withDefaults() (Limits, error) {
	if l.Payload == 0 {
		l.Payload = defaultMaxPayload
	}
	if l.Children == 0 {
		l.Children = maxChildren
	}
	switch {
	case l.Payload < 0 || l.Payload > maxPayload:
		return l, invalidf("limits: Payload is %d bytes, must be from 1 to %d", l.Payload, maxPayload)
	case l.Children < 0 || l.Children > maxChildren:
		return l, invalidf("limits: Children is %d, must be from 1 to %d", l.Children, maxChildren)
	}
	return l, nil
}

func (l Limits) checkPayload(what string, data []byte) error {
	if len(data) > l.Payload {
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d: keep large values elsewhere and pass a reference",
			ErrTooLarge, what, len(data), l.Payload)
	}
	return nil
}

// newSpec returns the spec of one execution of a task, or what is wrong with the options.
func newSpec(def *definition, input []byte, opts EnqueueOptions, now time.Time) (Spec, error) {
	s := Spec{
		TaskID: def.id, Input: input,
		Retry: def.opts.Retry, Timeout: def.opts.Timeout, Delay: def.opts.Delay,
	}
	switch {
	case opts.ID != "" && !executionIDPattern.MatchString(opts.ID):
		return s, invalidf("execution id %q: it must have 1 to 64 letters, digits, '-' and '_'", opts.ID)
	case opts.Delay < 0 || opts.Delay > maxDuration:
		return s, invalidf("options of task %q: Delay is %s, must be from 0 to %s", def.id, opts.Delay, maxDuration)
	case opts.Delay != 0 && !opts.StartAt.IsZero():
		return s, invalidf("options of task %q: Delay and StartAt exclude each other", def.id)
	case opts.StartAt.Sub(now) > maxDuration:
		return s, invalidf("options of task %q: StartAt is %s, must be within %s", def.id, opts.StartAt, maxDuration)
	case opts.Timeout != 0 && (opts.Timeout < time.Millisecond || opts.Timeout > maxDuration):
		return s, invalidf("options of task %q: Timeout is %s, must be from 1ms to %s", def.id, opts.Timeout, maxDuration)
	}
	if opts.Timeout != 0 {
		s.Timeout = opts.Timeout
	}
	if opts.Delay != 0 {
		s.Delay = opts.Delay
	}
	if !opts.StartAt.IsZero() {
		s.Delay = max(0, opts.StartAt.Sub(now))
	}
	if opts.Retry != nil {
		if err := opts.Retry.validate(); err != nil {
			return s, err
		}
		s.Retry = *opts.Retry
	}
	return s, nil
}

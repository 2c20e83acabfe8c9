package core

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits bound what one execution may hold. They are checked before the first write.
type Limits struct {
	// Payload is the largest input or output in bytes. Default 1 MiB, at most 10 MiB.
	Payload int
	// Children is the largest number of children of one parent. Default 10,000, which is also the most.
	Children int
	// Timeout is the longest Timeout that an attempt may have: what the executors that run it have time for. A longer one
	// is refused at enqueue and fails a parent that returns a child with it; an execution that has one all the same, from
	// a client that did not know or from before it shrank, ends failed once it is due. Default: Config.LongestTimeout in
	// an engine and its clients, unknown in any other client: nothing is refused there. Set it, the same everywhere, to
	// that of the longest-lived where executors of several lifetimes share a store. At most 10 years.
	Timeout time.Duration
}

const (
	defaultMaxPayload = 1 << 20
	maxPayload        = 10 << 20
	maxChildren       = 10_000
	maxSteps          = 1000
	maxIterations     = 100_000
	maxKey            = 255      // bytes of a unique or idempotency key
	maxAnyID          = 66       // bytes of an execution's id; of one that a caller chooses 64
	maxFailureText    = 16 << 10 // bytes of a failure's text, and of its stack
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
	case l.Timeout != 0 && (l.Timeout < time.Millisecond || l.Timeout > maxDuration):
		return l, invalidf("limits: Timeout is %s, must be 0 or from 1ms to %s", l.Timeout, maxDuration)
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

// checkTimeout checks the timeout of an attempt against what executors have time for, where that is known.
func (l Limits) checkTimeout(taskID string, timeout time.Duration) error {
	if l.tooLong(timeout) {
		return invalidf("task %q: Timeout is %s, but no executor has more than %s for an attempt: shorten it, or raise the timeout of the functions",
			taskID, timeout, l.Timeout)
	}
	return nil
}

// tooLong reports whether no executor has time for an attempt.
func (l Limits) tooLong(timeout time.Duration) bool { return l.Timeout > 0 && timeout > l.Timeout }

// checkSpec is checkTimeout for a new execution. A sleeping task makes no attempts, and those of a sequence run no code.
func (l Limits) checkSpec(def *definition, s Spec) error {
	if def.sleepKey != nil || def.sequence != nil {
		return nil
	}
	return l.checkTimeout(def.id, s.Timeout)
}

// checkBound checks a timeout that may be zero.
func checkBound(what string, def *definition, name string, d time.Duration) error {
	switch {
	case d != 0 && (d < time.Millisecond || d > maxDuration):
		return invalidf("%s %q: %s is %s, must be 0 or from 1ms to %s", what, def.id, name, d, maxDuration)
	case d != 0 && def.sleepKey != nil:
		return invalidf("%s %q: %s is for tasks that run; a sleeping task has its Timeout alone", what, def.id, name)
	}
	return nil
}

// newSpec returns the spec of one execution of a task, or what is wrong with the options.
func newSpec(def *definition, input []byte, opts EnqueueOptions, now time.Time) (Spec, error) {
	s := Spec{
		TaskID: def.id, Input: input,
		Retry: def.opts.Retry, Timeout: def.opts.Timeout, Delay: def.opts.Delay,
		ScheduleToStart: def.opts.ScheduleToStart, StartToFinish: def.opts.StartToFinish,
	}
	switch {
	case opts.ID != "" && opts.Key != "":
		return s, invalidf("options of task %q: ID and Key exclude each other", def.id)
	case def.sleepKey != nil && opts.ID+opts.Key != "":
		return s, invalidf("options of task %q: a sleeping task has the id of its unique key; ID and Key must be empty", def.id)
	case len(opts.Key) > maxKey:
		return s, invalidf("options of task %q: Key has %d bytes, must have from 1 to %d", def.id, len(opts.Key), maxKey)
	case !utf8.ValidString(opts.Key):
		return s, invalidf("options of task %q: Key %q is not UTF-8 text", def.id, opts.Key)
	case opts.ID != "" && !executionIDPattern.MatchString(opts.ID):
		return s, invalidf("execution id %q: it must have 1 to 64 letters, digits, '-' and '_'", opts.ID)
	case opts.Delay < 0 || opts.Delay > maxDuration:
		return s, invalidf("options of task %q: Delay is %s, must be from 0 to %s", def.id, opts.Delay, maxDuration)
	case opts.Delay != 0 && !opts.StartAt.IsZero():
		return s, invalidf("options of task %q: Delay and StartAt exclude each other", def.id)
	case opts.StartAt.After(now.Add(maxDuration)) || opts.StartAt.Year() > 9999: // a Time wraps round far beyond that
		return s, invalidf("options of task %q: StartAt is %s, must be within %s", def.id, opts.StartAt, maxDuration)
	case opts.Timeout != 0 && (opts.Timeout < time.Millisecond || opts.Timeout > maxDuration):
		return s, invalidf("options of task %q: Timeout is %s, must be from 1ms to %s", def.id, opts.Timeout, maxDuration)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		field *time.Duration
	}{{"ScheduleToStart", opts.ScheduleToStart, &s.ScheduleToStart}, {"StartToFinish", opts.StartToFinish, &s.StartToFinish}} {
		if err := checkBound("options of task", def, d.name, d.value); err != nil {
			return s, err
		}
		if d.value != 0 {
			*d.field = d.value
		}
	}
	if opts.Timeout != 0 && def.sequence == nil {
		s.Timeout = opts.Timeout
	}
	if opts.Delay != 0 {
		s.Delay = opts.Delay
	}
	if !opts.StartAt.IsZero() {
		// Records have whole milliseconds: none starts early.
		s.Delay = max(0, Millis(opts.StartAt.Add(time.Millisecond-1)).Sub(Millis(now)))
	}
	if opts.Retry != nil {
		if err := opts.Retry.validate(); err != nil {
			return s, err
		}
		s.Retry = *opts.Retry
	}
	return s, nil
}

package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Iteration is what one iteration of a looping task came to. Done, Again and AgainWith make it.
type Iteration[In, Out any] struct {
	Done   bool
	Output Out // of the loop, when Done
	// Next is the input of the next iteration; nil for the loop's own.
	Next *In
	// Sleep is waited before the next iteration, at most 30 days. Default (0): what the loop's options say; less than 0
	// for none.
	Sleep time.Duration
}

// Done ends a loop with an output.
func Done[In, Out any](out Out) Iteration[In, Out] {
	return Iteration[In, Out]{Done: true, Output: out}
}

// Again asks for another iteration with the loop's own input.
func Again[In, Out any]() Iteration[In, Out] { return Iteration[In, Out]{} }

// AgainWith asks for another iteration with an input of its own, which may be nil or the zero value.
func AgainWith[In, Out any](next In) Iteration[In, Out] { return Iteration[In, Out]{Next: &next} }

// iterationRecord is the persisted form of an Iteration. Pointers tell what is there from what is not, whatever the value;
// HasNext tells a next input that is null in JSON from none.
type iterationRecord[In, Out any] struct {
	Done    bool          `json:"done"`
	Output  *Out          `json:"output,omitempty"`
	Next    *In           `json:"next,omitempty"`
	HasNext bool          `json:"has_next,omitempty"`
	Sleep   time.Duration `json:"sleep,omitempty"`
}

func (i Iteration[In, Out]) persisted() any {
	r := iterationRecord[In, Out]{Done: i.Done, Next: i.Next, HasNext: i.Next != nil, Sleep: i.Sleep}
	if i.Done {
		r.Output = &i.Output
	}
	return r
}

// MarshalJSON returns the persisted form.
func (i Iteration[In, Out]) MarshalJSON() ([]byte, error) { return JSON{}.Encode(i.persisted()) }

// UnmarshalJSON reads what MarshalJSON returned.
func (i *Iteration[In, Out]) UnmarshalJSON(data []byte) error {
	r := i.record()
	if err := json.Unmarshal(data, r); err != nil {
		return err
	}
	return i.restore(r, data)
}

func (*Iteration[In, Out]) record() any { return new(iterationRecord[In, Out]) }

func (i *Iteration[In, Out]) restore(record any, data []byte) (err error) {
	r := record.(*iterationRecord[In, Out]) //nolint:forcetypeassert // record made it
	*i = Iteration[In, Out]{Done: r.Done, Next: r.Next, Sleep: r.Sleep}
	if r.Done {
		if i.Output, err = orNull(r.Output, data, "output"); err != nil {
			return err
		}
	}
	if r.HasNext && r.Next == nil {
		next, err := orNull(r.Next, data, "next")
		i.Next = &next
		return err
	}
	return nil
}

// orNull returns what a pointer of a record points to. A nil one stands for the zero value, but in JSON for null as well,
// which encoding/json keeps from the value's own UnmarshalJSON: a value that is null in JSON need not be the zero one.
func orNull[T any](p *T, record []byte, field string) (value T, err error) {
	if p != nil {
		return *p, nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(record, &fields) == nil && fields[field] != nil {
		err = json.Unmarshal(fields[field], &value)
	}
	return value, err
}

// LoopResult is what a looping task came to.
type LoopResult[Out any] struct {
	// Succeeded tells that an iteration said that it is done.
	Succeeded bool
	// Output is the last iteration's; the zero value when the loop did not succeed.
	Output Out
	// Iterations is how many there were.
	Iterations int
}

// loopRecord is the persisted form of a LoopResult, whose output is there when it succeeded.
type loopRecord[Out any] struct {
	Succeeded  bool `json:"succeeded"`
	Output     *Out `json:"output,omitempty"`
	Iterations int  `json:"iterations"`
}

func (l LoopResult[Out]) persisted() any {
	r := loopRecord[Out]{Succeeded: l.Succeeded, Iterations: l.Iterations}
	if l.Succeeded {
		r.Output = &l.Output
	}
	return r
}

// MarshalJSON returns the persisted form: succeeded, output when it did, iterations.
func (l LoopResult[Out]) MarshalJSON() ([]byte, error) { return JSON{}.Encode(l.persisted()) }

// UnmarshalJSON reads what MarshalJSON returned.
func (l *LoopResult[Out]) UnmarshalJSON(data []byte) error {
	r := l.record()
	if err := json.Unmarshal(data, r); err != nil {
		return err
	}
	return l.restore(r, data)
}

func (*LoopResult[Out]) record() any { return new(loopRecord[Out]) }

func (l *LoopResult[Out]) restore(record any, data []byte) (err error) {
	r := record.(*loopRecord[Out]) //nolint:forcetypeassert // record made it
	*l = LoopResult[Out]{Succeeded: r.Succeeded, Iterations: r.Iterations}
	if r.Succeeded {
		l.Output, err = orNull(r.Output, data, "output")
	}
	return err
}

// rawRecord is the persisted form of an Iteration, and rawLoopResult that of a LoopResult which succeeded, with the values as
// they were encoded where the iteration ran: by another version of the program, maybe, whose values have what this
// one's have not.
type (
	rawRecord struct {
		Output json.RawMessage `json:"output"`
		Next   json.RawMessage `json:"next"`
	}
	rawLoopResult struct {
		Succeeded  bool            `json:"succeeded"`
		Output     json.RawMessage `json:"output"`
		Iterations int             `json:"iterations"`
	}
)

// rawIteration returns what an iteration came to without decoding its values; false for a codec other than JSON. What is
// not there is null.
func rawIteration(c Codec, v value) (rawRecord, bool) {
	raw := rawRecord{Output: json.RawMessage("null"), Next: json.RawMessage("null")}
	return raw, isJSON(&c) && json.Unmarshal(v.data, &raw) == nil
}

// LoopOptions say how often and how fast a loop goes round.
type LoopOptions struct {
	// MaxIterations is how many iterations there are at most, from 1 to 100,000. Required.
	MaxIterations int
	// Sleep is waited between two iterations, from 0 to 30 days, besides the iteration task's own Delay. Default none.
	Sleep time.Duration
	// SleepFor, when it is not nil, returns what to wait in place of Sleep before the given iteration (1 for the
	// second); less than 0 counts as none, more than 30 days as 30 days. It is called by whatever executor gets there, so it
	// should depend on its argument alone.
	SleepFor func(iteration int) time.Duration
}

func (o LoopOptions) validate(id string) error {
	switch {
	case o.MaxIterations < 1 || o.MaxIterations > maxIterations:
		return invalidf("task %q: MaxIterations is %d, must be from 1 to %d", id, o.MaxIterations, maxIterations)
	case o.Sleep < 0 || o.Sleep > maxRetryDelay:
		return invalidf("task %q: Sleep is %s, must be from 0 to %s", id, o.Sleep, maxRetryDelay)
	}
	return nil
}

// pause returns the wait before an iteration, of which the one before asked for sleep.
func (o LoopOptions) pause(sleep time.Duration, iteration int) time.Duration {
	switch {
	case sleep != 0:
	case o.SleepFor != nil:
		sleep = o.SleepFor(iteration)
	default:
		sleep = o.Sleep
	}
	return min(max(0, sleep), maxRetryDelay)
}

// loop is what makes a sequence a loop.
type loop struct {
	iteration *definition
	opts      LoopOptions
	// decode takes apart what an iteration came to.
	decode func(c Codec, v value) (iterated, error)
	// result encodes what the loop came to after n iterations.
	result func(c Codec, last value, succeeded bool, n int) ([]byte, error)
}

// iterated is an Iteration with its types erased.
type iterated struct {
	done  bool
	next  []byte // nil for the loop's own input
	sleep time.Duration
}

// NewLoopingTask returns a task that runs an iteration task again and again, until an iteration says that it is
// done or MaxIterations have been made, with a sleep in between that costs nothing. An iteration that does not
// complete, its retries included, ends the loop as failed, with the iteration's failure: see Failure. Info.Index tells
// an iteration's code its number, from 0. Of the options, Timeout and Retry mean nothing here, since a loop has no
// code of its own; StartToFinish bounds the whole.
func NewLoopingTask[In, Out any](
	id string, iteration *Task[In, Iteration[In, Out]], loops LoopOptions, opts TaskOptions,
) *Task[In, LoopResult[Out]] {
	opts.Timeout = bookkeeping
	def := newDefinition[In](id, opts)
	def.sequence = &sequence{loop: &loop{
		iteration: iteration.definition(), opts: loops,
		decode: func(c Codec, v value) (iterated, error) {
			it, err := decodeValue[Iteration[In, Out]](c, v)
			if err != nil {
				return iterated{}, err
			}
			out := iterated{done: it.Done, sleep: it.Sleep}
			switch raw, ok := rawIteration(c, v); {
			case it.Next == nil:
			case ok:
				out.next = raw.Next
			default:
				out.next, err = encodeValue(c, *it.Next)
			}
			return out, err
		},
		result: func(c Codec, last value, succeeded bool, n int) ([]byte, error) {
			r := LoopResult[Out]{Succeeded: succeeded, Iterations: n}
			if succeeded {
				it, err := decodeValue[Iteration[In, Out]](c, last)
				if err != nil {
					return nil, err
				}
				if raw, ok := rawIteration(c, last); ok {
					return encodeOutput(c, rawLoopResult{Succeeded: true, Output: raw.Output, Iterations: n})
				}
				r.Output = it.Output
			}
			return encodeOutput(c, r)
		},
	}}
	return &Task[In, LoopResult[Out]]{def}
}

// iterate returns the specs of a loop that goes on after a finished iteration, or its output and true for one that
// is over; last tells that there is no further iteration in any case.
func (x *Executor) iterate(
	ctx context.Context, parent *Execution, def *definition, finished *Execution, last bool,
) (specs []Spec, out Payload, over bool, err error) {
	v, err := x.results.of(ctx, finished)
	if err != nil {
		return nil, Payload{}, false, err
	}
	step, l := parent.Family.Step, def.sequence.loop
	fail := func(err error) ([]Spec, Payload, bool, error) {
		return nil, Payload{}, false, &limitError{fmt.Errorf("iteration %d: %w", step, err)}
	}
	switch {
	case l == nil && x.othersMayKnow(parent):
		return nil, Payload{}, false, errUnknownHere
	case l == nil:
		return fail(errors.New("its task is no loop any more"))
	}
	var (
		it     iterated
		result []byte
		pause  time.Duration
	)
	err = guarded(func() (err error) {
		if it, err = l.decode(x.cfg.Codec, v); err != nil {
			return inputError{err, true}
		}
		if it.done || last {
			result, err = l.result(x.cfg.Codec, v, it.done, step+1)
			return err
		}
		pause = l.opts.pause(it.sleep, step+1)
		return nil
	})
	switch undecoded := undecodedBy(err); {
	case undecoded && x.othersMayKnow(parent):
		return nil, Payload{}, false, errUnknownHere
	case err != nil:
		return fail(err)
	case it.done || last:
		if err := x.cfg.Limits.checkPayload("the output of task "+parent.TaskID, result); err != nil {
			return fail(err)
		}
		return nil, Payload{Data: result}, true, nil
	}
	if err := x.cfg.Limits.checkPayload("the input of task "+l.iteration.id, it.next); err != nil {
		return fail(err)
	}
	spec, err := newSpec(l.iteration, it.next, EnqueueOptions{}, time.Now())
	if err != nil {
		return fail(err)
	}
	spec.Delay = min(spec.Delay+pause, maxDuration)
	return []Spec{spec}, Payload{}, false, nil
}

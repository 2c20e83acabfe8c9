package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Iteration is what one iteration of a looping task came to. Done, Again and AgainWith make it.
type Iteration[In, Out any] struct {
	Done   bool `json:"done"`
	Output Out  `json:"output,omitzero"` // of the loop, when Done
	// Next is the input of the next iteration; nil for the loop's own.
	Next *In `json:"next,omitempty"`
	// Sleep is waited before the next iteration; 0 for what the loop's options say.
	Sleep time.Duration `json:"sleep,omitempty"`
}

// Done ends a loop with an output.
func Done[In, Out any](out Out) Iteration[In, Out] {
	return Iteration[In, Out]{Done: true, Output: out}
}

// Again asks for another iteration with the loop's own input.
func Again[In, Out any]() Iteration[In, Out] { return Iteration[In, Out]{} }

// AgainWith asks for another iteration with an input of its own.
func AgainWith[In, Out any](next In) Iteration[In, Out] { return Iteration[In, Out]{Next: &next} }

// LoopResult is what a looping task came to.
type LoopResult[Out any] struct {
	// Succeeded tells that an iteration said that it is done.
	Succeeded bool `json:"succeeded"`
	// Output is the last iteration's; the zero value when the loop did not succeed.
	Output Out `json:"output,omitzero"`
	// Iterations is how many there were.
	Iterations int `json:"iterations"`
}

// LoopOptions say how often and how fast a loop goes round.
type LoopOptions struct {
	// MaxIterations is how many iterations there are at most, from 1 to 100,000. Required.
	MaxIterations int
	// Sleep is waited between two iterations, from 0 to 30 days. Default none.
	Sleep time.Duration
	// SleepFor, when it is not nil, returns what to wait in place of Sleep before the given iteration (1 for the
	// second). It is called by whatever executor gets there, so it should depend on its argument alone.
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

// sleep returns the wait before an iteration.
func (o LoopOptions) sleep(iteration int) time.Duration {
	d := o.Sleep
	if o.SleepFor != nil {
		d = o.SleepFor(iteration)
	}
	return min(max(0, d), maxRetryDelay)
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
// complete, its retries included, ends the loop as failed, with a failure that names the iteration. Info.Index tells
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
			if it.Next != nil {
				out.next, err = c.Encode(*it.Next)
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
	if l == nil {
		return fail(errors.New("its task is no loop any more"))
	}
	it, err := l.decode(x.cfg.Codec, v)
	if err != nil {
		return fail(err)
	}
	if it.done || last {
		data, err := l.result(x.cfg.Codec, v, it.done, step+1)
		if err == nil {
			err = x.cfg.Limits.checkPayload("the output of task "+parent.TaskID, data)
		}
		if err != nil {
			return fail(err)
		}
		return nil, Payload{Data: data}, true, nil
	}
	if err := x.cfg.Limits.checkPayload("the input of task "+l.iteration.id, it.next); err != nil {
		return fail(err)
	}
	spec, err := newSpec(l.iteration, it.next, EnqueueOptions{}, time.Now())
	if err != nil {
		return fail(err)
	}
	spec.Delay = it.sleep
	if spec.Delay <= 0 {
		spec.Delay = l.opts.sleep(step + 1)
	}
	return []Spec{spec}, Payload{}, false, nil
}

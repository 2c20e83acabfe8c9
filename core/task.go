package core

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// TaskOptions are the options of a task; the zero value works.
type TaskOptions struct {
	// Timeout bounds one attempt: its context ends, and the attempt fails as timed out. Default 30 s. An
	// executor takes an attempt only while it has that long to live, so it must fit the function's own timeout: see
	// Config.LongestTimeout.
	Timeout time.Duration
	// Retry says how often the task is attempted. Default: once.
	Retry RetryPolicy
	// Delay is waited between enqueueing and the first attempt. Default none.
	Delay time.Duration
	// ScheduleToStart bounds how long an attempt may wait for an executor once it may start: one that starts later
	// ends the execution as timed out. Default: for ever. An idle executor may take its Poll to find an execution, and
	// Lambda a second to start one: a shorter bound may be over before anybody could look.
	ScheduleToStart time.Duration
	// StartToFinish bounds the whole execution, from the start of its first attempt, over all attempts and
	// children: it ends timed out, and what is unfinished below it cancelled. Default: for ever.
	StartToFinish time.Duration
}

const defaultTimeout = 30 * time.Second

// Task is a typed function that the engine runs durably. Its id is what executions remember: it must stay
// the same from one version of the program to the next.
type Task[In, Out any] struct{ def *definition }

// Definition is a Task of any type, for NewRegistry.
type Definition interface{ definition() *definition }

func (t *Task[In, Out]) definition() *definition {
	if t == nil {
		return nil
	}
	return t.def
}

// ID returns the task's id.
func (t *Task[In, Out]) ID() string { return t.def.id }

// definition is a task with its types erased.
type definition struct {
	id   string
	opts TaskOptions
	// codec is that of the engine or client that registered the task last; nil before.
	codec atomic.Pointer[Codec]
	// run is the user's function between a decoded input and an encoded output; nil when the user gave none.
	run func(ctx context.Context, c Codec, in value) (outcome, error)
	// parent tells that run commits to children, be they none.
	parent       bool
	finalize     func(ctx context.Context, c Codec, v value) ([]byte, error)
	finalizeTask *definition
	// hasFinalize tells that the user asked for a finalize, so that a missing one is found.
	hasFinalize bool
	// sequence is nil but for a sequential or a looping task.
	sequence *sequence
	// sleepKey returns the unique key that the input of a sleeping task is; nil for all others.
	sleepKey func(c Codec, in value) (string, error)
	// decodes returns what is wrong with an encoded input.
	decodes func(c Codec, in value) error
	// decodesOutput returns what is wrong with an encoded output; nil but for a sleeping task.
	decodesOutput func(c Codec, out value) error
	// inputless tells that the input is a struct{}, of which there is only one.
	inputless bool
	// validate is the user's check of a decoded input; nil when there is none.
	validate func(c Codec, in value) error
	// hasValidate tells that the user asked for a check, so that a missing one is found.
	hasValidate bool
}

// check returns what is wrong with an encoded input: that it does not decode, or what Validate says. It calls code of the
// user's.
func (d *definition) check(c Codec, v value) error {
	if d.sleepKey != nil {
		if _, err := d.sleepKey(c, v); err != nil {
			return err
		}
	}
	if d.validate != nil {
		return d.validate(c, v)
	}
	return d.decodes(c, v)
}

// noInput returns what stands for the input that a caller left out. What is left out is not null.
func (d *definition) noInput(c Codec) (input []byte, err error) {
	if !d.inputless {
		return nil, errors.New("the input is missing: give one, null where that is meant")
	}
	err = guardedCall(func() (err error) {
		input, err = encodeValue(c, struct{}{})
		return err
	})
	return input, err
}

// Validate makes the task refuse inputs for which check returns an error: at enqueue, where the error matches
// ErrInvalid and nothing is written, and before each run, which then ends failed and is not retried. It is for the
// task's declaration, changes the task and returns it.
func (t *Task[In, Out]) Validate(check func(In) error) *Task[In, Out] {
	if t.def.hasValidate, t.def.validate = true, nil; check == nil {
		return t // NewRegistry says so
	}
	t.def.validate = func(c Codec, v value) error {
		in, err := decodeValue[In](c, v)
		if err != nil {
			return inputError{err, true}
		}
		if err := check(in); err != nil {
			return inputError{err, false}
		}
		return nil
	}
	return t
}

// outcome is what a run comes to.
type outcome struct {
	output   []byte
	children []Child
	specs    []Spec // of the children
}

// inputError is the error of an input that does not decode, or of an output that does not encode: no attempt would fare
// better.
type inputError struct {
	error
	decode bool // it is an input, which another version of the program may be able to decode
}

func (e inputError) Unwrap() error { return e.error }

// NewTask returns a task that runs a function. The id has 1 to 255 letters, digits and underscores. What is
// wrong with it or with the options, NewRegistry says.
func NewTask[In, Out any](id string, run func(context.Context, In) (Out, error), opts TaskOptions) *Task[In, Out] {
	def := newDefinition[In](id, opts)
	if run != nil {
		def.run = func(ctx context.Context, c Codec, v value) (outcome, error) {
			in, err := decodeValue[In](c, v)
			if err != nil {
				return outcome{}, inputError{err, true}
			}
			out, err := run(ctx, in)
			if err != nil {
				return outcome{}, err
			}
			data, err := encodeOutput(c, out)
			return outcome{output: data}, err
		}
	}
	return &Task[In, Out]{def}
}

// NewParentTask returns a task whose function returns an output and children. The children run in parallel;
// when the last is finished, however each of them ended, the parent completes with its own output and all
// children's results.
func NewParentTask[In, R any](
	id string, run func(context.Context, In) (R, []Child, error), opts TaskOptions,
) *Task[In, Results[R]] {
	return &Task[In, Results[R]]{newParent(id, run, opts)}
}

// NewParentTaskWithFinalize is NewParentTask with a function that makes the parent's output of the family's
// results, failed children included. It is called once, is not retried, and its time is bounded by the
// parent's Timeout; when it returns an error the parent ends finalize_failed. A finalize that is worth
// retrying is a task: see NewParentTaskWithFinalizeTask.
func NewParentTaskWithFinalize[In, R, Out any](
	id string,
	run func(context.Context, In) (R, []Child, error),
	finalize func(context.Context, Results[R]) (Out, error),
	opts TaskOptions,
) *Task[In, Out] {
	def := newParent(id, run, opts)
	def.hasFinalize = true
	if finalize != nil {
		def.finalize = func(ctx context.Context, c Codec, v value) ([]byte, error) {
			family, err := decodeValue[Results[R]](c, v)
			if err != nil {
				return nil, inputError{err, true}
			}
			out, err := finalize(ctx, family)
			if err != nil {
				return nil, err
			}
			return encodeOutput(c, out)
		}
	}
	return &Task[In, Out]{def}
}

// NewParentTaskWithFinalizeTask is NewParentTask with a task, of any kind, that makes the parent's output of
// the family's results, failed children included. It is an execution of its own, retried as its policy says;
// when it does not complete the parent ends finalize_failed.
func NewParentTaskWithFinalizeTask[In, R, Out any](
	id string,
	run func(context.Context, In) (R, []Child, error),
	finalize *Task[Results[R], Out],
	opts TaskOptions,
) *Task[In, Out] {
	def := newParent(id, run, opts)
	def.hasFinalize, def.finalizeTask = true, finalize.definition()
	return &Task[In, Out]{def}
}

func newDefinition[In any](id string, opts TaskOptions) *definition {
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	_, inputless := any(*new(In)).(struct{})
	return &definition{id: id, opts: opts, inputless: inputless, decodes: func(c Codec, v value) error {
		_, err := decodeValue[In](c, v)
		return err
	}}
}

func newParent[In, R any](
	id string, run func(context.Context, In) (R, []Child, error), opts TaskOptions,
) *definition {
	def := newDefinition[In](id, opts)
	def.parent = true
	if run != nil {
		def.run = func(ctx context.Context, c Codec, v value) (outcome, error) {
			in, err := decodeValue[In](c, v)
			if err != nil {
				return outcome{}, inputError{err, true}
			}
			out, children, err := run(ctx, in)
			if err != nil {
				return outcome{}, err
			}
			data, err := encodeOutput(c, out)
			return outcome{output: data, children: children}, err
		}
	}
	return def
}

func encodeOutput(c Codec, out any) ([]byte, error) {
	data, err := encodeValue(c, out)
	if err != nil {
		return nil, inputError{fmt.Errorf("encode output %T: %w", out, err), false}
	}
	return data, nil
}

// EnqueueOptions are what one execution may have other than its task; the zero value changes nothing.
type EnqueueOptions struct {
	// ID is the execution's id: 1 to 64 letters, digits, '-' and '_'. Default: a new random one. The id of a child
	// or of a sleeping task is derived and cannot be chosen.
	ID string
	// Key makes enqueueing idempotent, in place of ID: 1 to 255 bytes of UTF-8 text. The first call with a key makes the
	// execution, later ones return its handle, as long as it is kept; one with another task or input is an error
	// that matches ErrAlreadyExists.
	Key string
	// Delay is waited before the first attempt, in place of the task's own. Default: the task's.
	Delay time.Duration
	// StartAt is when the first attempt may start, in place of Delay. Default: none.
	StartAt time.Time
	// Retry replaces the task's policy. Default: the task's.
	Retry *RetryPolicy
	// Timeout of one attempt replaces the task's. Default: the task's. One that no executor has time for is refused
	// where that is known: see Limits.Timeout. A sequence or a loop has no code of its own to bound: it is ignored there.
	Timeout time.Duration
	// ScheduleToStart replaces the task's. Default: the task's.
	ScheduleToStart time.Duration
	// StartToFinish replaces the task's. Default: the task's.
	StartToFinish time.Duration
}

// Child is a child that a parent's run asks for; Task.Child makes it.
type Child struct {
	def   *definition
	input any
	opts  EnqueueOptions
	// data is the input as codec encoded it, or err is why it could not.
	data  []byte
	err   error
	codec *Codec // nil for the default
}

// Child returns a child execution of the task for a parent's run to return. The input is taken as it is now: what becomes of
// it afterwards, in a loop that uses one variable again, changes nothing. (With a codec other than JSON that holds once
// there is an engine with that codec and the task.)
func (t *Task[In, Out]) Child(in In) Child { return t.ChildWith(in, EnqueueOptions{}) }

// ChildWith is Child with options.
func (t *Task[In, Out]) ChildWith(in In, opts EnqueueOptions) Child {
	if opts.Retry != nil {
		policy := *opts.Retry
		opts.Retry = &policy
	}
	c := Child{def: t.def, input: in, opts: opts, codec: t.def.codec.Load()}
	if c.codec == nil {
		c.data, c.err = encodeValue(JSON{}, in)
	} else {
		c.data, c.err = encodeValue(*c.codec, in)
	}
	return c
}

// encoded returns the input as the given codec encodes it.
func (c Child) encoded(by *Codec) ([]byte, error) {
	if c.codec == by || isJSON(c.codec) && isJSON(by) {
		return c.data, c.err
	}
	return encodeValue(*by, c.input)
}

// Results are what a parent's children came to, as its finalize sees it, and the output of a parent without
// finalize.
type Results[R any] struct {
	// Output is what the parent's run returned.
	Output R `json:"output"`
	// Children are in the order in which run returned them, whether they completed or not.
	Children []ChildResult `json:"children"`
}

func (f *Results[R]) decodeFamily(c Codec, v *familyValue) error {
	var err error
	if f.Output, err = decodeValue[R](c, value{data: v.output}); err != nil {
		return fmt.Errorf("run output: %w", err)
	}
	f.Children = v.children
	return nil
}

// ChildResult is how a child ended. Task.Result decodes its output.
type ChildResult struct {
	ExecutionID string
	TaskID      string
	Status      Status
	// Failure is nil when the child completed.
	Failure *Failure

	codec  Codec
	value  value
	origin *origin // nil when it is not known
}

// Children returns how the children of the child ended, in order: of a sequence its steps, of a loop its iterations, up to
// the one that did not complete. So whoever is told that a sequence failed, or a parent, can read what was done before. They
// are read from the store when they are asked for, with their outputs; those that do not exist, or not any more, are left
// out, and one that is not finished, as it is about to be cancelled, has the status that it has now. A child that has no
// children has none. The error matches ErrInvalid for a ChildResult that was read from JSON, which knows no store.
func (c ChildResult) Children(ctx context.Context) ([]ChildResult, error) {
	return c.origin.childResults(ctx, c.ExecutionID)
}

// Result returns the output of a completed child of this task. For a child that did not complete the error
// is an *ExecutionError; for a child of another task it matches ErrInvalid.
func (t *Task[In, Out]) Result(c ChildResult) (Out, error) {
	var zero Out
	if c.TaskID != t.def.id {
		return zero, invalidf("child %s: it is of task %s, not %s", c.ExecutionID, c.TaskID, t.def.id)
	}
	if c.Status != StatusCompleted {
		return zero, &ExecutionError{
			ExecutionID: c.ExecutionID, TaskID: c.TaskID, Status: c.Status, Failure: failureOf(c.Failure), codec: c.codec, origin: c.origin,
		}
	}
	codec := c.codec
	if codec == nil {
		codec = JSON{}
	}
	return decodeValue[Out](codec, c.value)
}

func failureOf(f *Failure) Failure {
	if f == nil {
		return Failure{}
	}
	return *f
}

// childJSON is the JSON form of a ChildResult.
type childJSON struct {
	ExecutionID string          `json:"execution_id"`
	TaskID      string          `json:"task_id"`
	Status      Status          `json:"status"`
	Failure     *failureJSON    `json:"failure,omitempty"`
	Output      json.RawMessage `json:"output,omitempty"`
}

// failureJSON is the JSON form of a Failure.
type failureJSON struct {
	Code    FailureCode     `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
	Chain   []Cause         `json:"chain,omitempty"`
	// TooLarge is that of the Failure.
	TooLarge bool `json:"too_large,omitempty"`
}

// MarshalJSON returns the child's ids, status, failure and output. An output that is not JSON is base64 text.
func (c ChildResult) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	err := c.writeJSON(&buf)
	return buf.Bytes(), err
}

// writeJSON writes what MarshalJSON returns. Outputs are put in place as they are: encoding/json would read each of them
// again at every level above it, and refuses what nests more than 10,000 deep.
func (c ChildResult) writeJSON(buf *bytes.Buffer) error {
	out := childJSON{ExecutionID: c.ExecutionID, TaskID: c.TaskID, Status: c.Status}
	if c.Failure != nil {
		out.Failure = &failureJSON{c.Failure.Code, c.Failure.Message, c.Failure.DataJSON(), c.Failure.Chain(), c.Failure.TooLarge}
	}
	data, err := json.Marshal(out)
	if err != nil || c.Status != StatusCompleted {
		buf.Write(data)
		return err
	}
	buf.Write(bytes.TrimSuffix(data, []byte("}")))
	buf.WriteString(`,"output":`)
	err = c.value.writeJSON(buf)
	buf.WriteByte('}')
	return err
}

// UnmarshalJSON reads what MarshalJSON returned; a family's output stays JSON.
func (c *ChildResult) UnmarshalJSON(data []byte) error {
	var in childJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*c = ChildResult{ExecutionID: in.ExecutionID, TaskID: in.TaskID, Status: in.Status, value: value{data: in.Output}}
	if in.Failure != nil {
		c.Failure = &Failure{
			Code: in.Failure.Code, Message: in.Failure.Message, Data: Payload{Data: in.Failure.Data}, Causes: encodeChain(in.Failure.Message, in.Failure.Chain),
			TooLarge: in.Failure.TooLarge,
		}
	}
	return nil
}

// json returns the value as JSON text, which nobody else has; bytes that are not JSON become base64 text.
func (v value) json() (json.RawMessage, error) {
	var buf bytes.Buffer
	if err := v.writeJSON(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (v value) writeJSON(buf *bytes.Buffer) error {
	switch {
	case v.family == nil && json.Valid(v.data):
		buf.Write(v.data)
		return nil
	case v.family == nil:
		data, err := json.Marshal(v.data)
		buf.Write(data)
		return err
	}
	buf.WriteString(`{"output":`)
	if err := (value{data: v.family.output}).writeJSON(buf); err != nil {
		return err
	}
	buf.WriteString(`,"children":[`)
	for i, child := range v.family.children {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := child.writeJSON(buf); err != nil {
			return err
		}
	}
	buf.WriteString(`]}`)
	return nil
}

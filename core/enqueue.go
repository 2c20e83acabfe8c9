package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Enqueue makes a new execution of the task. Once it returns without an error the execution is durable. An
// error that matches ErrUnknownOutcome means that it may be durable all the same: the handle, valid then too,
// tells. All other errors mean that nothing was written. It ends with ctx, and by itself after some 5 seconds (2 more for
// each MB of input) in which the store did not take it: the error then matches ErrUnknownOutcome.
func (t *Task[In, Out]) Enqueue(ctx context.Context, c *Client, in In) (*Handle[Out], error) {
	return t.EnqueueWith(ctx, c, in, EnqueueOptions{})
}

// EnqueueWith is Enqueue with options. An id or a sleeping task's key that is taken is an error that matches
// ErrAlreadyExists; it may have been taken by this very call, when the answer was lost and the execution has gone on
// since. So is a Key that was used with another task or input.
func (t *Task[In, Out]) EnqueueWith(ctx context.Context, c *Client, in In, opts EnqueueOptions) (*Handle[Out], error) {
	e, err := t.Prepare(c, in, opts)
	if err != nil {
		return nil, err
	}
	return t.inserted(c, e, c.insertKeyed(ctx, e, opts))
}

// inserted returns the handle of an execution as soon as it may exist.
func (t *Task[In, Out]) inserted(c *Client, e *Execution, err error) (*Handle[Out], error) {
	if id, err := unlessCertain(e.ID, err); id == "" {
		return nil, err
	}
	return &Handle[Out]{client: c, id: e.ID, taskID: t.def.id}, err
}

// Prepare returns the first record of an execution of the task without putting it into the store, for a store that
// puts it in together with something else. HandleOf returns the handle of its ID.
func (t *Task[In, Out]) Prepare(c *Client, in In, opts EnqueueOptions) (*Execution, error) {
	switch {
	case t.definition() == nil:
		return nil, fmt.Errorf("enqueue: %w", invalidf("task: it is nil"))
	case c == nil:
		return nil, fmt.Errorf("enqueue: %w", invalidf("client: it is nil"))
	}
	var input []byte
	err := guardedCall(func() (err error) {
		if input, err = encodeValue(c.opts.Codec, in); err != nil {
			return fmt.Errorf("encode %T: %w", in, err)
		}
		if t.def.validate != nil || t.def.sleepKey != nil {
			return t.def.check(c.opts.Codec, value{data: input})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w input of task %s: %w", ErrInvalid, t.def.id, err)
	}
	return c.prepare(t.def, input, opts)
}

// EnqueueRaw makes a new execution of the registered task with the given id and an input that is encoded
// already. Besides Enqueue's errors there are ErrUnknownTask, and ErrInvalid for an input that does not decode. A nil input
// is none, and not null: only a task whose input is a struct{} takes it.
func (c *Client) EnqueueRaw(ctx context.Context, taskID string, input []byte, opts EnqueueOptions) (string, error) {
	def, ok := c.opts.Registry.lookup(taskID)
	if !ok {
		return "", fmt.Errorf("enqueue: %w %q: register it, or check its spelling; registered are %q",
			ErrUnknownTask, taskID, c.taskIDs())
	}
	if input == nil {
		var err error
		if input, err = def.noInput(c.opts.Codec); err != nil {
			return "", fmt.Errorf("enqueue: %w input of task %s: %w", ErrInvalid, taskID, err)
		}
	}
	if err := c.opts.Limits.checkPayload("the input of task "+taskID, input); err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	input = bytes.Clone(input) // the caller may use it again while the execution runs
	if err := guardedCall(func() error { return def.check(c.opts.Codec, value{data: input}) }); err != nil {
		return "", fmt.Errorf("enqueue: %w input of task %s: %w", ErrInvalid, taskID, err)
	}
	e, err := c.prepare(def, input, opts)
	if err != nil {
		return "", err
	}
	return unlessCertain(e.ID, c.insertKeyed(ctx, e, opts))
}

func (c *Client) taskIDs() []string {
	if c.opts.Registry == nil {
		return nil
	}
	return c.opts.Registry.IDs()
}

// prepare returns the first record of an execution whose input decodes.
func (c *Client) prepare(def *definition, input []byte, opts EnqueueOptions) (*Execution, error) {
	now := time.Now()
	spec, err := newSpec(def, input, opts, now)
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	if err := c.opts.Limits.checkSpec(def, spec); err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	if err := c.opts.Limits.checkPayload("the input of task "+def.id, input); err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	id := opts.ID
	switch {
	case def.sleepKey != nil:
		err := guardedCall(func() (err error) {
			spec.SleepKey, err = def.sleepKey(c.opts.Codec, value{data: input})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("enqueue: %w", err)
		}
		id = SleepID(spec.SleepKey)
	case opts.Key != "":
		id = KeyID(opts.Key)
	case id == "":
		id = NewID()
	}
	e := NewExecution(id, spec, now)
	e.Nonce = NewNonce()
	return e, nil
}

// These bound all tries of an enqueue together. The store's client tries each request for up to 20 s, and the writer tries the
// write several times: that is right for the end of an attempt, but a caller who waits for an enqueue is gone by then.
const (
	enqueueWithin = 5 * time.Second
	enqueuePerMB  = 2 * time.Second // for each MB of input, of which a store writes some a second
)

var errNotTaken = fmt.Errorf("%w: the store is throttled or does not answer, and did not take the execution in time: enqueue it again later, with the same id or key: %w",
	ErrUnknownOutcome, context.DeadlineExceeded)

// soon returns a context for putting an execution.
func soon(ctx context.Context, e *Execution) (context.Context, context.CancelFunc) {
	within := enqueueWithin + time.Duration(len(e.Input.Data)>>20)*enqueuePerMB
	return context.WithTimeoutCause(ctx, within, errNotTaken)
}

// insertKeyed puts a prepared execution.
func (c *Client) insertKeyed(ctx context.Context, e *Execution, opts EnqueueOptions) (err error) {
	ctx, cancel := soon(ctx, e)
	defer cancel()
	defer because(ctx, &err)
	if err := ended(ctx); err != nil {
		return fmt.Errorf("enqueue task %s: %w", e.TaskID, err)
	}
	err = c.insert(ctx, e, opts)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnknownOutcome):
		return fmt.Errorf("enqueue task %s as execution %s (get it by this id to learn whether it exists): %w", e.TaskID, e.ID, err)
	}
	return fmt.Errorf("enqueue task %s as execution %s: %w", e.TaskID, e.ID, err)
}

func (c *Client) insert(ctx context.Context, e *Execution, opts EnqueueOptions) error {
	if e.Sleeping() {
		there, err := c.writer.insertSleeper(ctx, e)
		if errors.Is(err, ErrAlreadyExists) && there != nil {
			return fmt.Errorf("%w: %s", err, keyHolder(there, e.SleepKey))
		}
		return err
	}
	return c.settle(ctx, e, opts, c.insertNew(ctx, []*Execution{e})[0])
}

// settle decides what an insert's error means.
func (c *Client) settle(ctx context.Context, e *Execution, opts EnqueueOptions, err error) error {
	switch {
	case !errors.Is(err, ErrAlreadyExists) || opts.ID != "":
		return err
	case opts.Key == "":
		return nil // nobody else has this id: the answer was lost, and the execution has gone on since
	}
	there, err := getOne(ctx, c.store, e.ID)
	if err != nil {
		return err
	}
	if there.TaskID != e.TaskID {
		return fmt.Errorf("key %q: %w of task %s", opts.Key, ErrAlreadyExists, there.TaskID)
	}
	if err := c.store.Load(ctx, &there.Input); err != nil {
		return err
	}
	if !bytes.Equal(there.Input.Data, e.Input.Data) {
		return fmt.Errorf("key %q: %w with another input", opts.Key, ErrAlreadyExists)
	}
	return nil
}

// bulk is how many executions one call of the store puts.
const bulk = 100

// BulkItem is one execution that EnqueueMany makes.
type BulkItem[In any] struct {
	Input   In
	Options EnqueueOptions
}

// BulkResult is what became of a BulkItem: its handle, or why there is none. An error that matches
// ErrUnknownOutcome comes with a handle, which tells.
type BulkResult[Out any] struct {
	Handle *Handle[Out]
	Err    error
}

// EnqueueMany makes many executions of the task, as one Enqueue each would, in batches. The results are in the order
// of the items; each stands for itself. progress, when it is not nil, is called after each batch with the number of
// items that are dealt with. When ctx ends, the items that were not tried have its cause for their error.
func (t *Task[In, Out]) EnqueueMany(ctx context.Context, c *Client, items []BulkItem[In], progress func(done int)) []BulkResult[Out] {
	results := make([]BulkResult[Out], len(items))
	for start := 0; start < len(items); start += bulk {
		end := min(start+bulk, len(items))
		t.enqueueBatch(ctx, c, items[start:end], results[start:end])
		if progress != nil {
			progress(end)
		}
	}
	return results
}

func (t *Task[In, Out]) enqueueBatch(ctx context.Context, c *Client, items []BulkItem[In], results []BulkResult[Out]) {
	prepared := make([]*Execution, 0, len(items))
	places := make([]int, 0, len(items))
	for i, item := range items {
		if ctx.Err() != nil {
			results[i].Err = context.Cause(ctx)
			continue
		}
		e, err := t.Prepare(c, item.Input, item.Options)
		if err != nil {
			results[i].Err = err
			continue
		}
		prepared, places = append(prepared, e), append(places, i)
	}
	if len(prepared) == 0 {
		return
	}
	errs := c.insertNew(ctx, prepared)
	var odd []int
	for n, err := range errs {
		if err != nil {
			odd = append(odd, n)
			continue
		}
		results[places[n]].Handle = &Handle[Out]{client: c, id: prepared[n].ID, taskID: t.def.id}
	}
	_ = inParallel(ctx, odd, func(ctx context.Context, n int) error {
		i, e := places[n], prepared[n]
		err := errs[n]
		switch {
		case e.Sleeping():
			err = c.insertKeyed(ctx, e, items[i].Options) // it knows its own nonce
		default:
			err = c.settle(ctx, e, items[i].Options, err)
		}
		because(ctx, &err)
		results[i].Handle, results[i].Err = t.inserted(c, e, err)
		return nil // each error is its item's own
	})
}

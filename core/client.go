package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ClientOptions are the options of a Client; the zero value works.
type ClientOptions struct {
	// Registry is needed to enqueue by task id and not by Task. Default none.
	Registry *Registry
	// Codec must be the engine's. Default JSON.
	Codec Codec
	// Limits must be the engine's. Default: see Limits.
	Limits Limits
	// Logger gets what follow-ups leave to the background loops. Default: nothing is logged.
	Logger *slog.Logger
}

// Client enqueues executions and asks about them, from any process that reaches the store. It runs nothing.
// It is safe for concurrent use.
type Client struct {
	store  Store
	opts   ClientOptions
	writer writer
}

// NewClient returns a client of a store. The error matches ErrInvalid.
func NewClient(store Store, opts ClientOptions) (*Client, error) {
	if store == nil {
		return nil, invalidf("client: the store is nil")
	}
	limits, err := opts.Limits.withDefaults()
	if err != nil {
		return nil, err
	}
	opts.Limits = limits
	if opts.Codec == nil {
		opts.Codec = JSON{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{store: store, opts: opts, writer: writer{store}}, nil
}

// Enqueue makes a new execution of the task. Once it returns without an error the execution is durable. An
// error that matches ErrUnknownOutcome means that it may be durable all the same: the handle, valid then too,
// tells. All other errors mean that nothing was written.
func (t *Task[In, Out]) Enqueue(ctx context.Context, c *Client, in In) (*Handle[Out], error) {
	return t.EnqueueWith(ctx, c, in, EnqueueOptions{})
}

// EnqueueWith is Enqueue with options. An id that is taken is an error that matches ErrAlreadyExists; it may have
// been taken by this very call, when the answer was lost and the execution has started since.
func (t *Task[In, Out]) EnqueueWith(ctx context.Context, c *Client, in In, opts EnqueueOptions) (*Handle[Out], error) {
	input, err := c.opts.Codec.Encode(in)
	if err != nil {
		return nil, fmt.Errorf("enqueue task %s: encode input %T: %w", t.def.id, in, err)
	}
	id, err := c.insert(ctx, t.def, input, opts)
	if id == "" {
		return nil, err
	}
	return &Handle[Out]{client: c, id: id, taskID: t.def.id}, err
}

// EnqueueRaw makes a new execution of the registered task with the given id and an input that is encoded
// already. Besides Enqueue's errors there are ErrUnknownTask, and ErrInvalid for an input that does not decode.
func (c *Client) EnqueueRaw(ctx context.Context, taskID string, input []byte, opts EnqueueOptions) (string, error) {
	def, ok := c.opts.Registry.lookup(taskID)
	if !ok {
		return "", fmt.Errorf("enqueue: %w %q: register it, or check its spelling; registered are %q",
			ErrUnknownTask, taskID, c.taskIDs())
	}
	if err := c.opts.Limits.checkPayload("the input of task "+taskID, input); err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	if err := def.checkInput(c.opts.Codec, input); err != nil {
		return "", fmt.Errorf("enqueue: %w input of task %s: %w", ErrInvalid, taskID, err)
	}
	return c.insert(ctx, def, input, opts)
}

func (c *Client) taskIDs() []string {
	if c.opts.Registry == nil {
		return nil
	}
	return c.opts.Registry.IDs()
}

// insert returns the id of the execution as soon as it may exist.
func (c *Client) insert(ctx context.Context, def *definition, input []byte, opts EnqueueOptions) (string, error) {
	now := time.Now()
	spec, err := newSpec(def, input, opts, now)
	if err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	if err := c.opts.Limits.checkPayload("the input of task "+def.id, input); err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	id := opts.ID
	if id == "" {
		id = NewID()
	}
	e := NewExecution(id, spec, now)
	e.Nonce = NewNonce()
	err = c.writer.insert(ctx, e)
	if opts.ID == "" && errors.Is(err, ErrAlreadyExists) {
		err = nil // nobody else has this id: the answer was lost, and the execution has gone on since
	}
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, ErrUnknownOutcome):
		return id, fmt.Errorf("enqueue task %s as execution %s (get it by this id to learn whether it exists): %w", def.id, id, err)
	}
	return "", fmt.Errorf("enqueue task %s as execution %s: %w", def.id, id, err)
}

// Get returns the record of an execution. Payloads may come without data. The error matches ErrNotFound when
// there is none.
func (c *Client) Get(ctx context.Context, id string) (*Execution, error) {
	e, err := getOne(ctx, c.store, id)
	if err != nil {
		return nil, fmt.Errorf("get execution %s: %w", id, err)
	}
	return e, nil
}

// Children returns the records of an execution's children in order, the finalize execution last.
func (c *Client) Children(ctx context.Context, id string) ([]*Execution, error) {
	children, err := c.store.Children(ctx, []string{id})
	if err != nil {
		return nil, fmt.Errorf("get children of execution %s: %w", id, err)
	}
	return children[0], nil
}

// Cancel ends an unfinished execution and all that is unfinished below it. When it returns, the execution is
// cancelled; its descendants are too unless the error says otherwise, which the background loops then mend.
// Running code is told within a second or so. For a finished execution the error matches ErrFinished and
// nothing changes.
func (c *Client) Cancel(ctx context.Context, id, reason string) error {
	if reason == "" {
		reason = "cancelled by its caller"
	}
	e, err := getOne(ctx, c.store, id)
	if err != nil {
		return fmt.Errorf("cancel execution %s: %w", id, err)
	}
	after, err := c.writer.decide(ctx, e, Cancel{Reason: reason})
	if err != nil {
		return fmt.Errorf("cancel execution %s: %w", id, err)
	}
	f := follower{writer: c.writer, count: newCounter(c.store)}
	if err := f.followUp(ctx, after); err != nil {
		c.opts.Logger.WarnContext(ctx, "follow-up is left to the background loops",
			logExecution, id, logError, err)
	}
	return nil
}

// ResultJSON returns the output of a completed execution as JSON. For one that ended otherwise the error is an
// *ExecutionError; for an unfinished one done is false.
func (c *Client) ResultJSON(ctx context.Context, e *Execution) (output json.RawMessage, done bool, err error) {
	v, done, err := c.result(ctx, e)
	if err != nil || !done {
		return nil, done, err
	}
	output, err = v.json()
	return output, true, err
}

// LoadFailure fills in the detail of an execution's failure, where there is one.
func (c *Client) LoadFailure(ctx context.Context, e *Execution) error {
	if e.Failure == nil {
		return nil
	}
	return c.store.Load(ctx, &e.Failure.Detail)
}

func (c *Client) result(ctx context.Context, e *Execution) (value, bool, error) {
	switch {
	case !e.Status.Finished():
		return value{}, false, nil
	case e.Status != StatusCompleted:
		return value{}, true, &ExecutionError{
			ExecutionID: e.ID, TaskID: e.TaskID, Status: e.Status, Failure: failureOf(e.Failure),
		}
	}
	v, err := (&results{store: c.store, codec: c.opts.Codec}).of(ctx, e)
	if err != nil {
		return value{}, true, fmt.Errorf("read the output of execution %s: %w", e.ID, err)
	}
	return v, true, nil
}

// Handle names one execution whose output is an Out.
type Handle[Out any] struct {
	client *Client
	id     string
	taskID string
}

// HandleOf returns the handle of an execution of the task, which need not exist.
func (t *Task[In, Out]) HandleOf(c *Client, id string) *Handle[Out] {
	return &Handle[Out]{client: c, id: id, taskID: t.def.id}
}

// ID returns the execution's id.
func (h *Handle[Out]) ID() string { return h.id }

// Get returns the execution's record. The error matches ErrNotFound when there is none.
func (h *Handle[Out]) Get(ctx context.Context) (*Execution, error) { return h.client.Get(ctx, h.id) }

// Cancel is Client.Cancel.
func (h *Handle[Out]) Cancel(ctx context.Context, reason string) error {
	return h.client.Cancel(ctx, h.id, reason)
}

// The waits of Handle.Wait between two reads: they grow from the first to the last.
const (
	waitFirst = 20 * time.Millisecond
	waitLast  = time.Second
)

// Wait returns the execution's output once it completed. When it ended otherwise the error is an
// *ExecutionError; when ctx ends first, its cause. It reads the record after 20 ms, then ever less often, at
// last every second.
func (h *Handle[Out]) Wait(ctx context.Context) (Out, error) {
	var zero Out
	for pause := waitFirst; ; pause = min(pause*3/2, waitLast) {
		e, err := h.client.Get(ctx, h.id)
		if err != nil {
			return zero, err
		}
		if e.TaskID != h.taskID {
			return zero, invalidf("handle: execution %s is of task %s, not %s", h.id, e.TaskID, h.taskID)
		}
		v, done, err := h.client.result(ctx, e)
		if err != nil {
			return zero, err
		}
		if done {
			return decodeValue[Out](h.client.opts.Codec, v)
		}
		if err := sleep(ctx, pause); err != nil {
			return zero, fmt.Errorf("wait for execution %s, which is %s: %w", h.id, e.Status, err)
		}
	}
}

// sleep waits for d, or for the end of ctx, whose cause it returns then.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

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
	// KeepWakeups is how long a wake-up that comes before its sleeper is kept. Default 24 h; from 1 ms to 10 years.
	KeepWakeups time.Duration
	// Logger gets what follow-ups leave to the background loops. Default: nothing is logged.
	Logger *slog.Logger
	// Observer receives an event for each execution that the client ends, by a cancellation or a signal. Default: none.
	Observer Observer
}

// Client enqueues executions and asks about them, from any process that reaches the store. It runs nothing.
// It is safe for concurrent use.
type Client struct {
	store  Store
	opts   ClientOptions
	writer writer
	local  *local // nil for a client that is no engine's
	// executor does the follow-ups of what the client ends; nil for a client that leaves what needs tasks to others.
	executor *Executor
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
	switch {
	case opts.KeepWakeups != 0 && (opts.KeepWakeups < time.Millisecond || opts.KeepWakeups > maxDuration):
		return nil, invalidf("client: KeepWakeups is %s, must be 0 or from 1ms to %s", opts.KeepWakeups, maxDuration)
	case opts.KeepWakeups == 0:
		opts.KeepWakeups = 24 * time.Hour
	}
	if opts.Codec == nil {
		opts.Codec = JSON{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Logger = guardedLogger(opts.Logger)
	opts.Observer = opts.Observer.guarded(opts.Logger)
	c := &Client{store: store, opts: opts}
	c.writer = writer{store: store, observer: &c.opts.Observer}
	return c, nil
}

// Tasks returns the tasks of ClientOptions.Registry, sorted by their ids; none without one.
func (c *Client) Tasks() []TaskInfo {
	if c.opts.Registry == nil {
		return nil
	}
	return c.opts.Registry.Tasks()
}

// Get returns the record of an execution. Payloads may come without data. The error matches ErrNotFound when
// there is none, and ErrInvalid when the id is none that an execution can have. When ctx ends, or has ended, it matches
// the cause, as all errors of a client do then.
func (c *Client) Get(ctx context.Context, id string) (_ *Execution, err error) {
	defer because(ctx, &err)
	if err := checkIDs(ctx, id); err != nil {
		return nil, fmt.Errorf("get execution %s: %w", shown(id), err)
	}
	e, err := getOneOf(ctx, c.store, id, Filter{UnexpiredAt: time.Now()})
	if err == nil && e.Kept {
		err = fmt.Errorf("a wake-up is kept for it: %w", ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get execution %s: %w", id, err)
	}
	return e, nil
}

// GetMany is Get for many executions, in the order of the ids; nil stands for one that does not exist.
func (c *Client) GetMany(ctx context.Context, ids []string) (_ []*Execution, err error) {
	defer because(ctx, &err)
	if err := checkIDs(ctx, ids...); err != nil {
		return nil, fmt.Errorf("get %d executions: %w", len(ids), err)
	}
	found, err := c.store.Get(ctx, ids, Filter{UnexpiredAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("get %d executions: %w", len(ids), err)
	}
	for i, e := range found {
		if e != nil && e.Kept {
			found[i] = nil // a wake-up
		}
	}
	return found, nil
}

// Children returns the records of an execution's children in order, the finalize execution last.
func (c *Client) Children(ctx context.Context, id string) (_ []*Execution, err error) {
	defer because(ctx, &err)
	if err := checkIDs(ctx, id); err != nil {
		return nil, fmt.Errorf("get children of execution %s: %w", shown(id), err)
	}
	children, err := c.store.Children(ctx, []string{id})
	if err != nil {
		return nil, fmt.Errorf("get children of execution %s: %w", id, err)
	}
	return children[0], nil
}

// Cancel ends an unfinished execution and all that is unfinished below it. When it returns, the execution is
// cancelled; its descendants are too unless the error says otherwise, which the background loops then mend.
// Running code is told within a second or so. For a finished execution the error matches ErrFinished and
// nothing changes. A reason that is not UTF-8 text matches ErrInvalid.
func (c *Client) Cancel(ctx context.Context, id, reason string) (err error) {
	defer because(ctx, &err)
	if reason == "" {
		reason = "cancelled by its caller"
	}
	if err := checkText("reason", reason); err != nil {
		return fmt.Errorf("cancel execution: %w", err)
	}
	e, err := c.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	after, err := c.writer.decide(ctx, e, Cancel{Reason: reason})
	if err != nil {
		return fmt.Errorf("cancel execution %s: %w", id, err)
	}
	c.followUp(ctx, after)
	return nil
}

// followUp follows up an execution that the client has finished, as far as that needs no user code.
func (c *Client) followUp(ctx context.Context, e *Execution) {
	f, end := c.follower()
	defer end()
	if err := f.followUp(ctx, e); err != nil {
		about(c.opts.Logger, e).WarnContext(ctx, "follow-up is left to the background loops", logError, err)
	}
}

// follower returns what follows up by what the client may do; end is called when that is done.
func (c *Client) follower() (f follower, end func()) {
	if c.executor != nil && c.executor.begin() {
		f = c.executor.follow
		f.moveOn = c.executor.moveOnWithoutCode
		return f, c.executor.work.Done
	}
	return follower{writer: c.writer, count: newCounter(c.store)}, func() {}
}

// ResultJSON returns the output of a completed execution as JSON. For one that ended otherwise the error is an
// *ExecutionError; for an unfinished one done is false.
func (c *Client) ResultJSON(ctx context.Context, e *Execution) (output json.RawMessage, done bool, err error) {
	defer because(ctx, &err)
	if e == nil {
		return nil, false, invalidf("execution: it is nil")
	}
	v, done, err := c.result(ctx, e)
	if err != nil || !done {
		return nil, done, err
	}
	output, err = v.json()
	return output, true, err
}

// InputJSON returns what an execution was given, as JSON: what was enqueued, for a step of a sequence the output of the
// step before, for a finalize execution what its parent's children came to. The error matches ErrNotFound when that is
// kept by an execution that does not exist any more.
func (c *Client) InputJSON(ctx context.Context, e *Execution) (_ json.RawMessage, err error) {
	defer because(ctx, &err)
	if e == nil {
		return nil, invalidf("execution: it is nil")
	}
	v, err := (&results{store: c.store, codec: c.opts.Codec}).input(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("read the input of execution %s: %w", e.ID, err)
	}
	return v.json()
}

// LoadFailure fills in the detail, the data and the chain of an execution's failure, where there is one.
func (c *Client) LoadFailure(ctx context.Context, e *Execution) (err error) {
	defer because(ctx, &err)
	if e == nil || e.Failure == nil {
		return nil
	}
	return errors.Join(c.store.Load(ctx, &e.Failure.Detail), c.LoadCauses(ctx, e))
}

// LoadCauses fills in the data and the chains of executions' failures, where there are any: a store may keep large ones
// beside the records. nil stands for an execution that does not exist, as in GetMany.
func (c *Client) LoadCauses(ctx context.Context, executions ...*Execution) (err error) {
	defer because(ctx, &err)
	var failures []*Failure
	for _, e := range executions {
		if e != nil {
			failures = append(failures, e.Failure)
		}
	}
	return loadCauses(ctx, c.store, failures...)
}

func (c *Client) result(ctx context.Context, e *Execution) (value, bool, error) {
	r := &results{store: c.store, codec: c.opts.Codec}
	switch {
	case !e.Status.Finished():
		return value{}, false, nil
	case e.Status != StatusCompleted:
		failure := failureOf(e.Failure)
		if err := loadCauses(ctx, c.store, &failure); err != nil {
			return value{}, false, fmt.Errorf("read why execution %s did not complete: %w", e.ID, err)
		}
		return value{}, true, &ExecutionError{
			ExecutionID: e.ID, TaskID: e.TaskID, Status: e.Status, Failure: failure, codec: c.opts.Codec, origin: &origin{r, e},
		}
	}
	v, err := r.of(ctx, e)
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

// Get returns the execution's record, which tells what its own writes were billed at (WriteUnits); what a whole tree
// was billed at is Node.WriteUnits of Client.Tree. The error matches ErrNotFound when there is none.
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
// *ExecutionError; when ctx ends first, its cause. It reads the record, consistently, at once and after 20 ms, then ever
// less often, after 4 s every second; at once when the client's own engine ended the execution.
func (h *Handle[Out]) Wait(ctx context.Context) (_ Out, err error) {
	defer because(ctx, &err)
	var zero Out
	finished, end := h.client.local.wait(h.id)
	defer end()
	for pause := waitFirst; ; pause = min(pause*5/4, waitLast) {
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
			var out Out
			err := guardedCall(func() (err error) {
				out, err = decodeValue[Out](h.client.opts.Codec, v)
				return err
			})
			if err != nil {
				return zero, err // out is the code's that may go on
			}
			return out, nil
		}
		if err := sleepUntil(ctx, pause, finished); err != nil {
			return zero, fmt.Errorf("wait for execution %s, which is %s: %w", h.id, e.Status, err)
		}
	}
}

// checkIDs returns what is wrong with ids that are to be looked up, as no execution can have them; or why ctx ended. The
// error matches ErrInvalid; that of an id of wrong characters matches ErrNotFound as well.
func checkIDs(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		switch {
		case len(id) < 1 || len(id) > maxAnyID:
			return invalidf("execution id %.20q: it has %d bytes, must have from 1 to %d", id, len(id), maxAnyID)
		case !anyIDPattern.MatchString(id):
			return fmt.Errorf("%w: %w", ErrNotFound,
				invalidf("id %q: it must have letters, digits, '-' and '_', behind a letter and a dot where it is derived", id))
		}
	}
	return ended(ctx)
}

// shown returns an id as errors show it, whatever it is.
func shown(id string) string {
	if len(id) > maxAnyID {
		return id[:20] + "..."
	}
	return id
}

// ended returns why ctx ended; nil while it goes on.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// because adds to an error why ctx ended, if it did before the answer came: a store may say no more than that it did. An
// error that is an answer stays as it is.
func because(ctx context.Context, err *error) {
	cause := ended(ctx)
	if *err == nil || cause == nil || errors.Is(*err, cause) {
		return
	}
	for _, answer := range []error{
		ErrNotFound, ErrAlreadyExists, ErrConflict, ErrNotAllowed, ErrInvalid, ErrTooLarge, ErrCorrupt, ErrNotListed, ErrUnknownTask,
	} {
		if errors.Is(*err, answer) {
			return
		}
	}
	if execution := new(ExecutionError); errors.As(*err, &execution) {
		return
	}
	*err = fmt.Errorf("%w: %w", cause, *err)
}

// sleep waits for d, or for the end of ctx, whose cause it returns then.
func sleep(ctx context.Context, d time.Duration) error { return sleepUntil(ctx, d, nil) }

// sleepUntil is sleep that an element of awake ends.
func sleepUntil(ctx context.Context, d time.Duration, awake <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	case <-awake:
	}
	return nil
}

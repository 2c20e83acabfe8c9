package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// defaultSleep is how long a sleeping task waits for its wake-up.
const defaultSleep = 24 * time.Hour

// NewSleepingTask returns a task that has no code: an execution waits, at no cost, until somebody wakes it by its
// unique key, which is its input, or until its Timeout is over (default 24 h). No other execution can have the
// same key as long as this one is kept. Retry, ScheduleToStart and StartToFinish mean nothing here.
//
// An execution whose key is taken cannot be made: enqueueing it is an error that matches ErrAlreadyExists, and a
// child ends failed.
func NewSleepingTask[Out any](id string, opts TaskOptions) *Task[string, Out] {
	if opts.Timeout == 0 {
		opts.Timeout = defaultSleep
	}
	def := newDefinition[string](id, opts)
	def.sleepKey = func(c Codec, v value) (string, error) {
		key, err := decodeValue[string](c, v)
		if err != nil {
			return "", err
		}
		return key, checkKey(key)
	}
	def.decodes = func(c Codec, v value) error {
		_, err := def.sleepKey(c, v)
		return err
	}
	def.decodesOutput = func(c Codec, v value) error {
		_, err := decodeValue[Out](c, v)
		return err
	}
	return &Task[string, Out]{def}
}

func checkKey(key string) error {
	if len(key) < 1 || len(key) > maxKey {
		return invalidf("unique key %q: it has %d bytes, must have from 1 to %d", key, len(key), maxKey)
	}
	return nil
}

// Wakeup ends the sleep of the execution of a sleeping task that has the unique key, which completes with the
// output. A wake-up that comes before its sleeper is kept (see ClientOptions.KeepWakeups) and ends the sleep as soon
// as that appears; until then the handle finds nothing.
//
// Waking twice changes nothing: the error of the second matches ErrFinished, and its handle, as always, waits for
// what the first brought. An error that matches ErrUnknownOutcome means that calling again tells.
func Wakeup[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, out Out) (*Handle[Out], error) {
	var data []byte
	err := guardedCall(func() (err error) {
		data, err = encodeOutput(c.opts.Codec, out)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wake up: %w output of task %s: %w", ErrInvalid, t.def.id, err)
	}
	return wake(ctx, c, t, key, Wake{Output: Payload{Data: data}})
}

// WakeupWithError is Wakeup with an error in place of an output: the execution ends failed.
func WakeupWithError[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, failure error) (*Handle[Out], error) {
	if failure == nil {
		return nil, fmt.Errorf("wake up: %w failure of task %s: it is nil", ErrInvalid, t.def.id)
	}
	var noted *userError
	if errors.As(guarded(func() error { return failure }), &noted) && noted.stack != "" {
		return nil, fmt.Errorf("wake up: %w failure %T of task %s: its Error method: %w", ErrInvalid, failure, t.def.id, noted)
	}
	return wake(ctx, c, t, key, Wake{Failure: newFailure(CodeFailed, noted.text, "")})
}

func wake[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, ev Wake) (*Handle[Out], error) {
	id, err := c.wake(ctx, t.def, key, ev)
	if id == "" {
		return nil, err
	}
	return &Handle[Out]{client: c, id: id, taskID: t.def.id}, err
}

// WakeupRaw is Wakeup by the id of a registered task, with an output that is encoded already, or, when failure is
// not empty, with the text of an error. It returns the execution's id.
func (c *Client) WakeupRaw(ctx context.Context, taskID, key string, output []byte, failure string) (string, error) {
	def, ok := c.opts.Registry.lookup(taskID)
	switch {
	case !ok:
		return "", fmt.Errorf("wake up: %w %q: registered are %q", ErrUnknownTask, taskID, c.taskIDs())
	case def.sleepKey == nil:
		return "", invalidf("task %q: it is no sleeping task, so nothing can wake it", taskID)
	case failure != "":
		return c.wake(ctx, def, key, Wake{Failure: newFailure(CodeFailed, failure, "")})
	}
	output = bytes.Clone(output)
	if err := guardedCall(func() error { return def.decodesOutput(c.opts.Codec, value{data: output}) }); err != nil {
		return "", fmt.Errorf("wake up: %w output of task %s: %w", ErrInvalid, taskID, err)
	}
	return c.wake(ctx, def, key, Wake{Output: Payload{Data: output}})
}

// wake returns the id of the sleeping execution as soon as the wake-up may be written.
func (c *Client) wake(ctx context.Context, def *definition, key string, ev Wake) (string, error) {
	if err := checkKey(key); err != nil {
		return "", fmt.Errorf("wake up: %w", err)
	}
	if err := c.opts.Limits.checkPayload("the output of task "+def.id, ev.Output.Data); err != nil {
		return "", fmt.Errorf("wake up: %w", err)
	}
	id, err := c.tryWake(ctx, def.id, key, ev)
	if err != nil {
		err = fmt.Errorf("wake up task %s by key %q: %w", def.id, key, err)
	}
	return id, err
}

// tryWake looks for the sleeper through the rounds that redriven executions made: see waiter.go.
func (c *Client) tryWake(ctx context.Context, taskID, key string, ev Wake) (string, error) {
	var last *Execution // the finished sleeper of the round before
	for round, try := 0, 0; ; try++ {
		if err := c.again(ctx, try); err != nil {
			return "", err
		}
		id := sleepID(key, round)
		now := time.Now()
		e, err := getOneOf(ctx, c.store, id, Filter{UnexpiredAt: now})
		kept := newKept(id, taskID, key, ev, now, c.opts.KeepWakeups)
		kept.SleepRound, kept.Nonce = round, NewNonce()
		switch {
		case errors.Is(err, ErrNotFound):
			if last != nil {
				expected, err := c.expected(ctx, last)
				switch {
				case err != nil:
					return "", err
				case !expected && last.TaskID != taskID:
					return "", keyOf(last, key)
				case !expected:
					return last.ID, &TransitionError{ExecutionID: last.ID, Status: last.Status, Event: ev.name()}
				}
			}
			if err := c.writer.insert(ctx, kept); !errors.Is(err, ErrAlreadyExists) {
				return unlessCertain(id, err)
			}
			continue // the sleeper, or another wake-up, was faster
		case err != nil:
			return "", err
		case e.Kept && e.TaskID != taskID && e.ExpiresAt.After(now):
			return "", keyOf(e, key)
		case e.Kept:
			_, err := c.writer.decide(ctx, e, Adopt{Sleeper: kept})
			if errors.Is(err, ErrNotAllowed) && !e.ExpiresAt.After(now) {
				continue // it is not kept any more
			}
			return unlessCertain(id, err)
		case e.Status.Finished():
			last, round, try = e, round+1, -1
			continue
		case e.TaskID != taskID:
			return "", keyOf(e, key)
		}
		switch orphan, err := c.writer.cancelOrphan(ctx, e); {
		case err != nil:
			return "", err
		case orphan:
			continue // nothing waits there any more
		}
		after, err := c.writer.decide(ctx, e, ev)
		if errors.Is(err, ErrFinished) {
			continue // somebody else ended it
		}
		if err != nil {
			return unlessCertain(id, err)
		}
		c.followUp(ctx, after)
		return id, nil
	}
}

// keyOf returns the error of a wake-up by a key that another task has.
func keyOf(e *Execution, key string) error {
	if e.Kept {
		return invalidf("key %q: a wake-up of task %s is kept under it until %s", key, e.TaskID, e.ExpiresAt.Format(time.RFC3339))
	}
	return invalidf("key %q: it is the one of execution %s of task %s", key, e.ID, e.TaskID)
}

// eagerTries is how often something is tried again at once since somebody else was faster.
const eagerTries = 20

// again waits before a further try, the longer the more there were, once there were many.
func (c *Client) again(ctx context.Context, try int) error {
	if try < eagerTries {
		return nil
	}
	return sleep(ctx, min(time.Second, writePause<<min(try-eagerTries, 10)))
}

// unlessCertain returns no id with an error that means that nothing was written.
func unlessCertain(id string, err error) (string, error) {
	if err != nil && !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrFinished) {
		return "", err
	}
	return id, err
}

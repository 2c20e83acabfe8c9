package core

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// defaultSleep is how long a sleeping task waits for its wake-up.
const defaultSleep = 24 * time.Hour

// NewSleepingTask returns a task that has no code: an execution waits, at no cost, until somebody wakes it by its
// unique key, which is its input, or until its Timeout is over (default 24 h). No other execution can have the
// same key, which is UTF-8 text of 1 to 255 bytes, as long as this one is kept. Retry, ScheduleToStart and StartToFinish
// mean nothing here.
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
			return "", inputError{err, true}
		}
		if replaced(key, v.data) {
			return "", invalidf("unique key %q: it is not UTF-8 text, and would be the same as other keys", key)
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
	return checkText("unique key", key)
}

// checkText returns what is wrong with a text that a caller gives: that it is not UTF-8, which not everything keeps.
func checkText(what, text string) error {
	if !utf8.ValidString(text) {
		return invalidf("%s %q: it is not UTF-8 text", what, text)
	}
	return nil
}

// replaced reports whether a text that was decoded from JSON is another one than whoever encoded it had: what is not UTF-8,
// or half of a surrogate pair, becomes U+FFFD, without an error. That character itself stands in the JSON as it is.
func replaced(text string, encoded []byte) bool {
	const sign = string(utf8.RuneError)
	n := strings.Count(text, sign)
	return n > 0 && n > bytes.Count(encoded, []byte(sign)) && json.Valid(encoded)
}

// Wakeup ends the sleep of the execution of a sleeping task that has the unique key, which completes with the
// output. A wake-up that comes before its sleeper is kept (see ClientOptions.KeepWakeups) and ends the sleep as soon
// as that appears; until then the handle finds nothing.
//
// Waking twice changes nothing: the error of the second matches ErrFinished, and its handle, as always, waits for
// what the first brought. So it is for a sleeper that ended otherwise, and for one of a tree that is cancelled or has ended;
// once that is redriven a wake-up is kept for the sleeper of the redrive. An error that matches ErrInvalid means that the
// task does not sleep, that the key is not 1 to 255 bytes of UTF-8 text, or that another task has the key. One that matches
// ErrUnknownOutcome means that calling again tells.
func Wakeup[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, out Out) (*Handle[Out], error) {
	if err := checkWakes(c, t); err != nil {
		return nil, fmt.Errorf("wake up: %w", err)
	}
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

// WakeupWithError is Wakeup with an error in place of an output: the execution ends failed. A nil error, or one whose text
// is not UTF-8, matches ErrInvalid. The code and the data of
// one that Fail made are kept.
func WakeupWithError[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, failure error) (*Handle[Out], error) {
	if err := checkWakes(c, t); err != nil {
		return nil, fmt.Errorf("wake up: %w", err)
	}
	if failure == nil {
		return nil, fmt.Errorf("wake up: %w failure of task %s: it is nil", ErrInvalid, t.def.id)
	}
	var noted *userError
	if errors.As(guarded(func() error { return failure }), &noted) && noted.stack != "" {
		return nil, fmt.Errorf("wake up: %w failure %T of task %s: its Error method: %w", ErrInvalid, failure, t.def.id, noted)
	}
	if err := checkText("failure", noted.text); err != nil {
		return nil, fmt.Errorf("wake up task %s: %w", t.def.id, err)
	}
	return wake(ctx, c, t, key, Wake{Failure: noted.failure(c.opts.Codec, CodeFailed)})
}

// checkWakes returns an error for what is no sleeping task, so that no wake-up is kept that nothing will ever wait for.
func checkWakes[Out any](c *Client, t *Task[string, Out]) error {
	switch {
	case t.definition() == nil:
		return invalidf("task: it is nil")
	case c == nil:
		return invalidf("client: it is nil")
	case t.def.sleepKey == nil:
		return invalidf("task %q: it is no sleeping task, so nothing can wake it", t.def.id)
	}
	return nil
}

func wake[Out any](ctx context.Context, c *Client, t *Task[string, Out], key string, ev Wake) (*Handle[Out], error) {
	id, err := c.wake(ctx, t.def, key, ev)
	if id == "" {
		return nil, err
	}
	return &Handle[Out]{client: c, id: id, taskID: t.def.id}, err
}

// WakeupRaw is Wakeup by the id of a registered task, with an output that is encoded already, or, when failure is
// not empty, with the text of an error. It returns the execution's id. A nil output is none, and not null: the error
// matches ErrInvalid unless there is either an output or a failure.
func (c *Client) WakeupRaw(ctx context.Context, taskID, key string, output []byte, failure string) (string, error) {
	def, ok := c.opts.Registry.lookup(taskID)
	switch {
	case !ok:
		return "", fmt.Errorf("wake up: %w %q: registered are %q", ErrUnknownTask, taskID, c.taskIDs())
	case def.sleepKey == nil:
		return "", invalidf("task %q: it is no sleeping task, so nothing can wake it", taskID)
	case !utf8.ValidString(failure):
		return "", fmt.Errorf("wake up task %s: %w", taskID, checkText("failure", failure))
	case (output == nil) == (failure == ""):
		return "", invalidf("wake-up of task %q: it must have an output or a failure, one of them", taskID)
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
func (c *Client) wake(ctx context.Context, def *definition, key string, ev Wake) (_ string, err error) {
	defer because(ctx, &err)
	if err := ended(ctx); err != nil {
		return "", fmt.Errorf("wake up task %s by key %q: %w", def.id, key, err)
	}
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
	refused := false
	for round, try := 0, 0; ; try++ {
		if err := again(ctx, try); err != nil {
			return "", err
		}
		id := sleepID(key, round)
		now := time.Now()
		filter := Filter{UnexpiredAt: now}
		if refused {
			filter = Filter{} // something has the key, if only until it is deleted
		}
		e, err := getOneOf(ctx, c.store, id, filter)
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
					return "", invalidf("%s", keyHolder(last, key))
				case !expected:
					return last.ID, &TransitionError{ExecutionID: last.ID, Status: last.Status, Event: ev.name()}
				}
			}
			if err := c.writer.insert(ctx, kept); !errors.Is(err, ErrAlreadyExists) {
				return unlessCertain(id, err)
			}
			refused = true // the sleeper, or another wake-up, was faster
			continue
		case err != nil:
			return "", err
		case e.Kept && e.TaskID != taskID && e.ExpiresAt.After(now):
			return "", invalidf("%s", keyHolder(e, key))
		case e.Kept:
			_, err := c.writer.decide(ctx, e, Adopt{Sleeper: kept})
			if errors.Is(err, ErrNotAllowed) && !e.ExpiresAt.After(now) {
				continue // it is not kept any more
			}
			return unlessCertain(id, err)
		case e.Status.Finished():
			last, round, try, refused = e, round+1, -1, false
			continue
		case e.TaskID != taskID:
			return "", invalidf("%s", keyHolder(e, key))
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

// keyHolder says who has a unique key.
func keyHolder(e *Execution, key string) string {
	if e.Kept {
		return fmt.Sprintf("unique key %q: a wake-up of task %s is kept under it until %s", key, e.TaskID, e.ExpiresAt.Format(time.RFC3339))
	}
	return fmt.Sprintf("unique key %q: it is the one of execution %s of task %s", key, e.ID, e.TaskID)
}

// eagerTries is how often something is tried again at once since somebody else was faster.
const eagerTries = 20

// again waits before a further try, the longer the more there were, once there were many.
func again(ctx context.Context, try int) error {
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

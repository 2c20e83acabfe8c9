package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/perdure-dev/perdure/core"
)

// Request is the enqueue function's event. Durations are in milliseconds, times in RFC 3339.
type Request struct {
	Action string `json:"action"` // enqueue, get or cancel

	// For enqueue.
	Task      string          `json:"task,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	DelayMS   int64           `json:"delay_ms,omitempty"`
	StartAt   time.Time       `json:"start_at,omitzero"`
	TimeoutMS int64           `json:"timeout_ms,omitempty"`
	Retry     *Retry          `json:"retry,omitempty"`

	// ExecutionID is required for get and cancel; for enqueue it is the caller's choice, default a new one.
	ExecutionID string `json:"execution_id,omitempty"`
	// Reason is for cancel.
	Reason string `json:"reason,omitempty"`
}

// Retry is a core.RetryPolicy.
type Retry struct {
	MaxAttempts int     `json:"max_attempts,omitempty"`
	BaseDelayMS int64   `json:"base_delay_ms,omitempty"`
	Multiplier  float64 `json:"multiplier,omitempty"`
	MaxDelayMS  int64   `json:"max_delay_ms,omitempty"`
	Jitter      float64 `json:"jitter,omitempty"`
}

// Response is the enqueue function's answer. Either Error is set, and nothing was done, or it is not.
type Response struct {
	ExecutionID string `json:"execution_id,omitempty"`

	// For get, and the status for cancel.
	Task       string          `json:"task,omitempty"`
	Status     core.Status     `json:"status,omitempty"`
	Output     json.RawMessage `json:"output,omitempty"`  // of a completed execution
	Failure    *Failure        `json:"failure,omitempty"` // of any other end, or of the last attempt
	Attempts   int             `json:"attempts,omitempty"`
	Recoveries int             `json:"recoveries,omitempty"`
	CreatedAt  time.Time       `json:"created_at,omitzero"`
	StartedAt  time.Time       `json:"started_at,omitzero"`
	FinishedAt time.Time       `json:"finished_at,omitzero"`

	Error *Error `json:"error,omitempty"`
}

// Failure is why an execution or its last attempt did not succeed.
type Failure struct {
	Code    core.FailureCode `json:"code"`
	Message string           `json:"message"`
}

// Error is what is wrong with a request: sending it again as it is does not help.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The codes of an Error. Whatever is not the caller's fault fails the invocation with CodeUnavailable for an
// error type: nothing was written, or, as the message then says, perhaps all was; sending it again is right.
const (
	CodeBadRequest    = "bad_request"    // not JSON, an unknown field or action, an option out of range
	CodeUnknownTask   = "unknown_task"   // no task with that id is registered
	CodeTooLarge      = "too_large"      // the input is over its limit
	CodeAlreadyExists = "already_exists" // the chosen execution id is taken
	CodeNotFound      = "not_found"      // no execution has that id
	CodeFinished      = "finished"       // a finished execution cannot be cancelled
	CodeUnavailable   = "unavailable"    // the store did not answer, or refused
)

// StartEnqueue serves invocations of the enqueue function until the environment ends.
func StartEnqueue(registry func() (*core.Registry, error)) {
	ctx := context.Background()
	app, err := NewApp(ctx)
	if err != nil {
		fail(err)
	}
	handle, err := app.Enqueue(registry)
	if err != nil {
		fail(err)
	}
	lambda.StartWithOptions(handle, lambda.WithContext(ctx))
}

// Enqueue returns the handler of the enqueue function.
func (a *App) Enqueue(registry func() (*core.Registry, error)) (func(context.Context, json.RawMessage) (Response, error), error) {
	tasks, err := registry()
	if err != nil {
		return nil, err
	}
	client, err := core.NewClient(a.Store, core.ClientOptions{Registry: tasks, Logger: a.Logger})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, event json.RawMessage) (Response, error) {
		response, err := answer(ctx, client, event)
		if err == nil {
			return response, nil
		}
		if code := errorCode(err); code != CodeUnavailable {
			return Response{Error: &Error{Code: code, Message: err.Error()}}, nil
		}
		return Response{}, messages.InvokeResponse_Error{Type: CodeUnavailable, Message: err.Error()}
	}, nil
}

func errorCode(err error) string {
	for _, known := range []struct {
		sentinel error
		code     string
	}{
		{core.ErrUnknownOutcome, CodeUnavailable},
		{core.ErrUnknownTask, CodeUnknownTask},
		{core.ErrTooLarge, CodeTooLarge},
		{core.ErrAlreadyExists, CodeAlreadyExists},
		{core.ErrNotFound, CodeNotFound},
		{core.ErrFinished, CodeFinished},
		{core.ErrInvalid, CodeBadRequest},
	} {
		if errors.Is(err, known.sentinel) {
			return known.code
		}
	}
	return CodeUnavailable
}

func answer(ctx context.Context, client *core.Client, event json.RawMessage) (Response, error) {
	var r Request
	dec := json.NewDecoder(bytes.NewReader(event))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Response{}, fmt.Errorf("%w request: %w", core.ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Response{}, fmt.Errorf("%w request: there is more behind the JSON object", core.ErrInvalid)
	}
	if r.Action != "enqueue" && r.ExecutionID == "" && (r.Action == "get" || r.Action == "cancel") {
		return Response{}, fmt.Errorf("%w request: execution_id is missing, %s needs it", core.ErrInvalid, r.Action)
	}
	switch r.Action {
	case "enqueue":
		return enqueue(ctx, client, r)
	case "get":
		return get(ctx, client, r.ExecutionID)
	case "cancel":
		if err := client.Cancel(ctx, r.ExecutionID, r.Reason); err != nil {
			return Response{}, err
		}
		return Response{ExecutionID: r.ExecutionID, Status: core.StatusCancelled}, nil
	}
	return Response{}, fmt.Errorf("%w request: action is %q, must be enqueue, get or cancel", core.ErrInvalid, r.Action)
}

func enqueue(ctx context.Context, client *core.Client, r Request) (Response, error) {
	if r.Input == nil {
		r.Input = json.RawMessage("null")
	}
	opts := core.EnqueueOptions{
		ID: r.ExecutionID, StartAt: r.StartAt, Delay: milliseconds(r.DelayMS), Timeout: milliseconds(r.TimeoutMS),
	}
	if p := r.Retry; p != nil {
		opts.Retry = &core.RetryPolicy{
			MaxAttempts: p.MaxAttempts, BaseDelay: milliseconds(p.BaseDelayMS), Multiplier: p.Multiplier,
			MaxDelay: milliseconds(p.MaxDelayMS), Jitter: p.Jitter,
		}
	}
	id, err := client.EnqueueRaw(ctx, r.Task, r.Input, opts)
	if err != nil {
		return Response{}, err
	}
	return Response{ExecutionID: id}, nil
}

// milliseconds returns n milliseconds; where that does not fit it stays out of every range.
func milliseconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(max(-most, min(most, n))) * time.Millisecond
}

func get(ctx context.Context, client *core.Client, id string) (Response, error) {
	e, err := client.Get(ctx, id)
	if err != nil {
		return Response{}, err
	}
	r := Response{
		ExecutionID: e.ID, Task: e.TaskID, Status: e.Status, Attempts: e.Attempts, Recoveries: e.Recoveries,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt,
	}
	if e.Failure != nil {
		r.Failure = &Failure{Code: e.Failure.Code, Message: e.Failure.Message}
	}
	if e.Status == core.StatusCompleted {
		if r.Output, _, err = client.ResultJSON(ctx, e); err != nil {
			return Response{}, err
		}
	}
	return r, nil
}

package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/perdure-dev/perdure/core"
)

// Request is the enqueue function's event. Durations are in milliseconds, times in RFC 3339.
type Request struct {
	Action string `json:"action"` // enqueue, get, tree, list, cancel, wakeup, redrive or tasks

	// Table is the table that the caller means, its name or ARN: a function of another one refuses the request. Default:
	// whichever the function's is.
	Table string `json:"table,omitempty"`

	// For enqueue, Task also for list and wakeup. An Input that is missing is not null: only a task whose input is a
	// struct{} takes it.
	Task              string          `json:"task,omitempty"`
	Input             json.RawMessage `json:"input,omitempty"`
	DelayMS           int64           `json:"delay_ms,omitempty"`
	StartAt           time.Time       `json:"start_at,omitzero"`
	TimeoutMS         int64           `json:"timeout_ms,omitempty"`
	ScheduleToStartMS int64           `json:"schedule_to_start_ms,omitempty"`
	StartToFinishMS   int64           `json:"start_to_finish_ms,omitempty"`
	Retry             *Retry          `json:"retry,omitempty"`

	// Key is for wakeup the sleeper's; for enqueue it makes enqueueing idempotent, in place of ExecutionID.
	Key string `json:"key,omitempty"`
	// Output and Failure are for wakeup: one of them. A null is an output.
	Output  json.RawMessage `json:"output,omitempty"`
	Failure string          `json:"failure,omitempty"`

	// ExecutionID is required for get, tree, cancel and redrive; for enqueue it is the caller's choice, default a new
	// one.
	ExecutionID string `json:"execution_id,omitempty"`
	// Reason is for cancel.
	Reason string `json:"reason,omitempty"`

	// For list: see core.Listing. All are optional.
	Status core.Status `json:"status,omitempty"`
	Limit  int         `json:"limit,omitempty"`
	After  string      `json:"after,omitempty"`
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
	StartAt    time.Time       `json:"start_at,omitzero"` // when the next attempt may start, or might
	StartedAt  time.Time       `json:"started_at,omitzero"`
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	Root       string          `json:"root,omitempty"` // of a child: the execution at the top of the tree
	RootTask   string          `json:"root_task,omitempty"`
	Parent     string          `json:"parent,omitempty"`
	// ActiveChildren is how many of NumChildren are not known to be finished.
	NumChildren    int    `json:"num_children,omitempty"`
	ActiveChildren int    `json:"active_children,omitempty"`
	RedriveOf      string `json:"redrive_of,omitempty"`

	// For tree: what is below the execution, in order, without outputs.
	Children []Response `json:"children,omitempty"`

	// For list: root executions as get answers them, without outputs, newest first, and the After of the page that
	// follows. There is one as long as there is a Next, even behind a page without executions.
	Executions []Response `json:"executions,omitzero"`
	Next       string     `json:"next,omitempty"`

	// For tasks: those that the function knows, sorted by their ids, and its table.
	Tasks []Task `json:"tasks,omitempty"`
	Table string `json:"table,omitempty"`

	Error *Error `json:"error,omitempty"`
}

// Task is a registered task.
type Task struct {
	Task string        `json:"task"`
	Kind core.TaskKind `json:"kind"`
	// TimeoutMS is that of an attempt, or of the sleep of a sleeping task.
	TimeoutMS int64 `json:"timeout_ms"`
	Sleeping  bool  `json:"sleeping,omitempty"`
	// MaxAttempts is none for a task without code of its own: a sequential, looping or sleeping one.
	MaxAttempts       int   `json:"max_attempts,omitempty"`
	DelayMS           int64 `json:"delay_ms,omitempty"`
	ScheduleToStartMS int64 `json:"schedule_to_start_ms,omitempty"`
	StartToFinishMS   int64 `json:"start_to_finish_ms,omitempty"`
}

// Failure is why an execution or its last attempt did not succeed.
type Failure struct {
	Code    core.FailureCode `json:"code"`    // one of the engine's, or what the task gave to core.Fail
	Message string           `json:"message"` // begins with the cause
	// Data is what the task gave to core.Fail; data of a codec other than JSON is base64 text.
	Data json.RawMessage `json:"data,omitempty"`
	// Chain is the executions below that failed and led to this, down to the one in which it began.
	Chain []Cause `json:"chain,omitempty"`
}

// Cause is a failed execution that made another one fail.
type Cause struct {
	Task        string           `json:"task"`
	ExecutionID string           `json:"execution_id"`
	Code        core.FailureCode `json:"code"`
	Message     string           `json:"message"`
	LeftOut     int              `json:"left_out,omitempty"` // executions between this one and the next, of a long chain
}

// FailureOf returns what an answer says of a failure; nil for none. See core.Client.LoadCauses.
func FailureOf(f *core.Failure) *Failure {
	if f == nil {
		return nil
	}
	out := &Failure{Code: f.Code, Message: f.Message, Data: f.DataJSON()}
	for _, c := range f.Chain() {
		out.Chain = append(out.Chain, Cause{c.TaskID, c.ExecutionID, c.Code, c.Message, c.LeftOut})
	}
	return out
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
	CodeWrongTable    = "wrong_table"    // the request means another table than the function's
	CodeUnknownTask   = "unknown_task"   // no task with that id is registered
	CodeTooLarge      = "too_large"      // the input is over its limit
	CodeAlreadyExists = "already_exists" // the chosen execution id is taken
	CodeNotFound      = "not_found"      // no execution has that id
	CodeFinished      = "finished"       // a finished execution cannot be cancelled, a woken one not woken again
	CodeNotAllowed    = "not_allowed"    // what succeeded, down to its leaves, cannot be redriven
	CodeCorrupt       = "corrupt"        // what the table holds of the execution cannot be read
	CodeNotListed     = "not_listed"     // the stack keeps no list: its parameter ListIndex is no
	CodeUnavailable   = "unavailable"    // the store did not answer, or refused
)

// StartEnqueue serves invocations of the enqueue function until the environment ends.
func StartEnqueue(registry func() (*core.Registry, error)) { startEnqueue(registry, Options{}) }

func startEnqueue(registry func() (*core.Registry, error), opts Options) {
	ctx := context.Background()
	app, err := NewApp(ctx)
	if err != nil {
		fail(err)
	}
	app.Options = opts
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
	config := core.Config{
		Store: a.Store, Registry: tasks, Logger: a.Logger, Codec: a.Options.Codec, Limits: a.Config.limits(a.Options.Limits), Leeway: a.Config.Leeway,
		Observer: a.observer(),
	}
	if a.Options.Configure != nil {
		a.Options.Configure(&config)
	}
	engine, err := core.NewEngine(config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, event json.RawMessage) (Response, error) {
		defer a.observing(ctx)()
		deadline, _ := ctx.Deadline()
		x := engine.NewExecutor(core.ExecutorOptions{Deadline: deadline, SweepOnly: true})
		defer x.Flush()
		client, err := x.NewClient(core.ClientOptions{
			KeepWakeups: a.Options.KeepWakeups, Logger: a.Logger, Observer: a.observer(),
		})
		if err != nil {
			return Response{}, err
		}
		response, err := answer(ctx, client, a.Config.Table, event)
		if err == nil {
			return response, nil
		}
		if code := errorCode(err); code != CodeUnavailable {
			return Response{Error: &Error{Code: code, Message: message(err)}}, nil
		}
		return Response{}, messages.InvokeResponse_Error{Type: CodeUnavailable, Message: message(err)}
	}, nil
}

func errorCode(err error) string {
	for _, known := range []struct {
		sentinel error
		code     string
	}{
		{core.ErrUnknownOutcome, CodeUnavailable},
		{errWrongTable, CodeWrongTable},
		{core.ErrUnknownTask, CodeUnknownTask},
		{core.ErrTooLarge, CodeTooLarge},
		{core.ErrInvalid, CodeBadRequest}, // before all that an id may be as well that cannot be
		{core.ErrAlreadyExists, CodeAlreadyExists},
		{core.ErrNotFound, CodeNotFound},
		{core.ErrFinished, CodeFinished},
		{core.ErrCorrupt, CodeCorrupt},
		{core.ErrNotListed, CodeNotListed},
	} {
		if errors.Is(err, known.sentinel) {
			return known.code
		}
	}
	return CodeUnavailable
}

// errWrongTable means that a request is for the function of another table.
var errWrongTable = errors.New("wrong table")

// sameTable reports whether two names or ARNs of tables may be the same one's.
func sameTable(a, b string) bool {
	if a == b || strings.HasPrefix(a, "arn:") && strings.HasPrefix(b, "arn:") {
		return a == b
	}
	return a[strings.LastIndexByte(a, '/')+1:] == b[strings.LastIndexByte(b, '/')+1:]
}

func answer(ctx context.Context, client *core.Client, table string, event json.RawMessage) (Response, error) {
	if err := checkBounds(event); err != nil {
		return Response{}, err
	}
	var r Request
	dec := json.NewDecoder(bytes.NewReader(event))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Response{}, fmt.Errorf("%w request: %w", core.ErrInvalid, inJSONsWords(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Response{}, fmt.Errorf("%w request: there is more behind the JSON object", core.ErrInvalid)
	}
	if err := checkTexts(event, r); err != nil {
		return Response{}, err
	}
	action, known := actions[r.Action]
	switch {
	case !known:
		return Response{}, fmt.Errorf("%w request: action is %q, must be one of %q", core.ErrInvalid, r.Action, slices.Sorted(maps.Keys(actions)))
	case r.Table != "" && table != "" && !sameTable(r.Table, table):
		return Response{}, fmt.Errorf("%w: the request is for table %s, and this function's is %s: nothing was done", errWrongTable, r.Table, table)
	case len(r.ExecutionID) > maxID:
		return Response{}, fmt.Errorf("%w request: execution_id has %d bytes, must have at most %d", core.ErrInvalid, len(r.ExecutionID), maxID)
	case action.needsID && r.ExecutionID == "":
		return Response{}, fmt.Errorf("%w request: execution_id is missing, %s needs it", core.ErrInvalid, r.Action)
	}
	response, err := action.do(ctx, client, r)
	if r.Action == "tasks" {
		response.Table = table
	}
	return response, err
}

var actions = map[string]struct {
	do      func(ctx context.Context, client *core.Client, r Request) (Response, error)
	needsID bool
}{
	"enqueue": {enqueue, false}, "wakeup": {wakeup, false}, "list": {list, false},
	"tasks": {listTasks, false}, "get": {get, true}, "tree": {tree, true}, "cancel": {cancel, true}, "redrive": {redrive, true},
}

func cancel(ctx context.Context, client *core.Client, r Request) (Response, error) {
	if err := client.Cancel(ctx, r.ExecutionID, r.Reason); err != nil {
		return Response{}, err
	}
	return Response{ExecutionID: r.ExecutionID, Status: core.StatusCancelled}, nil
}

func wakeup(ctx context.Context, client *core.Client, r Request) (Response, error) {
	if (r.Output == nil) == (r.Failure == "") {
		return Response{}, fmt.Errorf("%w request: wakeup needs an output or a failure, one of them", core.ErrInvalid)
	}
	id, err := client.WakeupRaw(ctx, r.Task, r.Key, r.Output, r.Failure)
	if err != nil {
		return Response{}, err
	}
	return Response{ExecutionID: id}, nil
}

// listTasks answers without asking the store.
func listTasks(_ context.Context, client *core.Client, _ Request) (Response, error) {
	var r Response
	for _, t := range client.Tasks() {
		r.Tasks = append(r.Tasks, Task{
			Task: t.ID, Kind: t.Kind, TimeoutMS: t.Timeout.Milliseconds(), Sleeping: t.Sleeping, MaxAttempts: t.MaxAttempts,
			DelayMS: t.Delay.Milliseconds(), ScheduleToStartMS: t.ScheduleToStart.Milliseconds(), StartToFinishMS: t.StartToFinish.Milliseconds(),
		})
	}
	return r, nil
}

// redrive answers the new execution; one that was redriven before is redriven as it was then.
func redrive(ctx context.Context, client *core.Client, r Request) (Response, error) {
	id, err := client.Redrive(ctx, r.ExecutionID)
	switch {
	case errors.Is(err, core.ErrNotAllowed): // also of one that is finished, since it completed
		return Response{Error: &Error{Code: CodeNotAllowed, Message: message(err)}}, nil
	case err != nil && !errors.Is(err, core.ErrAlreadyExists):
		return Response{}, err
	}
	return Response{ExecutionID: id, RedriveOf: r.ExecutionID}, nil
}

func tree(ctx context.Context, client *core.Client, r Request) (Response, error) {
	root, err := client.Tree(ctx, r.ExecutionID)
	if err != nil {
		return Response{}, err
	}
	var all []*core.Execution
	root.Walk(func(_ int, e *core.Execution) { all = append(all, e) })
	if err := client.LoadCauses(ctx, all...); err != nil {
		return Response{}, err
	}
	return describeTree(root), nil
}

func describeTree(n *core.Node) Response {
	r := describe(n.Execution)
	for _, child := range n.Children {
		r.Children = append(r.Children, describeTree(child))
	}
	return r
}

func enqueue(ctx context.Context, client *core.Client, r Request) (Response, error) {
	opts := core.EnqueueOptions{
		ID: r.ExecutionID, Key: r.Key, StartAt: r.StartAt, Delay: milliseconds(r.DelayMS), Timeout: milliseconds(r.TimeoutMS),
		ScheduleToStart: milliseconds(r.ScheduleToStartMS), StartToFinish: milliseconds(r.StartToFinishMS),
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

func get(ctx context.Context, client *core.Client, request Request) (Response, error) {
	e, err := client.Get(ctx, request.ExecutionID)
	if err != nil {
		return Response{}, err
	}
	if err := client.LoadCauses(ctx, e); err != nil {
		return Response{}, err
	}
	r := describe(e)
	if e.Status == core.StatusCompleted {
		if r.Output, _, err = client.ResultJSON(ctx, e); err != nil {
			return Response{}, err
		}
		if !json.Valid(r.Output) {
			return Response{}, fmt.Errorf("%w: the output of execution %s is nested more than 10,000 deep, which no answer can be: read it in Go, by Handle.Wait",
				core.ErrTooLarge, e.ID)
		}
	}
	return r, nil
}

// describe returns what an answer says of an execution, without its output.
func describe(e *core.Execution) Response {
	r := Response{
		ExecutionID: e.ID, Task: e.TaskID, Status: e.Status, Attempts: e.Attempts, Recoveries: e.Recoveries,
		CreatedAt: e.CreatedAt, StartAt: e.StartAt, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt,
		NumChildren: len(e.ChildIndexes()), ActiveChildren: e.ActiveChildren(), RedriveOf: e.RedriveOf,
	}
	if e.Parent != nil {
		r.Root, r.RootTask, r.Parent = e.RootID, e.RootTaskID, e.Parent.ID
	}
	r.Failure = FailureOf(e.Failure)
	return r
}

func list(ctx context.Context, client *core.Client, request Request) (Response, error) {
	page, err := client.List(ctx, core.Listing{
		Status: request.Status, TaskID: request.Task, Limit: request.Limit, After: request.After,
	})
	if err != nil {
		return Response{}, err
	}
	if err := client.LoadCauses(ctx, page.Executions...); err != nil {
		return Response{}, err
	}
	r := Response{Executions: make([]Response, len(page.Executions)), Next: page.Next}
	for i, e := range page.Executions {
		r.Executions[i] = describe(e)
	}
	return r, nil
}

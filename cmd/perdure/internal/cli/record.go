package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// record is an execution as --json prints it. Its keys are those of the enqueue function's answers where that has them,
// and stay as they are: scripts go by them.
type record struct {
	ExecutionID string      `json:"execution_id"`
	Task        string      `json:"task"`
	Status      core.Status `json:"status"`
	Root        string      `json:"root,omitempty"` // of a child
	RootTask    string      `json:"root_task,omitempty"`
	Parent      string      `json:"parent,omitempty"`
	Index       *int        `json:"index,omitempty"` // below the parent, -1 for a finalize task
	SleepKey    string      `json:"sleep_key,omitempty"`
	RedriveOf   string      `json:"redrive_of,omitempty"`
	RedrivenAs  string      `json:"redriven_as,omitempty"` // get alone asks for it

	Attempts          int   `json:"attempts"`
	MaxAttempts       int   `json:"max_attempts"`
	Recoveries        int   `json:"recoveries,omitempty"`
	TimeoutMS         int64 `json:"timeout_ms"`
	ScheduleToStartMS int64 `json:"schedule_to_start_ms,omitempty"`
	StartToFinishMS   int64 `json:"start_to_finish_ms,omitempty"`

	CreatedAt  time.Time `json:"created_at"`
	StartAt    time.Time `json:"start_at,omitzero"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	ClosedAt   time.Time `json:"closed_at,omitzero"`
	DurationMS *int64    `json:"duration_ms,omitempty"` // from the start to the end, or to now

	Queue          core.Queue `json:"queue,omitempty"` // who has to look at it next, and when
	DueAt          time.Time  `json:"due_at,omitzero"`
	Executor       string     `json:"executor,omitempty"`
	NumChildren    int        `json:"num_children,omitempty"`
	ActiveChildren int        `json:"active_children,omitempty"`
	WriteUnits     int        `json:"write_units"`

	Input   json.RawMessage `json:"input,omitempty"`  // get alone loads it
	Output  json.RawMessage `json:"output,omitempty"` // get and wait alone load it
	Failure *failure        `json:"failure,omitempty"`

	Children []record `json:"children,omitempty"` // of tree
}

// describe returns what the record itself says.
func describe(e *core.Execution, now time.Time) record {
	r := record{
		ExecutionID: e.ID, Task: e.TaskID, Status: e.Status, SleepKey: e.SleepKey, RedriveOf: e.RedriveOf,
		Attempts: e.Attempts, MaxAttempts: max(1, e.Retry.MaxAttempts), Recoveries: e.Recoveries,
		TimeoutMS: e.Timeout.Milliseconds(), ScheduleToStartMS: e.ScheduleToStart.Milliseconds(),
		StartToFinishMS: e.StartToFinish.Milliseconds(),
		CreatedAt:       e.CreatedAt, StartAt: e.StartAt, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt, ClosedAt: e.ClosedAt,
		Queue: e.Queue, DueAt: e.DueAt, Executor: e.ExecutorID,
		NumChildren: len(e.ChildIndexes()), ActiveChildren: e.ActiveChildren(), WriteUnits: e.WriteUnits,
	}
	if e.Parent != nil {
		index := e.Parent.Index
		r.Root, r.RootTask, r.Parent, r.Index = e.RootID, e.RootTaskID, e.Parent.ID, &index
	}
	if d, started := duration(e, now); started {
		ms := d.Milliseconds()
		r.DurationMS = &ms
	}
	r.Failure = describeFailure(e.Failure)
	return r
}

// duration returns how long an execution took, or has been under way.
func duration(e *core.Execution, now time.Time) (d time.Duration, started bool) {
	if e.StartedAt.IsZero() {
		return 0, false
	}
	end := cmp.Or(e.FinishedAt, now)
	return max(0, end.Sub(e.StartedAt)), true
}

// whole returns the record with its payloads.
func whole(ctx context.Context, client *core.Client, e *core.Execution, now time.Time) (record, error) {
	if err := client.LoadFailure(ctx, e); err != nil {
		return record{}, err
	}
	r := describe(e, now)
	if err := r.Failure.loadDetail(ctx, client); err != nil {
		return r, err
	}
	var err error
	if r.Input, err = client.InputJSON(ctx, e); err != nil && !errors.Is(err, core.ErrNotFound) {
		return r, err
	}
	if e.Status == core.StatusCompleted {
		r.Output, _, err = client.ResultJSON(ctx, e)
		if err == nil && !json.Valid(r.Output) {
			err = fmt.Errorf("%w: the output is nested more than 10,000 deep, which no JSON reader takes: get --output without --json prints it as it is", core.ErrTooLarge)
		}
		return r, err
	}
	if e.Status.Finished() && e.Parent == nil {
		next, err := client.RedrivenAs(ctx, e.ID)
		if err != nil || next == nil {
			return r, err
		}
		r.RedrivenAs = next.ID
	}
	return r, nil
}

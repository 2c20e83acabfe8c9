package core

import (
	"slices"
	"time"
)

// Execution is the record of one run of a task: everything that is persisted about it. Times are UTC with
// millisecond precision, zero when they have not come yet. The payloads' bytes and the counted set must not
// be changed in place; a change makes a new record (see Transition).
type Execution struct {
	ID     string
	TaskID string
	// RootID is the id of the execution at the top of the tree; a root's own id.
	RootID string
	// Parent is nil for a root.
	Parent *Parent
	// SleepKey is the caller's unique key of a sleeping task; empty otherwise.
	SleepKey string

	Retry   RetryPolicy
	Timeout time.Duration // of one attempt, or of the sleep
	Delay   time.Duration // between creation and the first attempt
	Input   Payload

	Status     Status
	ExecutorID string // who holds, or last held, the lease
	Attempts   int    // attempts started, without those that were recovered or given back
	Recoveries int    // leases of attempts that ran out
	// UnknownSince is when an executor that did not know the task first gave the execution back.
	UnknownSince time.Time
	RunOutput    Payload // what a parent's run returned, while its family is at work and where it is the output
	Output       Payload
	// Failure is why the execution did not complete; before its end, why the last attempt failed.
	Failure *Failure

	CreatedAt            time.Time
	StartAt              time.Time // when the next attempt may start
	StartedAt            time.Time
	ExpiresAt            time.Time // the end of the lease, or of the sleep
	WaitingForChildrenAt time.Time
	WaitingForFinalizeAt time.Time
	FinishedAt           time.Time
	UpdatedAt            time.Time

	Family *Family // nil when the execution has no children

	CloseStatus       CloseStatus
	CloseExpiresAt    time.Time
	CloseRecoveries   int // leases on closing that ran out
	ClosedAt          time.Time
	NeedsCancellation bool // code may still be running: its executor has to be told

	// Queue and DueAt are the execution's one queue entry: who has to look at it next, and when.
	Queue Queue
	DueAt time.Time

	Rev   int64  // raised by every write but the counting union
	Nonce string // of the last write
}

// Parent names the parent of a child and the child's place below it.
type Parent struct {
	ID     string
	TaskID string
	// Index is the child's place among its siblings, from 0; FinalizeIndex for the finalize task.
	Index int
	// Siblings is how many children the family has, this one included; 0 for the finalize task.
	Siblings int
}

// FinalizeIndex is the place of a finalize task below its parent.
const FinalizeIndex = -1

// Payload is an encoded value: an input, an output, a manifest.
type Payload struct {
	// Data is the encoded value; nil when there is none or when it is not loaded.
	Data []byte
	// Ref is where the store keeps a value that does not fit the record; Store.Load fills Data from it. It
	// is opaque to the engine.
	Ref string
}

// IsZero reports whether there is no value.
func (p Payload) IsZero() bool { return p.Data == nil && p.Ref == "" }

// Loaded reports whether Data holds the value, or there is none.
func (p Payload) Loaded() bool { return p.Data != nil || p.Ref == "" }

// clone returns a copy that shares only what is never changed in place.
func (e *Execution) clone() *Execution {
	c := *e
	if e.Family != nil {
		f := *e.Family
		c.Family = &f
	}
	return &c
}

// Clone returns a deep copy of e.
func (e *Execution) Clone() *Execution {
	c := e.clone()
	if e.Parent != nil {
		p := *e.Parent
		c.Parent = &p
	}
	if e.Failure != nil {
		f := *e.Failure
		f.Detail.Data = slices.Clone(f.Detail.Data)
		c.Failure = &f
	}
	for _, p := range []*Payload{&c.Input, &c.RunOutput, &c.Output} {
		p.Data = slices.Clone(p.Data)
	}
	if c.Family != nil {
		c.Family.Manifest.Data = slices.Clone(c.Family.Manifest.Data)
		c.Family.Counted = slices.Clone(c.Family.Counted)
	}
	return c
}

// Sleeping reports whether the execution is of a sleeping task.
func (e *Execution) Sleeping() bool { return e.SleepKey != "" }

// LeaseEnd returns when the lease of the code that runs for the execution, or last ran for it, ends: that of its
// attempt, or of its finalize function.
func (e *Execution) LeaseEnd() time.Time {
	if e.Family != nil && e.Family.ProcessingExpiresAt.After(e.ExpiresAt) {
		return e.Family.ProcessingExpiresAt
	}
	return e.ExpiresAt
}

// Millis returns t as records hold it: UTC, without a monotonic reading, cut to the millisecond.
func Millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// NewExecution returns the first record of an execution: ready, or, for a sleeping task, running until it is
// woken or times out. The caller fills in the parent; spec is taken as valid, its durations are cut to whole
// milliseconds.
func NewExecution(id string, spec Spec, now time.Time) *Execution {
	now = Millis(now)
	spec.Timeout, spec.Delay = spec.Timeout.Truncate(time.Millisecond), spec.Delay.Truncate(time.Millisecond)
	e := &Execution{
		ID: id, TaskID: spec.TaskID, RootID: id, SleepKey: spec.SleepKey,
		Retry: spec.Retry, Timeout: spec.Timeout, Delay: spec.Delay, Input: Payload{Data: spec.Input},
		Status: StatusReady, CloseStatus: CloseIdle,
		CreatedAt: now, StartAt: now.Add(spec.Delay), UpdatedAt: now,
		Queue: QueueReady, DueAt: now.Add(spec.Delay), Rev: 1,
	}
	if e.Sleeping() {
		e.Status, e.StartedAt, e.ExpiresAt = StatusRunning, now, e.StartAt.Add(spec.Timeout)
		e.Queue, e.DueAt = QueueSleeping, e.ExpiresAt
	}
	return e
}

// Spec is what is needed to make an execution: the part of a record that its creator decides.
type Spec struct {
	TaskID   string
	Input    []byte
	Retry    RetryPolicy
	Timeout  time.Duration
	Delay    time.Duration
	SleepKey string
}

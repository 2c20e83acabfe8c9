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
	// RootTaskID is the task of the execution at the top of the tree; a root's own task. It is empty two or more levels below
	// a root whose task has an id of more than 64 bytes, or that an earlier version made.
	RootTaskID string
	// Parent is nil for a root.
	Parent *Parent
	// SleepKey is the caller's unique key of a sleeping task; empty otherwise.
	SleepKey string
	// SleepRound is how many redriven executions slept under the same key before this one.
	SleepRound int
	// Kept marks a wake-up that came before its sleeper and waits for it until ExpiresAt. It is no execution yet.
	Kept bool
	// RedriveOf is the id of the execution whose finished work this one takes over; empty for none.
	RedriveOf string

	Retry           RetryPolicy
	Timeout         time.Duration // of one attempt, or of the sleep
	ScheduleToStart time.Duration // how long an attempt may wait for an executor; 0 for ever
	StartToFinish   time.Duration // from the first attempt's start to the end, children included; 0 for ever
	Delay           time.Duration // between creation and the first attempt
	Input           Payload
	// Source names where the input is kept when Input is empty.
	Source Source

	Status     Status
	ExecutorID string // who holds, or last held, the lease
	Attempts   int    // attempts started, without those that were recovered or given back
	// Recoveries counts the leases of attempts that ran out since an attempt last came to an end by itself.
	Recoveries int
	// UnknownSince is when an executor that did not know the task first gave the execution back; zero once one that knows it
	// has had it.
	UnknownSince time.Time
	RunOutput    Payload // what a parent's run returned, while its family is at work and where it is the output
	Output       Payload
	// OutputOf is the id of the execution whose output this one has, which was born completed; empty otherwise.
	OutputOf string
	// Failure is why the execution did not complete; before its end, why the last attempt failed.
	Failure *Failure

	CreatedAt            time.Time
	StartAt              time.Time // when the next attempt may start
	StartedAt            time.Time
	ExpiresAt            time.Time // the end of the lease, or of the sleep
	FinishBy             time.Time // the end of StartToFinish, known once the first attempt is over
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

	// WriteUnits is what the writes of this execution alone were billed at so far, in write request units, by a store that is
	// billed by the write; 0 in a record that does not know, such as one that was made here and not read. It leaves out
	// refused writes, what its children took, and the counting of a family of more than CountDirect children beside the
	// record.
	WriteUnits int

	Rev   int64  // raised by every write but the counting union
	Nonce string // of the last write
}

// Parent names the parent of a child and the child's place below it.
type Parent struct {
	ID     string
	TaskID string
	// Index is the child's place among its siblings, from 0; FinalizeIndex for the finalize task.
	Index int
	// Siblings is how many children the family has, this one included; 0 for the finalize task and for a step of
	// a sequence.
	Siblings int
}

// Source names an execution that has what another one is given, so that it is not stored twice.
type Source struct {
	ExecutionID string // empty for none
	Output      bool   // its output and not its input
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
		for _, p := range f.Payloads() {
			p.Data = slices.Clone(p.Data)
		}
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

// WithoutKept sets those of the records to nil that are kept wake-ups, and returns them.
func WithoutKept(records []*Execution) []*Execution {
	for i, e := range records {
		if e != nil && e.Kept {
			records[i] = nil
		}
	}
	return records
}

// Sleeping reports whether the execution is of a sleeping task.
func (e *Execution) Sleeping() bool { return e.SleepKey != "" }

// RootTask returns RootTaskID, or, where that is empty, what the rest of the record tells of it: a root's task is its own, and
// a root's child has it as its parent's. Stores need not keep it then.
func (e *Execution) RootTask() string {
	switch {
	case e.RootTaskID != "":
		return e.RootTaskID
	case e.Parent == nil:
		return e.TaskID
	case e.Parent.ID == e.RootID:
		return e.Parent.TaskID
	}
	return ""
}

// maxRootTask is how many bytes a root's task id may have to be kept in records further down, which have to stay within 1 KB.
const maxRootTask = 64

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
	for _, d := range []*time.Duration{
		&spec.Timeout, &spec.Delay, &spec.ScheduleToStart, &spec.StartToFinish, &spec.Retry.BaseDelay, &spec.Retry.MaxDelay,
	} {
		*d = d.Truncate(time.Millisecond)
	}
	e := &Execution{
		ID: id, TaskID: spec.TaskID, RootID: id, RootTaskID: spec.TaskID, SleepKey: spec.SleepKey, SleepRound: spec.SleepRound,
		RedriveOf: spec.RedriveOf, Retry: spec.Retry, Timeout: spec.Timeout, Delay: spec.Delay,
		ScheduleToStart: spec.ScheduleToStart, StartToFinish: spec.StartToFinish,
		Input: Payload{Data: spec.Input}, Source: spec.Source,
		Status: StatusReady, CloseStatus: CloseIdle,
		CreatedAt: now, StartAt: now.Add(spec.Delay), UpdatedAt: now,
		Queue: QueueReady, DueAt: now.Add(spec.Delay), Rev: 1,
	}
	if e.Sleeping() {
		e.Status, e.StartedAt, e.ExpiresAt = StatusRunning, now, e.StartAt.Add(spec.Timeout)
		e.Queue, e.DueAt = QueueSleeping, e.ExpiresAt
	}
	if spec.OutputOf != "" {
		e.OutputOf, e.Status, e.FinishedAt = spec.OutputOf, StatusCompleted, now
		e.close(now)
	}
	return e
}

// Spec is what is needed to make an execution: the part of a record that its creator decides.
type Spec struct {
	TaskID          string
	Input           []byte
	Source          Source
	Retry           RetryPolicy
	Timeout         time.Duration
	ScheduleToStart time.Duration
	StartToFinish   time.Duration
	Delay           time.Duration
	SleepKey        string
	SleepRound      int
	RedriveOf       string
	// OutputOf makes the execution be born completed: see Execution.OutputOf.
	OutputOf string
}

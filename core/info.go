package core

import (
	"context"
	"log/slog"
	"time"
)

// Info is what running code may know of its execution.
type Info struct {
	TaskID      string
	ExecutionID string
	RootID      string
	RootTaskID  string // empty where the record does not tell: see Execution.RootTaskID
	ParentID    string // empty for a root
	// Index is the place of a child among its siblings, from 0: of a step in its sequence, of an iteration in its
	// loop. FinalizeIndex for a finalize execution; 0 for a root.
	Index int
	// CreatedAt is when the execution was put in. With ExecutionID it names a root for good: an id that a caller chose may
	// be given to another execution once the retention of this one is over.
	CreatedAt time.Time
	Attempt   int // 1 for the first
	Deadline  time.Time
	// RedriveOf is the id of the execution that this one redrives; empty for none.
	RedriveOf string
	// Previous is the failure of the attempt before; nil for the first.
	Previous *Failure
}

type (
	infoKey     struct{}
	loggerKey   struct{}
	shutdownKey struct{}
)

// InfoOf returns the info of the execution whose code was called with ctx; the zero Info elsewhere.
func InfoOf(ctx context.Context) Info {
	info, _ := ctx.Value(infoKey{}).(Info)
	return info
}

// LoggerOf returns a logger that carries the ids of the execution whose code was called with ctx; elsewhere
// one that logs nothing.
func LoggerOf(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return l
	}
	return slog.New(slog.DiscardHandler)
}

// ShuttingDown returns a channel that is closed when the executor that called the code with ctx is told to end:
// code that can come to an end soon should. The context goes on for a while; when it ends first, its cause is
// ErrShutdown. Elsewhere the channel is nil.
func ShuttingDown(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(shutdownKey{}).(chan struct{})
	return c
}

// Keys of log attributes.
const (
	logExecution = "execution_id"
	logTask      = "task_id"
	logRoot      = "root_id"
	logAttempt   = "attempt"
	logExecutor  = "executor_id"
	logError     = "error"
	logCode      = "code" // of a failure, whose message may hold what it was given
	logStatus    = "status"
	logLoop      = "loop"
	logCount     = "count"
	logDuration  = "duration"
	logTimeout   = "timeout"
	logLimit     = "limit"
	logObserver  = "observer_function"
)

// about returns a logger whose lines say which execution they are about.
func about(log *slog.Logger, e *Execution) *slog.Logger {
	return log.With(logExecution, e.ID, logTask, e.TaskID, logRoot, e.RootID, logAttempt, e.Attempts)
}

// withInfo returns the context of an attempt's code.
func withInfo(ctx context.Context, e *Execution, deadline time.Time, log *slog.Logger, closing chan struct{}) context.Context {
	info := Info{
		TaskID: e.TaskID, ExecutionID: e.ID, RootID: e.RootID, RootTaskID: e.RootTask(), RedriveOf: e.RedriveOf, CreatedAt: e.CreatedAt,
		Attempt: e.Attempts, Deadline: deadline, Previous: e.Failure,
	}
	if e.Parent != nil {
		info.ParentID, info.Index = e.Parent.ID, e.Parent.Index
	}
	ctx = context.WithValue(ctx, infoKey{}, info)
	ctx = context.WithValue(ctx, shutdownKey{}, closing)
	return context.WithValue(ctx, loggerKey{}, log)
}

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
	ParentID    string // empty for a root
	Attempt     int    // 1 for the first
	Deadline    time.Time
	// Previous is the failure of the attempt before; nil for the first.
	Previous *Failure
}

type infoKey struct{}
type loggerKey struct{}

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

// Keys of log attributes.
const (
	logExecution = "execution_id"
	logTask      = "task_id"
	logRoot      = "root_id"
	logAttempt   = "attempt"
	logExecutor  = "executor_id"
	logError     = "error"
	logStatus    = "status"
	logLoop      = "loop"
	logCount     = "count"
)

// withInfo returns the context of an attempt's code.
func withInfo(ctx context.Context, e *Execution, deadline time.Time, log *slog.Logger) context.Context {
	info := Info{
		TaskID: e.TaskID, ExecutionID: e.ID, RootID: e.RootID,
		Attempt: e.Attempts, Deadline: deadline, Previous: e.Failure,
	}
	if e.Parent != nil {
		info.ParentID = e.Parent.ID
	}
	ctx = context.WithValue(ctx, infoKey{}, info)
	return context.WithValue(ctx, loggerKey{}, log)
}

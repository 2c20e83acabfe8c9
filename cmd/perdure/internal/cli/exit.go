package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// The exit codes, which docs/cli.md and the help promise.
const (
	exitOK         = 0
	exitError      = 1   // anything else, such as a table that does not answer; doctor found something to fix
	exitUsage      = 2   // wrong flags, arguments or input; nothing was done
	exitFailed     = 3   // the execution failed
	exitTimedOut   = 4   // the execution timed out
	exitCancelled  = 5   // the execution was cancelled
	exitNotFound   = 6   // there is no such execution
	exitUnfinished = 7   // the time to wait is over, and the execution is not finished
	exitInterrupt  = 130 // Ctrl-C
)

const exitHelp = `Exit codes:
  0  done; for wait: the execution completed
  1  something else went wrong, or doctor found something to fix
  2  wrong flags, arguments or input; nothing was done
  3  the execution failed
  4  the execution timed out
  5  the execution was cancelled
  6  there is no such execution
  7  the time to wait is over (wait --timeout, enqueue --wait-timeout) and the execution is not finished
  130  interrupted`

// commandError is an error with an exit code of its own, and the code that --json tells.
type commandError struct {
	exit int
	code string
	err  error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// usagef returns an error of the command line itself.
func usagef(format string, args ...any) error {
	return &commandError{exitUsage, "usage", fmt.Errorf(format, args...)}
}

// errQuiet ends a command whose output tells already what is wrong.
var errQuiet = errors.New("the output tells")

// classify returns the exit code of an error, and a word for it that scripts may go by: those of the enqueue function,
// and usage, unfinished, interrupted and the execution's own status.
func classify(err error) (exit int, code string) {
	var own *commandError
	var ended *core.ExecutionError
	switch {
	case err == nil:
		return exitOK, ""
	case errors.Is(err, context.Canceled): // before all else, whatever it was that was interrupted
		return exitInterrupt, "interrupted"
	case errors.As(err, &own):
		return own.exit, own.code
	case errors.As(err, &ended):
		return exitOf(ended.Status), string(ended.Status)
	case errors.Is(err, core.ErrUnknownOutcome):
		return exitError, handler.CodeUnavailable
	case errors.Is(err, core.ErrNotFound):
		return exitNotFound, handler.CodeNotFound
	case errors.Is(err, core.ErrAlreadyExists):
		return exitError, handler.CodeAlreadyExists
	case errors.Is(err, core.ErrFinished):
		return exitError, handler.CodeFinished
	case errors.Is(err, core.ErrNotAllowed):
		return exitError, handler.CodeNotAllowed
	case errors.Is(err, core.ErrNotListed):
		return exitError, handler.CodeNotListed
	case errors.Is(err, core.ErrTooLarge):
		return exitUsage, handler.CodeTooLarge
	case errors.Is(err, core.ErrInvalid):
		return exitUsage, handler.CodeBadRequest
	}
	return exitError, handler.CodeUnavailable
}

// exitOf returns the exit code for the end of an execution.
func exitOf(s core.Status) int {
	switch s {
	case core.StatusCompleted:
		return exitOK
	case core.StatusFailed, core.StatusFinalizeFailed:
		return exitFailed
	case core.StatusTimedOut:
		return exitTimedOut
	case core.StatusCancelled:
		return exitCancelled
	default:
		return exitUnfinished
	}
}

// answerError returns the error in an answer of the enqueue function.
func answerError(e *handler.Error) error {
	exit := exitError
	switch e.Code {
	case handler.CodeNotFound:
		exit = exitNotFound
	case handler.CodeBadRequest, handler.CodeUnknownTask, handler.CodeTooLarge, handler.CodeWrongTable:
		exit = exitUsage
	}
	return &commandError{exit, e.Code, errors.New(e.Message)}
}

// requestID is what differs in the errors of requests that failed alike.
var requestID = regexp.MustCompile(`RequestID: [^,]*, `)

// oneLine returns an error's text as a single line. Of joined errors that are alike there is one.
func oneLine(err error) string {
	var lines []string
	seen := map[string]bool{}
	for l := range strings.FieldsFuncSeq(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }) {
		l = strings.TrimSpace(l)
		if alike := requestID.ReplaceAllString(l, ""); !seen[alike] {
			seen[alike] = true
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

package lambdalocal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// unhandled is what Lambda calls every error of a function.
const unhandled = "Unhandled"

// invocation is one event on its way through an environment.
type invocation struct {
	id      string
	payload []byte
	timeout time.Duration

	// Guarded by environment.mu.
	deadline  time.Time
	delivered bool   // The runtime has been given the event.
	answer    []byte // What the runtime posted; nil before.
	answerErr string // unhandled when it posted an error.

	settled chan struct{} // Closed when the runtime, having answered, asks for the next event.

	result Result        // Written before done is closed.
	done   chan struct{} // Closed when the invocation has ended.
}

func newInvocation(payload []byte, timeout time.Duration) *invocation {
	return &invocation{
		id:      newRequestID(),
		payload: payload,
		timeout: timeout,
		settled: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// newRequestID makes a version 4 UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// outcome is a Result and what else the service learns from an invocation.
type outcome struct {
	Result
	timedOut bool
	lost     bool         // The process had ended before it was given the event.
	reusable *environment // nil when it is gone.
}

// failed makes the Result of an invocation that the service itself gives up, in Lambda's words.
func (inv *invocation) failed(errorType, message string) Result {
	return Result{
		RequestID:     inv.id,
		FunctionError: unhandled,
		Payload:       errorPayload(errorType, fmt.Sprintf("RequestId: %s Error: %s", inv.id, message)),
	}
}

// failedTimeout makes the Result of an invocation that took longer than d.
func (inv *invocation) failedTimeout(d time.Duration) Result {
	return inv.failed("Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", d.Seconds()))
}

// failedExit makes the Result of an invocation whose process ended; err is how.
func (inv *invocation) failedExit(err error) Result {
	message := "Runtime exited without providing a reason"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		message = "Runtime exited with error: " + exit.Error()
	}
	return inv.failed("Runtime.ExitError", message)
}

// errorPayload is the JSON form of an error. Two strings cannot fail to become JSON.
func errorPayload(errorType, message string) []byte {
	payload, _ := json.Marshal(struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{errorType, message})
	return payload
}

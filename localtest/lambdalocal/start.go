package lambdalocal

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// heldLines is how many lines of a process that starts are held back from the log.
const heldLines = 200

// Start is what came of a new environment's init phase.
type Start struct {
	Function string

	// Err says why the process did not come to ask for its first invocation; nil when it did.
	Err error

	// Lines are the last, at most 200, that a process wrote which did not start. They are not in the Log.
	Lines []string
}

// say takes a line that the process wrote.
func (e *environment) say(line string) {
	e.mu.Lock()
	if !e.holds || e.ready {
		e.mu.Unlock()
		e.log(line)
		return
	}
	defer e.mu.Unlock()
	e.held = append(e.held, line)
	if len(e.held) > heldLines {
		e.log(e.held[0])
		e.held = e.held[1:]
	}
}

// release logs the lines of an init phase that went well; environment.mu is held, so that none overtakes them.
func (e *environment) release() {
	for _, line := range e.held {
		e.log(line)
	}
	e.held = nil
}

// started tells Options.Started that an environment, nil for one without a process, is past its init phase or, when end is
// not nil, has failed in it. What fails because it is ended from here, as by Close or Renew, is not told.
func (s *Service) started(f *function, e *environment, end *outcome) {
	if s.opts.Started == nil {
		return
	}
	s.mu.Lock()
	unasked := s.shut || e != nil && e.doomed
	s.mu.Unlock()
	if unasked {
		return
	}
	start := Start{Function: f.Name}
	if end != nil {
		start.Err = payloadError(end.Payload)
		if e != nil {
			e.mu.Lock()
			start.Lines = e.held
			e.mu.Unlock()
		}
	}
	s.opts.Started(start)
}

// Failed is an invocation that ended in an error.
type Failed struct {
	Function string
	// Err is what the function answered, or how its process ended: in an exit status or a signal, or by taking too long.
	Err error
	// Ended tells that the process ended with the invocation, and whatever else ran in it.
	Ended bool
	// Duration is how long the invocation took.
	Duration time.Duration
}

// failed tells Options.Failed of an invocation that ended in an error.
func (s *Service) failed(f *function, end outcome) {
	if s.opts.Failed == nil || end.FunctionError == "" {
		return
	}
	s.mu.Lock()
	shut := s.shut
	s.mu.Unlock()
	if !shut {
		s.opts.Failed(Failed{Function: f.Name, Err: payloadError(end.Payload), Ended: end.reusable == nil, Duration: end.Duration})
	}
}

// payloadError returns the error that a payload describes, without what differs from one invocation to the next.
func payloadError(payload []byte) error {
	var said struct {
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(payload, &said); err != nil || said.Message == "" {
		return errors.New(string(payload))
	}
	if _, message, found := strings.Cut(said.Message, " Error: "); found && strings.HasPrefix(said.Message, "RequestId: ") {
		return errors.New(message)
	}
	return errors.New(said.Message)
}

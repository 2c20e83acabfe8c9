// Package lambdalocal is a local Lambda service: it runs compiled bootstrap binaries as Lambda
// would and serves each of them the Lambda runtime API.
//
// An execution environment is one process with a runtime API endpoint of its own. It handles one
// invocation at a time. A warm environment is taken before a new one is started, the one used last
// first; between invocations it is frozen (SIGSTOP), so that nothing runs in it, as in Lambda. An
// invocation that reaches the function's timeout kills its environment; an environment whose
// process ends is gone and the next invocation starts another.
//
// A caller gets the function's answer when the runtime asks for its next invocation (or ends), not
// already when it posts the answer. So a caller that invokes one after the other always meets the
// same environment and is never throttled by itself.
//
// Unlike Lambda, a throttled asynchronous invocation is dropped and not tried again, memory is not
// limited, idle environments stay until Close, and an init phase that fails is not repeated.
//
// Reference: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html.
package lambdalocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a payload in bytes, from "Invoke" in the Lambda API reference: 6 MB for synchronous
// and 1 MB (before October 2025: 256 KB) for asynchronous invocations.
// See https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html.
const (
	MaxSyncPayload  = 6 << 20
	MaxAsyncPayload = 1 << 20
)

var (
	// ErrFunctionNotFound says that no function of that name was added.
	ErrFunctionNotFound = errors.New("function not found")

	// ErrThrottled says that the function runs MaxConcurrency invocations already.
	ErrThrottled = errors.New("rate exceeded")

	// ErrPayload says that a payload is over its limit or not JSON.
	ErrPayload = errors.New("invalid payload")

	// ErrClosed says that the Service is closed.
	ErrClosed = errors.New("local Lambda service is closed")

	// ErrNoEnvironment says that a process id is not that of a living environment.
	ErrNoEnvironment = errors.New("no such environment")
)

// terminateGrace is what a process gets between SIGTERM and SIGKILL, as in Lambda's shutdown.
const terminateGrace = 500 * time.Millisecond

// Options are a Service's choices. The zero value works.
type Options struct {
	// Log gets what the functions write to standard output and error, line by line, each line in
	// one Write and after the function's name in brackets. Default: none.
	Log io.Writer

	// Started is called after each new environment's init phase, by several goroutines at once, with what came of it. With it
	// the Log gets what a process writes in that phase when the phase is over, and not at all when it failed. Default: none.
	Started func(Start)

	// Failed is called after each invocation that ended in an error once its environment had started, by several goroutines at
	// once. What fails because the service ends is not told. Default: none.
	Failed func(Failed)

	// NoFreeze leaves environments running between invocations. Default: they are frozen, except
	// on Windows, which cannot.
	NoFreeze bool

	// Region is what functions see in AWS_REGION and in ARNs. Default: "us-east-1".
	Region string

	// InitTimeout is what a new process has until it asks for its first invocation. Default: 10 s,
	// which is Lambda's limit.
	InitTimeout time.Duration

	// CloseGrace is what Close gives running invocations to end by themselves. Default: 2 s;
	// negative: none.
	CloseGrace time.Duration
}

// Function is a function to add.
type Function struct {
	// Name is required: 1-64 letters, digits, "-" and "_".
	Name string

	// Bootstrap is the path of the executable; required. As in Lambda, a missing one is found out
	// when it is invoked.
	Bootstrap string

	// Env has further variables, "KEY=value". They win over those the service sets. The
	// environment of the calling process is not handed on; AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY are "local".
	Env []string

	// Timeout bounds one invocation. Default: 3 s.
	Timeout time.Duration

	// MemoryMB is what the function is told its memory is. Default: 128.
	MemoryMB int

	// MaxConcurrency is the number of invocations that run at once before more are throttled.
	// Default: 10.
	MaxConcurrency int
}

// Result is how an invocation ended.
type Result struct {
	// Payload is the function's answer, or the description of its error.
	Payload []byte

	// FunctionError is empty after success, else "Unhandled".
	FunctionError string

	RequestID    string
	Duration     time.Duration // Without the init phase.
	InitDuration time.Duration // 0 for a warm environment.
}

// Environment is a living execution environment.
type Environment struct {
	Function    string
	PID         int
	Busy        bool   // It starts or handles an invocation.
	RequestID   string // Of the invocation it handles; else empty.
	Invocations int    // It was given.
	Started     time.Time
}

// Stats are what happened to a function since it was added.
type Stats struct {
	Invocations int // Without those throttled.
	Errors      int // Those that ended in an error of any kind.
	Timeouts    int // Those that reached the function's timeout, or the init phase's.
	Throttles   int
	ColdStarts  int
	Crashes     int // Processes that ended without having been told to.

	// Billed is the time of all init phases and invocations, each rounded up to a millisecond.
	Billed time.Duration
}

// Service runs functions. Its methods may be called from any goroutine.
type Service struct {
	opts   Options
	freeze bool
	logMu  sync.Mutex

	invocations sync.WaitGroup // Running.
	schedules   sync.WaitGroup
	closing     chan struct{} // Closed when Close begins.
	closed      chan struct{} // Closed when Close is done.
	closeErr    error         // Written before closed is closed.

	mu        sync.Mutex
	functions map[string]*function
	live      []*environment // In the order they started.
	shut      bool           // No more invocations.
	stopping  bool           // No more environments.
}

// function is a Function and what runs of it; guarded by Service.mu.
type function struct {
	Function
	running int
	idle    []*environment // The one used last is the last.
	stats   Stats
}

// New returns a Service without functions.
func New(opts Options) *Service {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.InitTimeout == 0 {
		opts.InitTimeout = 10 * time.Second
	}
	if opts.CloseGrace == 0 {
		opts.CloseGrace = 2 * time.Second
	}
	return &Service{
		opts:      opts,
		freeze:    !opts.NoFreeze && runtime.GOOS != "windows",
		closing:   make(chan struct{}),
		closed:    make(chan struct{}),
		functions: map[string]*function{},
	}
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Add makes a function known. It is an error when the name is taken or a field is out of range.
func (s *Service) Add(f Function) error {
	if f.Timeout == 0 {
		f.Timeout = 3 * time.Second
	}
	if f.MemoryMB == 0 {
		f.MemoryMB = 128
	}
	if f.MaxConcurrency == 0 {
		f.MaxConcurrency = 10
	}
	switch {
	case !namePattern.MatchString(f.Name):
		return fmt.Errorf("add function %q: the name must match %s", f.Name, namePattern)
	case f.Bootstrap == "":
		return fmt.Errorf("add function %s: no bootstrap", f.Name)
	case f.Timeout < 0 || f.MemoryMB < 0 || f.MaxConcurrency < 0:
		return fmt.Errorf("add function %s: a limit is negative", f.Name)
	}
	path, err := filepath.Abs(f.Bootstrap)
	if err != nil {
		return fmt.Errorf("add function %s: %w", f.Name, err)
	}
	f.Bootstrap = path
	f.Env = slices.Clone(f.Env)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return ErrClosed
	}
	if s.functions[f.Name] != nil {
		return fmt.Errorf("add function %s: the name is taken", f.Name)
	}
	s.functions[f.Name] = &function{Function: f}
	return nil
}

// Invoke runs a function and waits for its end, as Lambda does for a RequestResponse invocation.
// An error of the function is in the Result; the error returned is that of the service. When ctx
// ends first, the invocation goes on without the caller. An empty payload is delivered as {}.
func (s *Service) Invoke(ctx context.Context, name string, payload []byte) (Result, error) {
	inv, err := s.begin(name, payload, MaxSyncPayload)
	if err != nil {
		return Result{}, fmt.Errorf("invoke %s: %w", name, err)
	}
	select {
	case <-inv.done:
		return inv.result, nil
	case <-ctx.Done():
		return Result{RequestID: inv.id}, fmt.Errorf("invoke %s (request %s goes on): %w", name, inv.id, context.Cause(ctx))
	}
}

// InvokeAsync starts a function and does not wait for it, as Lambda does for an Event invocation
// with 0 retries. Unlike Lambda it does not queue: without room it drops the invocation and
// returns ErrThrottled.
func (s *Service) InvokeAsync(name string, payload []byte) error {
	if _, err := s.begin(name, payload, MaxAsyncPayload); err != nil {
		return fmt.Errorf("invoke %s asynchronously: %w", name, err)
	}
	return nil
}

// begin admits an invocation and starts it in a goroutine of its own.
func (s *Service) begin(name string, payload []byte, limit int) (*invocation, error) {
	switch {
	case len(payload) > limit:
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrPayload, len(payload), limit)
	case len(payload) == 0:
		payload = []byte("{}")
	case !utf8.Valid(payload):
		return nil, fmt.Errorf("%w: not JSON: it is not UTF-8", ErrPayload)
	}
	var value json.RawMessage
	if err := json.Unmarshal(payload, &value); err != nil {
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			err = fmt.Errorf("byte %d: %w", syntax.Offset, err)
		}
		return nil, fmt.Errorf("%w: not JSON: %w", ErrPayload, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil, ErrClosed
	}
	f := s.functions[name]
	if f == nil {
		return nil, ErrFunctionNotFound
	}
	if f.running >= f.MaxConcurrency {
		f.stats.Throttles++
		return nil, fmt.Errorf("%w: %d invocations are running", ErrThrottled, f.running)
	}
	f.running++
	f.stats.Invocations++
	inv := newInvocation(slices.Clone(payload), f.Timeout)
	e := f.takeIdle()
	s.invocations.Go(func() { s.run(f, e, inv) })
	return inv, nil
}

// takeIdle returns the environment used last, or nil; Service.mu is held.
func (f *function) takeIdle() *environment {
	n := len(f.idle)
	if n == 0 {
		return nil
	}
	e := f.idle[n-1]
	f.idle = f.idle[:n-1]
	e.busy = true
	return e
}

// run takes an invocation to its end: in e, or in a new environment when e is nil.
func (s *Service) run(f *function, e *environment, inv *invocation) {
	var end outcome
	for {
		if e == nil {
			end = s.runCold(f, inv)
			break
		}
		if end = e.invoke(inv); !end.lost {
			s.failed(f, end)
			break
		}
		// The environment had died while it was idle, and the function has not seen the event.
		s.mu.Lock()
		e = f.takeIdle()
		s.mu.Unlock()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	f.running--
	f.stats.Billed += ceilMillisecond(end.InitDuration + end.Duration)
	if end.FunctionError != "" {
		f.stats.Errors++
	}
	if end.timedOut {
		f.stats.Timeouts++
	}
	switch e := end.reusable; {
	case e == nil:
	case e.doomed:
		s.invocations.Go(func() { s.retire(e) })
	default:
		e.busy = false
		f.idle = append(f.idle, e)
	}
	inv.result = end.Result
	close(inv.done)
}

// runCold starts an environment and runs the invocation in it.
func (s *Service) runCold(f *function, inv *invocation) outcome {
	s.mu.Lock()
	f.stats.ColdStarts++
	s.mu.Unlock()
	begun := time.Now()
	e, err := s.startEnvironment(f)
	if err != nil {
		end := outcome{Result: inv.failed("Runtime.InvalidEntrypoint", err.Error())}
		s.started(f, nil, &end)
		return end
	}
	end := e.awaitInit(inv, s.opts.InitTimeout)
	s.started(f, e, end)
	if end != nil {
		end.InitDuration = time.Since(begun)
		return *end
	}
	initDuration := time.Since(begun)
	invoked := e.invoke(inv)
	s.failed(f, invoked)
	invoked.InitDuration = initDuration
	return invoked
}

func ceilMillisecond(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// Schedule invokes a function asynchronously at once and then every interval, as EventBridge
// Scheduler does, until stop is called or the Service closed. Invocations may overlap; those
// without room are dropped and counted as throttled, and nothing is retried. payload makes the
// event of a tick; it must not block.
func (s *Service) Schedule(name string, every time.Duration, payload func(tick time.Time) []byte) (stop func(), err error) {
	if every <= 0 {
		return nil, fmt.Errorf("schedule %s: interval %v is not positive", name, every)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil, fmt.Errorf("schedule %s: %w", name, ErrClosed)
	}
	if s.functions[name] == nil {
		return nil, fmt.Errorf("schedule %s: %w", name, ErrFunctionNotFound)
	}
	stopped := make(chan struct{})
	s.schedules.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for tick := time.Now(); ; {
			if err := s.InvokeAsync(name, payload(tick)); err != nil && !errors.Is(err, ErrThrottled) && !errors.Is(err, ErrClosed) {
				s.log(name, "schedule: "+err.Error())
			}
			select {
			case tick = <-ticker.C:
			case <-stopped:
				return
			case <-s.closing:
				return
			}
			select { // A tick that was due as well may have been chosen.
			case <-stopped:
				return
			case <-s.closing:
				return
			default:
			}
		}
	})
	return sync.OnceFunc(func() { close(stopped) }), nil
}

// Environments returns the living environments, oldest first.
func (s *Service) Environments() []Environment {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Environment, 0, len(s.live))
	for _, e := range s.live {
		id, count := e.progress()
		list = append(list, Environment{e.function, e.proc.PID(), e.busy, id, count, e.started})
	}
	return list
}

// Kill sends a signal to the process group of an environment, such as SIGKILL, SIGSTOP or SIGCONT,
// to see what the system under test makes of it.
//
// An environment that gets SIGKILL is given no more invocations, so the next caller does not notice.
func (s *Service) Kill(pid int, sig os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.live, func(e *environment) bool { return e.proc.PID() == pid })
	if i < 0 {
		return fmt.Errorf("kill %d: %w", pid, ErrNoEnvironment)
	}
	e := s.live[i]
	if sig == os.Kill {
		e.doomed = true
		f := s.functions[e.function]
		f.idle = slices.DeleteFunc(f.idle, func(other *environment) bool { return other == e })
	}
	err := e.proc.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %d: %w", pid, ErrNoEnvironment)
	}
	return err
}

// Renew makes every invocation from now on run in a new environment, as after a deployment: Bootstrap may have been
// replaced before. Idle environments end; those that handle an invocation end behind it.
func (s *Service) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return
	}
	for _, e := range s.live {
		if !e.busy {
			s.invocations.Go(func() { s.retire(e) })
		}
		e.doomed = true
	}
	for _, f := range s.functions {
		f.idle = nil
	}
}

// retire ends an environment that nobody holds.
func (s *Service) retire(e *environment) {
	if err := e.stop(terminateGrace); err != nil {
		s.log(e.function, "end of an environment: "+err.Error())
	}
}

// Stats returns each function's numbers by its name.
func (s *Service) Stats() map[string]Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make(map[string]Stats, len(s.functions))
	for name, f := range s.functions {
		stats[name] = f.stats
	}
	return stats
}

// Close stops all schedules, waits up to CloseGrace for running invocations and ends all
// environments: by SIGTERM first, by SIGKILL what does not end within half a second. It returns
// when no process and no goroutine is left. Later calls wait for that too.
func (s *Service) Close() error {
	s.mu.Lock()
	first := !s.shut
	s.shut = true
	s.mu.Unlock()
	if !first {
		<-s.closed
		return s.closeErr
	}
	close(s.closing)
	s.schedules.Wait()

	quiet := make(chan struct{})
	go func() {
		s.invocations.Wait()
		close(quiet)
	}()
	grace := time.NewTimer(s.opts.CloseGrace)
	defer grace.Stop()
	select {
	case <-quiet:
	case <-grace.C:
	}

	s.mu.Lock()
	s.stopping = true
	live := slices.Clone(s.live)
	s.mu.Unlock()
	errs := make([]error, len(live))
	var stops sync.WaitGroup
	for i, e := range live {
		stops.Go(func() { errs[i] = e.stop(terminateGrace) })
	}
	stops.Wait()
	<-quiet
	s.closeErr = errors.Join(errs...)
	close(s.closed)
	return s.closeErr
}

// log writes one line of a function.
func (s *Service) log(function, line string) {
	if s.opts.Log == nil {
		return
	}
	s.logMu.Lock()
	defer s.logMu.Unlock()
	// A log that cannot be written is its owner's to notice.
	_, _ = fmt.Fprintf(s.opts.Log, "[%s] %s\n", function, line)
}

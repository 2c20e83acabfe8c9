package lambdalocal

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/localtest/process"
)

// account is the account id in the ARNs functions see.
const account = "123456789012"

// environment is one process and its runtime API. invoke, awaitInit and stop belong to whoever
// holds it; the runtime API's handlers run beside them.
type environment struct {
	function string
	arn      string
	freeze   bool
	holds    bool // Lines of the init phase are held back.
	log      func(line string)
	started  time.Time
	proc     *process.Process

	work chan *invocation // To the runtime's pending request for the next invocation.
	gone chan struct{}    // Closed when the process has ended and the runtime API is closed.

	busy   bool // Guarded by Service.mu.
	doomed bool // It gets no more invocations, after Kill or Renew; guarded by Service.mu.

	mu       sync.Mutex
	stopped  bool     // By the service: its end is no crash.
	ready    bool     // The init phase is over.
	held     []string // Lines of the init phase that are not in the log.
	inited   chan struct{}
	initFail chan []byte // Gets what the runtime reports as its init error.
	current  *invocation // What the runtime works on.
	count    int         // Invocations delivered.
}

// startEnvironment starts a process of f. Its error says why the bootstrap does not run.
func (s *Service) startEnvironment(f *function) (*environment, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtime API: %w", err)
	}
	e := &environment{
		function: f.Name,
		arn:      fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", s.opts.Region, account, f.Name),
		freeze:   s.freeze,
		started:  time.Now(),
		busy:     true,
		work:     make(chan *invocation),
		gone:     make(chan struct{}),
		inited:   make(chan struct{}),
		initFail: make(chan []byte, 1),
		holds:    s.opts.Started != nil,
		log:      func(line string) { s.log(f.Name, line) },
	}
	cmd := exec.Command(f.Bootstrap)
	cmd.Dir = filepath.Dir(f.Bootstrap)
	cmd.Env = append(s.environ(f, listener.Addr().String()), f.Env...)
	e.proc, err = process.Start(cmd, func(line string) { e.say(line) })
	if err != nil {
		closeErr := listener.Close()
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("Couldn't find valid bootstrap(s): [%s]", f.Bootstrap)
		}
		return nil, errors.Join(err, closeErr)
	}

	var connections sync.WaitGroup
	server := &http.Server{Handler: e.runtimeAPI(), ConnState: counting(&connections)}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log(f.Name, "runtime API: "+err.Error())
		}
	}()

	s.mu.Lock()
	s.live = append(s.live, e)
	stopping := s.stopping
	s.mu.Unlock()
	go func() {
		<-e.proc.Done()
		_ = server.Close() // The runtime that could have minded is gone.
		<-serving
		connections.Wait()
		s.remove(f, e)
		close(e.gone)
	}()
	if stopping {
		if err := e.stop(0); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// remove forgets an environment whose process has ended.
func (s *Service) remove(f *function, e *environment) {
	e.mu.Lock()
	crashed := !e.stopped
	e.mu.Unlock()
	same := func(other *environment) bool { return other == e }
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = slices.DeleteFunc(s.live, same)
	f.idle = slices.DeleteFunc(f.idle, same)
	if crashed {
		f.stats.Crashes++
	}
}

// environ is what Lambda sets for a function, as far as it means something here. See
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html.
func (s *Service) environ(f *function, runtimeAPI string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + os.TempDir(),
		"TZ=:UTC",
		"_HANDLER=bootstrap",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(f.Bootstrap),
		"AWS_REGION=" + s.opts.Region,
		"AWS_DEFAULT_REGION=" + s.opts.Region,
		"AWS_ACCESS_KEY_ID=local",
		"AWS_SECRET_ACCESS_KEY=local",
		"AWS_LAMBDA_RUNTIME_API=" + runtimeAPI,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + time.Now().UTC().Format("2006/01/02") + "/[$LATEST]" + newRequestID(),
	}
}

// stop ends the process and returns when the environment is gone.
func (e *environment) stop(grace time.Duration) error {
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	if err := e.proc.Stop(grace); err != nil {
		return err
	}
	<-e.gone
	return nil
}

// awaitInit returns nil when the process has asked for its first invocation, else how the
// invocation that it was started for ends.
func (e *environment) awaitInit(inv *invocation, timeout time.Duration) *outcome {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	reported := func(report []byte) *outcome {
		result := Result{RequestID: inv.id, FunctionError: unhandled, Payload: report}
		return &outcome{Result: e.kill(inv, result)}
	}
	select {
	case <-e.inited:
		return nil
	case report := <-e.initFail:
		return reported(report)
	case <-timer.C:
		return &outcome{Result: e.kill(inv, inv.failedTimeout(timeout)), timedOut: true}
	case <-e.gone:
	}
	select {
	case report := <-e.initFail:
		return reported(report)
	default:
		return &outcome{Result: inv.failedExit(e.proc.Err())}
	}
}

// invoke runs one invocation to its end.
func (e *environment) invoke(inv *invocation) outcome {
	begun := time.Now()
	e.mu.Lock()
	inv.deadline = begun.Add(inv.timeout)
	e.current = inv
	e.mu.Unlock()
	timer := time.NewTimer(inv.timeout)
	defer timer.Stop()

	end := e.await(inv, timer.C)
	end.Duration = time.Since(begun)
	if end.timedOut {
		end.Duration = inv.timeout
	}
	return end
}

func (e *environment) await(inv *invocation, timeout <-chan time.Time) outcome {
	if e.freeze {
		if err := e.proc.Thaw(); err != nil {
			return e.ended(inv)
		}
	}
	select {
	case e.work <- inv:
	case <-e.gone:
		return e.ended(inv)
	case <-timeout:
		return outcome{Result: e.kill(inv, inv.failedTimeout(inv.timeout)), timedOut: true}
	}
	select {
	case <-inv.settled:
	case <-e.gone:
		return e.ended(inv)
	case <-timeout:
		return outcome{Result: e.kill(inv, e.posted(inv, inv.failedTimeout(inv.timeout))), timedOut: true}
	}
	if e.freeze {
		if err := e.proc.Freeze(); err != nil {
			return e.ended(inv)
		}
	}
	return outcome{Result: e.posted(inv, Result{}), reusable: e}
}

// ended is how an invocation ends whose process has ended or is about to.
func (e *environment) ended(inv *invocation) outcome {
	<-e.gone
	e.mu.Lock()
	lost := !inv.delivered && e.count > 0
	e.mu.Unlock()
	return outcome{Result: e.posted(inv, inv.failedExit(e.proc.Err())), lost: lost}
}

// posted is what the runtime has posted, or otherwise when that is nothing.
func (e *environment) posted(inv *invocation, otherwise Result) Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	if inv.answer == nil {
		return otherwise
	}
	return Result{RequestID: inv.id, FunctionError: inv.answerErr, Payload: inv.answer}
}

// kill ends the process at once and returns result, or how the killing failed.
func (e *environment) kill(inv *invocation, result Result) Result {
	if err := e.stop(0); err != nil {
		return inv.failed("Sandbox.Failure", err.Error())
	}
	return result
}

// progress tells what the environment works on and how many invocations it was given.
func (e *environment) progress() (requestID string, count int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != nil {
		requestID = e.current.id
	}
	return requestID, e.count
}

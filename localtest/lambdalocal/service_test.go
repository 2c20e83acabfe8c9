package lambdalocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

// echoBinary is testdata/echo, built.
var echoBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lambdalocal-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	echoBinary = filepath.Join(dir, "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", echoBinary, "./testdata/echo")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

type info struct {
	PID         int
	RequestID   string
	ARN         string
	Left        time.Duration
	Invocations int
}

// lines is a log that tells of each line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// newService returns a Service with the function "echo"; Close at the test's end must leave no
// process.
func newService(t *testing.T, opts Options, f Function) *Service {
	t.Helper()
	if opts.CloseGrace == 0 {
		opts.CloseGrace = -1
	}
	s := New(opts)
	f.Name = "echo"
	if f.Bootstrap == "" {
		f.Bootstrap = echoBinary
	}
	if f.Timeout == 0 {
		f.Timeout = 30 * time.Second
	}
	if err := s.Add(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeService(t, s) })
	return s
}

func closeService(t *testing.T, s *Service) {
	t.Helper()
	before := s.Environments()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := s.Environments(); len(left) > 0 {
		t.Errorf("left after Close: %v", left)
	}
	for _, e := range before {
		if syscall.Kill(e.PID, 0) == nil {
			t.Errorf("process %d is left after Close", e.PID)
		}
	}
}

func invoke(t *testing.T, s *Service, payload string) Result {
	t.Helper()
	r, err := s.Invoke(t.Context(), "echo", []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func invokeInfo(t *testing.T, s *Service) info {
	t.Helper()
	r := invoke(t, s, "")
	var i info
	if err := json.Unmarshal(r.Payload, &i); err != nil || r.FunctionError != "" {
		t.Fatalf("%s (%s): %v", r.Payload, r.FunctionError, err)
	}
	return i
}

func wantError(t *testing.T, r Result, errorType, message string) {
	t.Helper()
	var got struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatalf("%s: %v", r.Payload, err)
	}
	message = strings.ReplaceAll(message, "ID", r.RequestID)
	if r.FunctionError != "Unhandled" || got.ErrorType != errorType || got.ErrorMessage != message {
		t.Errorf("got %s %s, want %s %q", r.FunctionError, r.Payload, errorType, message)
	}
}

func wantStats(t *testing.T, s *Service, want Stats) {
	t.Helper()
	if diff := cmp.Diff(want, s.Stats()["echo"], cmpopts.IgnoreFields(Stats{}, "Billed")); diff != "" {
		t.Error(diff)
	}
}

// eventually waits for what the operating system or another process brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// state is the state letter of /proc/PID/stat.
func state(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return rest[:1]
}

func TestEcho(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{Region: "eu-central-1"}, Function{Env: []string{"MINE=yes", "AWS_SECRET_ACCESS_KEY=other"}, MemoryMB: 256})
	r := invoke(t, s, `{"Echo":{"a":[1,2]}}`)
	if string(r.Payload) != `{"a":[1,2]}` || r.FunctionError != "" || r.InitDuration <= 0 || r.Duration <= 0 {
		t.Errorf("got %+v, payload %s", r, r.Payload)
	}
	if r := invoke(t, s, `{"Echo":1}`); r.InitDuration != 0 {
		t.Error("a warm start has an init duration")
	}
	i := invokeInfo(t, s)
	if i.ARN != "arn:aws:lambda:eu-central-1:123456789012:function:echo" || i.Invocations != 3 {
		t.Errorf("got %+v", i)
	}
	if i.Left < 20*time.Second || i.Left > 30*time.Second {
		t.Errorf("%v left of a timeout of 30 s", i.Left)
	}
	for name, want := range map[string]string{
		"MINE": "yes", "AWS_SECRET_ACCESS_KEY": "other", "AWS_ACCESS_KEY_ID": "local", "AWS_REGION": "eu-central-1",
		"AWS_LAMBDA_FUNCTION_NAME": "echo", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"LAMBDA_TASK_ROOT": filepath.Dir(echoBinary), "_HANDLER": "bootstrap", "HOME": "",
	} {
		if r := invoke(t, s, fmt.Sprintf(`{"Env":%q}`, name)); string(r.Payload) != fmt.Sprintf("%q", want) {
			t.Errorf("%s is %s, want %q", name, r.Payload, want)
		}
	}
	wantStats(t, s, Stats{Invocations: 13, ColdStarts: 1})
	if billed := s.Stats()["echo"].Billed; billed < 13*time.Millisecond || billed%time.Millisecond != 0 {
		t.Errorf("billed %v", billed)
	}
}

func TestFunctionErrorKeepsTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{})
	before := invokeInfo(t, s)
	wantError(t, invoke(t, s, `{"Fail":"no luck"}`), "errorString", "no luck")
	if after := invokeInfo(t, s); after.PID != before.PID || after.Invocations != 3 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	wantStats(t, s, Stats{Invocations: 3, Errors: 1, ColdStarts: 1})
}

func TestCrash(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, payload, errorType, message string }{
		{"panic", `{"Panic":"boom"}`, "string", "boom"},
		{"exit 3", `{"Exit":3}`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3"},
		{"exit 0", `{"Exit":0}`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason"},
		{"big answer", `{"Big":7000000}`, "Function.ResponseSizeTooLarge",
			"Response payload size exceeded maximum allowed payload size (6291556 bytes)."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, Options{}, Function{MaxConcurrency: 1})
			before := invokeInfo(t, s)
			wantError(t, invoke(t, s, test.payload), test.errorType, test.message)
			if left := s.Environments(); len(left) > 0 {
				t.Errorf("left after the crash: %v", left)
			}
			if after := invokeInfo(t, s); after.PID == before.PID || after.Invocations != 1 {
				t.Errorf("before %+v, after %+v", before, after)
			}
			wantStats(t, s, Stats{Invocations: 3, Errors: 1, ColdStarts: 2, Crashes: 1})
		})
	}
}

func TestTimeoutKills(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{Timeout: 2 * time.Second})
	before := invokeInfo(t, s)
	r := invoke(t, s, `{"Sleep":60000000000}`)
	wantError(t, r, "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 2.00 seconds")
	if r.Duration != 2*time.Second {
		t.Errorf("duration %v", r.Duration)
	}
	if state(before.PID) != "" {
		t.Error("the process runs on")
	}
	if after := invokeInfo(t, s); after.PID == before.PID {
		t.Error("the next invocation met the same process")
	}
	wantStats(t, s, Stats{Invocations: 3, Errors: 1, Timeouts: 1, ColdStarts: 2})
}

// busy starts n invocations that sleep and returns when the processes handle them. Kill ends them.
func busy(t *testing.T, s *Service, log lines, n int) []Environment {
	t.Helper()
	for range n {
		if err := s.InvokeAsync("echo", []byte(`{"Print":"here","Sleep":60000000000}`)); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		for line := range log {
			if line == "[echo] here\n" {
				break
			}
		}
	}
	var list []Environment
	for _, e := range s.Environments() {
		if e.Busy {
			list = append(list, e)
		}
	}
	if len(list) != n {
		t.Fatalf("%d busy environments, want %d: %v", len(list), n, list)
	}
	return list
}

func TestConcurrencyThenReuse(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{MaxConcurrency: 3})
	round := func() map[int]bool {
		pids := map[int]bool{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				r, err := s.Invoke(t.Context(), "echo", []byte(`{"Sleep":1500000000}`))
				var i info
				if err = errors.Join(err, json.Unmarshal(r.Payload, &i)); err != nil {
					t.Errorf("%v: %s", err, r.Payload)
				}
				mu.Lock()
				defer mu.Unlock()
				pids[i.PID] = true
			})
		}
		all.Wait()
		return pids
	}
	first := round()
	if len(first) != 3 {
		t.Fatalf("processes %v, want 3", first)
	}
	if diff := cmp.Diff(first, round()); diff != "" {
		t.Error(diff)
	}
	last := invokeInfo(t, s).PID
	if again := invokeInfo(t, s).PID; again != last {
		t.Errorf("process %d, want the one used last, %d", again, last)
	}
	wantStats(t, s, Stats{Invocations: 8, ColdStarts: 3})
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	log := make(lines, 100)
	s := newService(t, Options{Log: log}, Function{MaxConcurrency: 2})
	running := busy(t, s, log, 2)
	if _, err := s.Invoke(t.Context(), "echo", nil); !errors.Is(err, ErrThrottled) {
		t.Errorf("Invoke: %v, want ErrThrottled", err)
	}
	if err := s.InvokeAsync("echo", nil); !errors.Is(err, ErrThrottled) {
		t.Errorf("InvokeAsync: %v, want ErrThrottled", err)
	}
	if err := s.Kill(running[0].PID, os.Kill); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room", func() bool { return s.Stats()["echo"].Crashes == 1 && s.Stats()["echo"].Errors == 1 })
	invokeInfo(t, s)
	wantStats(t, s, Stats{Invocations: 3, Errors: 1, Throttles: 2, ColdStarts: 3, Crashes: 1})
}

func TestKillWhileBusy(t *testing.T) {
	t.Parallel()
	log := make(lines, 100)
	s := newService(t, Options{Log: log}, Function{})
	result := make(chan Result, 1)
	go func() {
		r, err := s.Invoke(context.Background(), "echo", []byte(`{"Print":"here","Sleep":60000000000}`))
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	for line := range log {
		if line == "[echo] here\n" {
			break
		}
	}
	e := s.Environments()[0]
	if !e.Busy || e.RequestID == "" || e.Function != "echo" || e.Invocations != 1 {
		t.Errorf("got %+v", e)
	}
	for _, sig := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGKILL} {
		if err := s.Kill(e.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
	r := <-result
	if r.RequestID != e.RequestID {
		t.Errorf("request %s, want %s", r.RequestID, e.RequestID)
	}
	wantError(t, r, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: killed")
	if after := invokeInfo(t, s); after.PID == e.PID {
		t.Error("the killed process answers")
	}
	for _, pid := range []int{e.PID, os.Getpid(), 1} {
		if err := s.Kill(pid, os.Kill); !errors.Is(err, ErrNoEnvironment) {
			t.Errorf("kill %d: %v, want ErrNoEnvironment", pid, err)
		}
	}
}

func TestKillWhileIdleIsNotSeenByTheNextCaller(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{})
	for range 10 {
		before := invokeInfo(t, s)
		if err := s.Kill(before.PID, os.Kill); err != nil {
			t.Fatal(err)
		}
		if after := invokeInfo(t, s); after.PID == before.PID {
			t.Fatal("the killed process answers")
		}
	}
}

func TestAfterRenewEveryInvocationHasANewEnvironment(t *testing.T) {
	t.Parallel()
	log := make(lines, 100)
	s := newService(t, Options{Log: log}, Function{})
	first := invokeInfo(t, s)
	atWork := busy(t, s, log, 1)
	s.Renew()
	if again := invokeInfo(t, s); again.PID == first.PID || again.PID == atWork[0].PID || again.Invocations != 1 {
		t.Errorf("invocation %d of process %d", again.Invocations, again.PID)
	}
	if err := syscall.Kill(atWork[0].PID, 0); err != nil {
		t.Errorf("the environment at work: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
	t.Parallel()
	for _, noFreeze := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoFreeze=%t", noFreeze), func(t *testing.T) {
			t.Parallel()
			s := newService(t, Options{NoFreeze: noFreeze}, Function{})
			pid := invokeInfo(t, s).PID
			for range 3 {
				if noFreeze {
					if got := state(pid); got == "T" {
						t.Error("frozen")
					}
				} else {
					eventually(t, "frozen", func() bool { return state(pid) == "T" })
				}
				if got := invokeInfo(t, s).PID; got != pid {
					t.Fatalf("process %d, want %d", got, pid)
				}
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	log := make(lines, 1000)
	s := newService(t, Options{Log: log}, Function{})
	begun := time.Now()
	var ticks []time.Time
	stop, err := s.Schedule("echo", 50*time.Millisecond, func(tick time.Time) []byte {
		ticks = append(ticks, tick)
		return fmt.Appendf(nil, `{"Print":"tick %d","Echo":1}`, len(ticks))
	})
	if err != nil {
		t.Fatal(err)
	}
	// In any order: the invocations overlap.
	missing := map[string]bool{"[echo] tick 1\n": true, "[echo] tick 2\n": true, "[echo] tick 3\n": true}
	deadline := time.After(time.Minute)
	for len(missing) > 0 {
		select {
		case line := <-log:
			delete(missing, line)
		case <-deadline:
			t.Fatalf("not within a minute: %v", missing)
		}
	}
	if time.Since(begun) < 100*time.Millisecond {
		t.Error("three ticks within two intervals")
	}
	stop()
	stop()
	closeService(t, s)
	// The last tick may have come when the service took no more invocations.
	stats := s.Stats()["echo"]
	if n := stats.Invocations + stats.Throttles; n != len(ticks) && n != len(ticks)-1 {
		t.Errorf("%d invocations and %d throttled after %d ticks", stats.Invocations, stats.Throttles, len(ticks))
	}
}

func TestScheduleThatOverlapsIsThrottled(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{MaxConcurrency: 2})
	if _, err := s.Schedule("echo", 10*time.Millisecond, func(time.Time) []byte { return []byte(`{"Sleep":60000000000}`) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two throttled", func() bool { return s.Stats()["echo"].Throttles >= 2 })
	if n := s.Stats()["echo"].Invocations; n != 2 {
		t.Errorf("%d invocations, want 2", n)
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestInitFailure(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "bootstrap")
	tests := []struct {
		name, bootstrap, errorType, message string
		want                                Stats
	}{
		{"missing", missing, "Runtime.InvalidEntrypoint",
			"RequestId: ID Error: Couldn't find valid bootstrap(s): [" + missing + "]", Stats{}},
		{"exits", script(t, "exit 7"), "Runtime.ExitError",
			"RequestId: ID Error: Runtime exited with error: exit status 7", Stats{Crashes: 1}},
		{"hangs", script(t, "exec sleep 600"), "Sandbox.Timedout",
			"RequestId: ID Error: Task timed out after 1.00 seconds", Stats{Timeouts: 1}},
		{"reports", script(t, `exec curl -s -d '{"errorType":"Mine","errorMessage":"no config"}' "$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/init/error"`),
			"Mine", "no config", Stats{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "reports" {
				if _, err := exec.LookPath("curl"); err != nil {
					t.Skip(err)
				}
			}
			t.Parallel()
			initTimeout := 30 * time.Second
			if test.name == "hangs" {
				initTimeout = time.Second
			}
			s := newService(t, Options{InitTimeout: initTimeout}, Function{Bootstrap: test.bootstrap})
			for range 2 {
				wantError(t, invoke(t, s, ""), test.errorType, test.message)
			}
			got := s.Stats()["echo"]
			if test.name == "reports" {
				got.Crashes = 0 // Its end may come before or after the service ends it.
			}
			want := Stats{Invocations: 2, Errors: 2, ColdStarts: 2, Timeouts: 2 * test.want.Timeouts, Crashes: 2 * test.want.Crashes}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Stats{}, "Billed")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPayloadLimits(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{})
	text := func(size int) []byte { return []byte(`{"Env":"` + strings.Repeat("x", size-10) + `"}`) }
	if r, err := s.Invoke(t.Context(), "echo", text(MaxSyncPayload)); err != nil || string(r.Payload) != `""` {
		t.Errorf("largest payload: %s, %v", r.Payload, err)
	}
	if _, err := s.Invoke(t.Context(), "echo", text(MaxSyncPayload+1)); !errors.Is(err, ErrPayload) {
		t.Errorf("got %v, want ErrPayload", err)
	}
	if err := s.InvokeAsync("echo", text(MaxAsyncPayload)); err != nil {
		t.Errorf("largest asynchronous payload: %v", err)
	}
	if err := s.InvokeAsync("echo", text(MaxAsyncPayload+1)); !errors.Is(err, ErrPayload) {
		t.Errorf("got %v, want ErrPayload", err)
	}
	if err := s.InvokeAsync("echo", []byte("hello")); !errors.Is(err, ErrPayload) {
		t.Errorf("got %v, want ErrPayload", err)
	}
}

func TestCallerThatGivesUp(t *testing.T) {
	t.Parallel()
	log := make(lines, 100)
	s := newService(t, Options{Log: log, CloseGrace: time.Minute}, Function{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-log
		cancel()
	}()
	r, err := s.Invoke(ctx, "echo", []byte(`{"Print":"here","Sleep":2000000000}`))
	if !errors.Is(err, context.Canceled) || r.RequestID == "" {
		t.Errorf("got %+v, %v", r, err)
	}
	closeService(t, s) // Lets the invocation end.
	wantStats(t, s, Stats{Invocations: 1, ColdStarts: 1})
}

func TestCloseEndsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	log := make(lines, 100)
	s := newService(t, Options{Log: log, CloseGrace: 10 * time.Millisecond}, Function{})
	invokeInfo(t, s)
	running := busy(t, s, log, 3)
	if err := s.Kill(running[1].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	closeService(t, s)
	wantStats(t, s, Stats{Invocations: 4, Errors: 3, ColdStarts: 3})

	_, err := s.Invoke(t.Context(), "echo", nil)
	_, scheduleErr := s.Schedule("echo", time.Second, nil)
	for _, err := range []error{err, s.InvokeAsync("echo", nil), scheduleErr, s.Add(Function{Name: "x", Bootstrap: "x"})} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	}
}

func TestCloseWhileEnvironmentsStart(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newService(t, Options{}, Function{})
		for range 3 {
			if err := s.InvokeAsync("echo", nil); err != nil {
				t.Fatal(err)
			}
		}
		closeService(t, s)
	}
}

func TestAddRejects(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{})
	for name, f := range map[string]Function{
		"taken":        {Name: "echo", Bootstrap: "x"},
		"no name":      {Bootstrap: "x"},
		"bad name":     {Name: "a b", Bootstrap: "x"},
		"no bootstrap": {Name: "x"},
		"negative":     {Name: "x", Bootstrap: "x", Timeout: -1},
	} {
		if err := s.Add(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := s.Invoke(t.Context(), "x", nil)
	_, scheduleErr := s.Schedule("x", time.Second, nil)
	for _, err := range []error{err, s.InvokeAsync("x", nil), scheduleErr} {
		if !errors.Is(err, ErrFunctionNotFound) {
			t.Errorf("unknown function: %v, want ErrFunctionNotFound", err)
		}
	}
	if _, err := s.Schedule("echo", 0, nil); err == nil {
		t.Error("an interval of 0 is no error")
	}
}

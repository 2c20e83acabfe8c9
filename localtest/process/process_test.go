//go:build linux

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// helperEnv makes the test binary play the parent that is killed.
const helperEnv = "PERDURE_PROCESS_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "start":
		p, err := Start(exec.Command("sleep", "600"), nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		select {}
	case "guard":
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := guard(cmd.Process.Pid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(cmd.Process.Pid)
		select {}
	}
	goleak.VerifyTestMain(m)
}

// state is the state letter of /proc/PID/stat; "" when there is no such process.
func state(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return rest[:1]
}

func gone(pid int) bool {
	s := state(pid)
	return s == "" || s == "Z" || s == "X"
}

// eventually waits for a condition the operating system brings about without telling.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"start", "guard"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), helperEnv+"="+how)
			parent.Stderr = os.Stderr
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			if gone(pid) {
				t.Fatal("the child ended before its parent")
			}
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = parent.Wait() // It ends with "signal: killed".
			eventually(t, "the child is gone", func() bool { return gone(pid) })
		})
	}
}

func TestGuardStopLeavesTheGroupAlone(t *testing.T) {
	t.Parallel()
	p, err := Start(exec.Command("sleep", "600"), nil)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := guard(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if gone(p.PID()) {
		t.Error("stopping the guard killed the group")
	}
	if err := p.Stop(0); err != nil {
		t.Error(err)
	}
}

func TestOutputLines(t *testing.T) {
	t.Parallel()
	var got []string
	err := Run(t.Context(), exec.Command("sh", "-c", `printf 'one\r\n\ntw'; printf 'o\nlast' >&2`),
		func(line string) { got = append(got, line) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "", "two", "last"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLongLineComesInPieces(t *testing.T) {
	t.Parallel()
	var got []int
	w := &lineWriter{emit: func(line string) { got = append(got, len(line)) }}
	fmt.Fprint(w, strings.Repeat("x", maxLine+10), "\n")
	w.flush()
	if diff := cmp.Diff([]int{maxLine, 10}, got); diff != "" {
		t.Error(diff)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script string
		freeze bool
		grace  time.Duration
		signal syscall.Signal
	}{
		{"ends when asked", `echo up; exec sleep 600`, false, time.Minute, syscall.SIGTERM},
		{"frozen", `echo up; exec sleep 600`, true, time.Minute, syscall.SIGTERM},
		{"deaf", `trap "" TERM; echo up; while :; do sleep 600; done`, false, 20 * time.Millisecond, syscall.SIGKILL},
		{"at once", `echo up; exec sleep 600`, true, 0, syscall.SIGKILL},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			up := make(chan string, 1)
			p, err := Start(exec.Command("sh", "-c", test.script), func(line string) { up <- line })
			if err != nil {
				t.Fatal(err)
			}
			<-up
			if test.freeze {
				if err := p.Freeze(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "frozen", func() bool { return state(p.PID()) == "T" })
			}
			if err := p.Err(); err != nil {
				t.Errorf("Err of a living process: %v", err)
			}
			if err := p.Stop(test.grace); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if !errors.As(p.Err(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != test.signal {
				t.Errorf("ended with %v, want signal %v", p.Err(), test.signal)
			}
			if state(p.PID()) != "" {
				t.Error("not reaped")
			}
			if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("signal after the end: %v", err)
			}
			if err := p.Stop(test.grace); err != nil {
				t.Errorf("second Stop: %v", err)
			}
		})
	}
}

func TestLeftoversEndWithTheChild(t *testing.T) {
	t.Parallel()
	var pid int
	err := Run(t.Context(), exec.Command("sh", "-c", `sleep 600 & echo $!`), func(line string) {
		pid, _ = strconv.Atoi(line)
	})
	if err != nil {
		t.Fatal(err)
	}
	if pid == 0 {
		t.Fatal("no pid")
	}
	eventually(t, "the grandchild is gone", func() bool { return gone(pid) })
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Run(ctx, exec.Command("sh", "-c", `echo up; sleep 600`), func(string) { cancel(cause) })
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

func TestStartMissingBinary(t *testing.T) {
	t.Parallel()
	if _, err := Start(exec.Command("/no/such/binary"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

//go:build linux

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perdure-dev/perdure/localtest/stack"
)

// interrupted runs a command that waits, and is sent SIGINT once it is at it.
func interrupted(t *testing.T, env []string, in *os.File, waits func() bool, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "perdure"), args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = bare(t, env...), in, &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !waits() {
		select {
		case <-deadline:
			t.Fatal("it does not begin")
		case <-tick.C:
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its exit code tells
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatalf("perdure %s does not end", strings.Join(args, " "))
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// A command that read standard input did not end by Ctrl-C: it waited for more.
func TestCtrlCEndsEveryCommandThatWaits(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "late", "--delay", "1h")
	for _, args := range [][]string{
		{"wait", "late"},
		{"wait", "late", "--json"},
		{"enqueue", "count_words", "--input", `"x"`, "--delay", "1h", "--wait"},
		{"enqueue", "count_words", "--input", "-"},
		{"enqueue", "count_words", "--each", "-"},
		{"wakeup", "await_payment", "key", "--output", "-"},
		{"redrive", "-"},
		{"redrive", "-", "--json"},
	} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer out.Close()
		if _, err := out.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
		// It waits for more when it has read that much, or for the execution when it has looked at that often.
		waits := func() bool {
			left, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCINQ) //nolint:gosec // a file descriptor fits
			return err == nil && left == 0
		}
		if !slices.Contains(args, "-") {
			before := w.Meter.Total().Read
			waits = func() bool { return w.Meter.Total().Read >= before+3 }
		}
		o := interrupted(t, w.env, in, waits, args...)
		if o.exit != 130 || !strings.Contains(o.stderr, "interrupt") {
			t.Errorf("perdure %s: exit code %d\n%s%s", strings.Join(args, " "), o.exit, o.stdout, o.stderr)
		}
		if args[0] == "wait" && !strings.Contains(o.stderr, "which continues") {
			t.Errorf("it does not tell what becomes of the execution: %s", o.stderr)
		}
	}
}

// The enqueue function serves four at once here, and the lines that came too soon were given up.
func TestManyLinesAreEnqueuedHoweverFewTheFunctionServesAtOnce(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	name := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(name, []byte(strings.Repeat("\"x\"\n", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := perdure(t, w.env, "enqueue", "count_words", "--each", name)
	if o.exit != 0 || strings.Count(o.stdout, "\n") != 200 {
		t.Errorf("exit code %d, %d ids\n%s", o.exit, strings.Count(o.stdout, "\n"), o.stderr)
	}
}

// What reads the first line alone is no error that a command tells.
func TestACommandEndsSilentlyWhenNobodyReadsOn(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"completion", "bash"}, {"version"}} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "perdure"), args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = bare(t), out, io.Writer(&stderr)
		err = cmd.Run()
		_ = out.Close() // nothing was written by the test
		if err == nil || stderr.Len() > 0 {
			t.Errorf("perdure %s: %v, %q", strings.Join(args, " "), err, stderr.String())
		}
	}
}

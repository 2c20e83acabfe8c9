// Tests of the compiled command line against the compiled functions on DynamoDB Local. A machine that cannot have
// DynamoDB Local fails them.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/localtest/stack"
)

var update = flag.Bool("update", false, "write what the commands print into docs/cli.md")

// folder has the command line and the compiled functions.
var folder string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "perdure-cli")
	if err == nil {
		folder = dir
		err = errors.Join(
			build(filepath.Join(dir, "perdure"), "."),
			stack.Build(context.Background(), filepath.Join(dir, "functions")),
		)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(out, pkg string) error {
	if text, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// world is an application on this machine and the environment in which the command line finds it.
type world struct {
	*stack.Stack
	env []string
}

func start(t *testing.T, opts stack.Options) *world {
	t.Helper()
	opts.Binaries = filepath.Join(folder, "functions")
	opts.Log = t.Output()
	s, err := stack.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	functions, err := s.Serve(t.Context(), s.Lambda.InvokeAPI())
	if err != nil {
		t.Fatal(err)
	}
	return &world{s, []string{
		"AWS_ENDPOINT_URL_DYNAMODB=" + s.Meter.Endpoint(), "AWS_ENDPOINT_URL_LAMBDA=" + functions,
		"PERDURE_TABLE=" + s.Table, "PERDURE_ENQUEUE_FUNCTION=" + stack.Enqueue,
	}}
}

// bare is an environment in which nothing leads to any AWS account.
func bare(t *testing.T, more ...string) []string {
	t.Helper()
	home := t.TempDir()
	return append([]string{
		"PATH=" + folder + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + home, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + filepath.Join(home, "none"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(home, "none"),
	}, more...)
}

// outcome is what a command came to.
type outcome struct {
	exit           int
	stdout, stderr string
}

// perdure runs the command line.
func perdure(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "perdure"), args...)
	cmd.Env = bare(t, env...)
	return outcomeOf(t, cmd)
}

func outcomeOf(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{exit: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// done is perdure for a command that must succeed; it returns what it prints.
func done(t *testing.T, env []string, args ...string) string {
	t.Helper()
	o := perdure(t, env, args...)
	if o.exit != 0 {
		t.Fatalf("perdure %s: exit code %d\n%s%s", strings.Join(args, " "), o.exit, o.stdout, o.stderr)
	}
	return o.stdout
}

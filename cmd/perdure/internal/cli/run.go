package cli

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/dev"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	steps "github.com/perdure-dev/perdure/localtest/progress"
)

// runPort is the port of perdure run's endpoint.
const runPort = 8600

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func (a *app) runCommand() *cobra.Command {
	o := dev.Options{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run an application on this machine, and build it anew when a source changes",
		Long: `run builds the functions of a module and runs them as Lambda does, on their schedules and on the table's stream, with
DynamoDB Local for the table, until Ctrl-C. When a .go file, go.mod or go.sum changes they are built again: invocations
from then on run the new code, and what is in the table stays. Nothing of it outlives the command. Why attempts fail is
printed, with texts and stacks, and so is how a process ends. A task that the sources make and nothing registers is told.

The module has one program in its own folder that handler.Start makes into all functions, as perdure init writes it, or
a program for each function below functions/; --package names another program.

It prints its endpoint, which is DynamoDB's and that of the Lambda API's Invoke: any AWS SDK, in any language and with
any credentials, and the other commands of perdure work against it.

It needs Go, and Java 11 or newer with npm, or Docker, for DynamoDB Local.`,
		Example: `  perdure run
  perdure run --dir ~/src/myapp --env BANK_URL=http://localhost:9000
  export AWS_ENDPOINT_URL=http://127.0.0.1:8600 PERDURE_TABLE=perdure PERDURE_ENQUEUE_FUNCTION=enqueue
  perdure enqueue greet --input '"world"' --wait`,
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", ".", "the module's folder")
	f.StringVar(&o.Package, "package", "", "the program that is all functions, as in ./cmd/functions; default: it is found")
	f.StringVar(&o.Host, "host", "127.0.0.1", "address of the endpoint; 0.0.0.0 lets containers reach it, and everybody on the network")
	f.IntVar(&o.Port, "port", runPort, "port of the endpoint; 0 takes a free one")
	f.DurationVar(&o.Tick, "tick", time.Second, "the schedules' interval, in whole seconds; it is a minute on AWS")
	f.DurationVar(&o.Timeout, "function-timeout", 2*time.Minute, "the functions' timeout, in whole seconds; every task's must fit in it, less 4 s")
	f.StringArrayVar(&o.Env, "env", nil, "a variable of the functions, KEY=value; may be given several times")
	f.BoolVar(&o.NoWatch, "no-watch", false, "do not build anew when a source changes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case net.ParseIP(o.Host) == nil:
			return usagef("--host is %q: it must be an IP address of this machine, like 127.0.0.1", o.Host)
		case o.Port < 0 || o.Port > 65535:
			return usagef("--port is %d: it must be from 0 to 65535", o.Port)
		case o.Tick < time.Second || o.Tick%time.Second != 0 || o.Tick > time.Hour:
			return usagef("--tick is %s: it must be whole seconds, from 1s to 1h", o.Tick)
		case o.Timeout < time.Second || o.Timeout%time.Second != 0 || o.Timeout > 15*time.Minute:
			return usagef("--function-timeout is %s: it must be whole seconds, from 1s to 15m", o.Timeout)
		}
		for _, e := range o.Env {
			if !envPattern.MatchString(e) {
				return usagef("--env is %q: it must be KEY=value", e)
			}
		}
		o.Table = cmp.Or(a.table, "perdure")
		o.Log = a.Err
		o.Ready = func(r dev.Running) { _ = a.line("%s", a.welcome(r)) } // who cannot be greeted sees it by the exit
		o.Changed = func(took time.Duration, err error) {
			if err != nil {
				_, _ = fmt.Fprintf(a.Err, "perdure: %v\nperdure: the functions stay as they were\n", err)
				return
			}
			_, _ = fmt.Fprintf(a.Err, "perdure: a source changed: built in %s, running from the next invocation on\n", durationText(took))
		}
		o.Broken = func(b dev.Broken) { _, _ = io.WriteString(a.Err, a.complaint(b, o.NoWatch)) }
		o.Restored = func(function string) { _, _ = fmt.Fprintf(a.Err, "perdure: function %s starts again\n", function) }
		say := steps.New(a.Err)
		ready := say.Step("perdure: building the functions, starting DynamoDB Local")
		say.Doing("building the functions and starting DynamoDB Local")
		defer ready()
		welcome := o.Ready
		o.Log, o.Ready = say, func(r dev.Running) {
			ready()
			welcome(r)
		}
		o.Failed = func(f lambdalocal.Failed) { _, _ = io.WriteString(a.Err, a.failed(f)) }
		o.Unregistered = func(all []dev.Unregistered) {
			for _, u := range all {
				_, _ = fmt.Fprintf(a.Err, "perdure: task %s (%s) is not registered, so that nothing can run it: name it in core.NewRegistry\n", u.Task, u.Where)
			}
		}
		if err := dev.Run(cmd.Context(), o); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(a.Err, "perdure: stopped; nothing of it is left")
		return nil
	}
	return cmd
}

// The first and the last lines that are shown of what a process wrote that did not start: a panic says what is wrong in its
// first line, a log in its last.
const (
	firstLines = 8
	lastLines  = 12
)

// complaint tells of a function that does not start, and what to do about it.
func (a *app) complaint(b dev.Broken, noWatch bool) string {
	if b.Alike {
		return "perdure: function " + b.Function + " does not start either\n"
	}
	colours := a.colours(a.Err)
	lines := []string{"", cell{"perdure: function " + b.Function + " does not start: " + b.Ended, red}.paint(colours)}
	for i, l := range b.Lines {
		switch more := len(b.Lines) - firstLines - lastLines; {
		case more <= 0 || i < firstLines || i >= len(b.Lines)-lastLines:
			lines = append(lines, "  | "+visible(l))
		case i == firstLines:
			lines = append(lines, "  | … "+number(more)+" more lines")
		}
	}
	if len(b.Lines) == 0 {
		lines = append(lines, "  It wrote nothing.")
	}
	todo := "Nothing that needs it runs until it does. Mend the source: it is built and started anew at once."
	if noWatch {
		todo = "Nothing that needs it runs until it does. Mend the source, and run it again."
	}
	return strings.Join(append(lines,
		"  "+todo,
		"  A variable that it lacks is given with --env KEY=value; this is told once.",
		"", ""), "\n")
}

// failed tells of an invocation that failed. The process has written what it had to say above.
func (a *app) failed(f lambdalocal.Failed) string {
	says := fmt.Sprintf("perdure: function %s failed after %s: %s", f.Function, durationText(f.Duration), visible(oneLine(f.Err)))
	if f.Ended {
		how := strings.TrimPrefix(visible(oneLine(f.Err)), "Runtime exited with error: ") // as Lambda words the end of a process
		says = fmt.Sprintf("perdure: a process of function %s ended after %s: %s: the attempts in it are made again when their leases are over",
			f.Function, durationText(f.Duration), how)
	}
	return cell{says, red}.paint(a.colours(a.Err)) + "\n"
}

// welcome tells how a running application is reached.
func (a *app) welcome(r dev.Running) string {
	return strings.Join([]string{
		"ready after " + durationText(r.Took) + ", until Ctrl-C",
		"",
		"endpoint  " + r.Endpoint + "  (DynamoDB and Lambda, any credentials)",
		"table     " + r.Table,
		"enqueue   " + r.Endpoint + "/2015-03-31/functions/" + r.Enqueue + "/invocations",
		"",
		"In another terminal:",
		"",
		"  export AWS_ENDPOINT_URL=" + r.Endpoint + " PERDURE_TABLE=" + r.Table + " PERDURE_ENQUEUE_FUNCTION=" + r.Enqueue,
		"  perdure enqueue TASK --input JSON --wait",
		"  perdure list",
		"",
	}, "\n")
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
)

// The waits between two looks at an execution: they grow from the first to the last.
const (
	waitFirst = 100 * time.Millisecond
	waitLast  = 2 * time.Second
)

// hintAfter is how long an execution may be due, and the wait last, before a person is told that nobody starts it: a cold
// start and the way through the table's stream take less.
const hintAfter = 5 * time.Second

func (a *app) waitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait until an execution is finished, and print its output",
		Long: `wait looks at an execution again and again, after 0.1 s and then ever less often, at last every 2 s, until it is
finished. It prints the output of one that completed; the exit code tells how any other ended. With --json it prints
the whole record. When an execution has been due for 5 s and nobody starts it, it says so once on standard error.`,
		Example: `  perdure wait order-17
  perdure wait order-17 --timeout 5m || echo "ended with $?"
  id=$(perdure enqueue greet --input '"world"') && perdure wait "$id"`,
		Args: oneID,
	}
	cmd.ValidArgsFunction = a.first(a.ids(unfinished))
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long, as in 90s or 5m; 0 waits for ever")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if timeout < 0 {
			return usagef("--timeout is %s: it must not be negative", timeout)
		}
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		return a.wait(cmd.Context(), client, args[0], waitBound{"--timeout", timeout})
	}
	return cmd
}

// waitBound is how long a wait may take, 0 for ever, and the flag that says so.
type waitBound struct {
	flag string
	d    time.Duration
}

// impatientError ends a wait.
type impatientError struct{ flag string }

func (e impatientError) Error() string { return "the wait's " + e.flag + " is over" }

// wait waits for an execution's end and prints what it came to.
func (a *app) wait(ctx context.Context, client *core.Client, id string, most waitBound) error {
	if most.d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most.d, impatientError{most.flag})
		defer cancel()
	}
	p := a.progress()
	defer p.done()
	begun, hinted := time.Now(), false
	status := "not read yet"
	for pause := waitFirst; ; pause = min(pause*3/2, waitLast) {
		e, err := client.Get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return waitEnded(ctx, id, status)
		case err != nil:
			return err
		case e.Status.Finished():
			p.done()
			// What is read from here on is read to its end.
			return a.printEnd(context.WithoutCancel(ctx), client, e)
		}
		status = statusText(e.Status, e.SleepKey)
		if !hinted && time.Since(begun) >= hintAfter && e.Queue == core.QueueReady && time.Since(e.DueAt) >= hintAfter {
			hinted = true
			p.tell("perdure: execution %s has been due for %s, and nobody starts it: is perdure run, or the deployment, running? See perdure queues and perdure doctor",
				id, durationText(time.Since(e.DueAt)))
		}
		p.showOnTerminal("%s is %s, %s attempts, for %s", id, status, attemptsText(e), durationText(time.Since(begun)))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return waitEnded(ctx, id, status)
		case <-timer.C:
		}
	}
}

// waitEnded is the error of a wait that ends before the execution.
func waitEnded(ctx context.Context, id, status string) error {
	var over impatientError
	if errors.As(context.Cause(ctx), &over) {
		return &commandError{exitUnfinished, "unfinished", fmt.Errorf("execution %s is %s: %w", id, status, over)}
	}
	return fmt.Errorf("stopped waiting for execution %s (%s), which continues: %w", id, status, context.Cause(ctx))
}

// printEnd prints a finished execution's output, or returns the error that it ended with.
func (a *app) printEnd(ctx context.Context, client *core.Client, e *core.Execution) error {
	if !a.json {
		return a.printOutput(ctx, client, e)
	}
	r, err := whole(ctx, client, e, time.Now())
	if err == nil {
		err = a.printJSON(r)
	}
	if err == nil && e.Status != core.StatusCompleted {
		return &commandError{exitOf(e.Status), string(e.Status), errQuiet}
	}
	return err
}

// printOutput prints the output of a completed execution as it is; of any other the error tells.
func (a *app) printOutput(ctx context.Context, client *core.Client, e *core.Execution) error {
	output, done, err := client.ResultJSON(ctx, e)
	if err != nil {
		return err
	}
	if !done {
		return &commandError{exitUnfinished, "unfinished", fmt.Errorf("execution %s is %s", e.ID, statusText(e.Status, e.SleepKey))}
	}
	if a.json {
		return a.printJSON(output)
	}
	return a.line("%s", output)
}

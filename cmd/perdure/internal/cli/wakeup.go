package cli

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// woken is what wakeup prints with --json.
type woken struct {
	ExecutionID string `json:"execution_id"`
	// Kept tells that nothing sleeps under the key yet: the wake-up waits for it, by default for 24 h.
	Kept bool `json:"kept,omitempty"`
}

func (a *app) wakeupCommand() *cobra.Command {
	var output, failure string
	cmd := &cobra.Command{
		Use:   "wakeup TASK KEY",
		Short: "Wake a sleeping task by its key",
		Long: `wakeup ends the sleep of the execution of a sleeping task by its unique key: it completes with the output, or fails
with the error. When nothing sleeps under the key yet, the wake-up is kept for 24 h and ends the sleep as soon as it
begins. A sleeper that was woken, or timed out, stays as it is, which is an error.

With --function the enqueue function does it, which knows the task and checks the output's type. Without, it is written
straight into the table, unchecked.`,
		Example: `  perdure wakeup await_payment "order 17" --output '{"reference":"card","cents":400}'
  perdure wakeup await_payment "order 17" --failure "declined"
  perdure wakeup await_payment "order 17" --output @payment.json`,
		Args: takes(2, "a task and a key"),
	}
	cmd.ValidArgsFunction = a.first(a.sleepingTasks)
	cmd.Flags().StringVar(&output, "output", "", "the output, JSON; @file reads a file, - standard input")
	cmd.Flags().StringVar(&failure, "failure", "", "the text of an error, in place of an output")
	a.writerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		task, key := args[0], args[1]
		if cmd.Flags().Changed("output") == cmd.Flags().Changed("failure") {
			return usagef("wakeup takes --output or --failure, one of them")
		}
		var data json.RawMessage
		if failure == "" {
			var err error
			if data, err = a.readJSON("--output", output); err != nil {
				return err
			}
		}
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		id, err := a.wake(cmd.Context(), client, task, key, data, failure)
		if err != nil {
			return err
		}
		_, err = client.Get(cmd.Context(), id)
		w := woken{ExecutionID: id, Kept: errors.Is(err, core.ErrNotFound)}
		switch {
		case a.json:
			return a.printJSON(w)
		case w.Kept:
			return a.line("nothing sleeps under %q yet: the wake-up is kept for %s", key, id)
		}
		return a.line("%s is woken", id)
	}
	return cmd
}

func (a *app) wake(ctx context.Context, client *core.Client, task, key string, output json.RawMessage, failure string) (string, error) {
	if a.function != "" {
		r, err := a.ask(ctx, handler.Request{Action: "wakeup", Task: task, Key: key, Output: output, Failure: failure})
		return r.ExecutionID, err
	}
	sleeping := core.NewSleepingTask[json.RawMessage](task, core.TaskOptions{})
	if _, err := core.NewRegistry(sleeping); err != nil {
		return "", err
	}
	var h *core.Handle[json.RawMessage]
	var err error
	if failure != "" {
		h, err = core.WakeupWithError(ctx, client, sleeping, key, errors.New(failure))
	} else {
		h, err = core.Wakeup(ctx, client, sleeping, key, output)
	}
	if err != nil {
		return "", err
	}
	return h.ID(), nil
}

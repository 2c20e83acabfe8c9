package cli

import (
	"time"

	"github.com/spf13/cobra"
)

func (a *app) getCommand() *cobra.Command {
	var output bool
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show one execution with its input and output",
		Long:  "get shows one execution: where it stands, how it came there, its input, and its output or failure.",
		Example: `  perdure get order-17
  perdure get order-17 --json | jq .failure
  perdure get order-17 --output > result.json`,
		Args: oneID,
	}
	cmd.ValidArgsFunction = a.first(a.ids(nil))
	cmd.Flags().BoolVar(&output, "output", false, "print the output alone; the exit code tells an execution that did not complete")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		client, err := a.open(ctx)
		if err != nil {
			return err
		}
		e, err := client.Get(ctx, args[0])
		if err != nil {
			return err
		}
		if output {
			return a.printOutput(ctx, client, e)
		}
		r, err := whole(ctx, client, e, time.Now())
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(r)
		}
		return a.printRecord(r)
	}
	return cmd
}

// printRecord prints all of a record that says something.
func (a *app) printRecord(r record) error {
	var rows [][]cell
	add := func(name string, c cell) {
		if c.text != "" {
			rows = append(rows, []cell{{name, dim}, c})
		}
	}
	add("execution", text(r.ExecutionID))
	add("task", text(r.Task))
	add("status", statusCell(r.Status, r.SleepKey))
	add("attempts", text(r.attemptsText()))
	add("parent", text(r.Parent))
	add("root", text(r.Root))
	add("sleep key", text(r.SleepKey))
	add("redrive of", text(r.RedriveOf))
	add("redriven as", text(r.RedrivenAs))
	add("created", text(timeText(r.CreatedAt)))
	if r.StartedAt.IsZero() {
		add("starts", text(timeText(r.StartAt)))
	}
	add("started", text(timeText(r.StartedAt)))
	add("finished", text(timeText(r.FinishedAt)))
	if r.DurationMS != nil {
		add("took", text(durationText(time.Duration(*r.DurationMS)*time.Millisecond)))
	}
	if r.Queue != "" {
		add("queue", text(string(r.Queue)+", due "+timeText(r.DueAt)))
	}
	if r.NumChildren > 0 {
		add("children", text(childrenText(r.NumChildren, r.ActiveChildren)))
	}
	add("timeouts", text(r.timeoutsText()))
	add("write units", text(number(r.WriteUnits)))
	add("input", text(jsonText(r.Input)))
	add("output", text(jsonText(r.Output)))
	rows = append(rows, r.Failure.rows()...)
	if err := a.printTable(nil, rows); err != nil {
		return err
	}
	if f := r.Failure; f != nil && f.Detail != "" {
		return a.line("\n%s", f.Detail)
	}
	return nil
}

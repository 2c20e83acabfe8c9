package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// tasksJSON is what tasks prints with --json.
type tasksJSON struct {
	Table string         `json:"table,omitempty"` // of the enqueue function
	Tasks []handler.Task `json:"tasks"`
}

func (a *app) tasksCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tasks",
		Short: "List the tasks that the enqueue function knows",
		Long: `tasks lists the tasks that are registered: their ids and kinds, how long an attempt may take, or a sleep, how many
attempts there are, and what else bounds or delays an execution. The enqueue function tells; it is named by --function
or PERDURE_ENQUEUE_FUNCTION.`,
		Example: `  perdure tasks
  perdure tasks --json | jq -r '.tasks[] | select(.kind == "sleeping") | .task'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.function == "" {
				return usagef("which enqueue function? Use --function, or set PERDURE_ENQUEUE_FUNCTION")
			}
			r, err := a.ask(cmd.Context(), handler.Request{Action: "tasks"})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tasksJSON{r.Table, append([]handler.Task{}, r.Tasks...)})
			}
			if len(r.Tasks) == 0 {
				return a.line("no tasks")
			}
			var rows [][]cell
			for _, t := range r.Tasks {
				rows = append(rows, taskRow(t))
			}
			return a.printTable([]string{"TASK", "KIND", "TIMEOUT", "ATTEMPTS", "FURTHER"}, rows)
		},
	}
}

func taskRow(t handler.Task) []cell {
	span := func(ms int64) string { return durationText(time.Duration(ms) * time.Millisecond) }
	timeout, attempts := span(t.TimeoutMS), ""
	if t.Kind == core.KindSequential || t.Kind == core.KindLooping {
		timeout = "" // it has no code of its own
	}
	if t.MaxAttempts > 0 {
		attempts = strconv.Itoa(t.MaxAttempts)
	}
	var further []string
	for _, bound := range []struct {
		ms   int64
		what string
	}{
		{t.DelayMS, " of delay"}, {t.ScheduleToStartMS, " until it starts"}, {t.StartToFinishMS, " in all"},
	} {
		if bound.ms > 0 {
			further = append(further, span(bound.ms)+bound.what)
		}
	}
	return []cell{text(t.Task), text(string(t.Kind)), text(timeout), text(attempts), text(strings.Join(further, ", "))}
}

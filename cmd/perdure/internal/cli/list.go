package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
)

// pageJSON is what list prints with --json.
type pageJSON struct {
	Executions []record `json:"executions"`
	Next       string   `json:"next,omitempty"` // for --after; none at the end of the list
}

func (a *app) listCommand() *cobra.Command {
	var status, task, since, until, after string
	var limit int
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List root executions, newest first",
		Long: `list prints root executions, newest first. It needs the list that the operator may switch on by the template's
parameter ListIndex (docs/storage.md tells what that costs); single executions are shown by get and tree without it.
On a terminal lines are cut to its width; get and --json have all. What waits to be woken is shown as sleeping, with its
key; its status is running.`,
		Example: `  perdure list
  perdure list --status failed --task place_order --limit 20
  perdure list --status timed_out --since 6h --all
  perdure list --status failed --all --json | jq -r '.executions[].execution_id' | perdure redrive -`,
	}
	cmd.Flags().StringVar(&status, "status", "", "only those with this status: "+statusNames())
	cmd.Flags().StringVar(&task, "task", "", "only those of this task")
	cmd.Flags().StringVar(&since, "since", "", sinceUsage)
	cmd.Flags().StringVar(&until, "until", "", untilUsage)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, from 1 to 1000")
	cmd.Flags().StringVar(&after, "after", "", "go on behind the page that ended with this")
	cmd.Flags().BoolVar(&all, "all", false, "read page after page to the end of the list")
	a.completeFlag(cmd, "status", oneOf(statusWords()...))
	a.completeFlag(cmd, "task", a.tasks)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return usagef("--limit is %d: it must be from 1 to 1000", limit)
		}
		now := time.Now()
		from, to, err := period(since, until, now)
		if err != nil {
			return err
		}
		listing := core.Listing{Status: core.Status(status), TaskID: task, Since: from, Until: to, Limit: limit, After: after}
		if _, _, err := listing.Resolve(); err != nil {
			return err
		}
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		page := pageJSON{Executions: []record{}}
		var rows [][]cell
		p := a.progress()
		for {
			found, err := client.List(cmd.Context(), listing)
			if err != nil {
				p.done()
				return err
			}
			if a.json {
				if err := client.LoadCauses(cmd.Context(), found.Executions...); err != nil {
					p.done()
					return err
				}
			}
			for _, e := range found.Executions {
				page.Executions = append(page.Executions, describe(e, now))
				rows = append(rows, listRow(e, now))
			}
			page.Next, listing.After = found.Next, found.Next
			if !all && len(rows) >= limit || found.Next == "" {
				break
			}
			if !all {
				listing.Limit = limit - len(rows)
			}
			p.show("%s executions so far", number(len(rows)))
		}
		p.done()
		if a.json {
			return a.printJSON(page)
		}
		if len(rows) == 0 {
			return a.line("no executions")
		}
		if err := a.printTable([]string{"EXECUTION", "TASK", "STATUS", "ATTEMPTS", "CREATED", "TOOK", "FAILURE"}, rows,
			giving{6, 12}, giving{4, 17}, giving{1, 12}, giving{6, 0}); err != nil {
			return err
		}
		if page.Next != "" {
			return a.line("there are more: --after %s", page.Next)
		}
		return nil
	}
	return cmd
}

func listRow(e *core.Execution, now time.Time) []cell {
	took := ""
	if d, started := duration(e, now); started {
		took = durationText(d)
	}
	return []cell{
		text(e.ID), text(taskText(e)), statusCell(e.Status, e.SleepKey), text(attemptsText(e)), text(timeText(e.CreatedAt)), text(took),
		{failureText(e.Failure), red},
	}
}

func statusWords() []string {
	var words []string
	for _, s := range core.Statuses() {
		words = append(words, string(s))
	}
	return words
}

func statusNames() string { return strings.Join(statusWords(), ", ") }

const (
	sinceUsage = "only those created since then: a time, or how long ago (6h)"
	untilUsage = "only those created before then: a time, or how long ago (1h)"
)

// period reads the values of --since and --until.
func period(since, until string, now time.Time) (from, to time.Time, err error) {
	if from, err = moment("--since", since, now); err != nil {
		return from, to, err
	}
	to, err = moment("--until", until, now)
	return from, to, err
}

// moment reads a time, or how long ago it was.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s is %q: it must be a time like 2026-11-24T18:00:00Z, or how long ago, like 6h", flag, text)
}

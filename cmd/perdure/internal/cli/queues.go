package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// queuesLimit is how many entries of a queue are counted, unless all are to be: some 13 read units.
const queuesLimit = 1000

// queueJSON is a queue as queues prints it with --json.
type queueJSON struct {
	Queue   core.Queue `json:"queue"`
	Depth   int        `json:"depth"`
	AtLeast bool       `json:"at_least,omitempty"` // there are more than were counted
	Oldest  time.Time  `json:"oldest_due,omitzero"`
	LateMS  int64      `json:"late_ms"` // how long the oldest is over its due time; 0 when it is not
}

// meanings says what stands in each queue, and what its due time is.
var meanings = map[core.Queue]string{
	core.QueueReady:             "may start",
	core.QueueRunning:           "running; due when the lease ends",
	core.QueueSleeping:          "asleep; due when the sleep times out",
	core.QueueParent:            "parents to look after",
	core.QueueParentClaimed:     "parents being seen to; due when the lease ends",
	core.QueueFinished:          "finished, the parent is to be told",
	core.QueueClose:             "finished, what is below is to be cancelled",
	core.QueueClosing:           "being closed; due when the lease ends",
	dynamostore.QueueQuarantine: "cannot be read: repair them, then restore them",
}

func (a *app) queuesCommand() *cobra.Command {
	var exact bool
	cmd := &cobra.Command{
		Use:   "queues",
		Short: "Show how much stands in each queue, and the oldest due time",
		Long: `queues shows each queue's depth and its oldest due time: what is late waits for somebody to look at it. Counting reads
the queue's entries, so it stops at 1,000 for each queue, some 13 read units, and says 1,000+; --exact counts on.`,
		Example: `  perdure queues
  perdure queues --exact --json | jq '.queues[] | select(.late_ms > 60000)'`,
	}
	cmd.Flags().BoolVar(&exact, "exact", false, "count all, which costs a read unit for some 80 entries")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		store, err := a.store(cmd.Context())
		if err != nil {
			return err
		}
		limit := queuesLimit
		if exact {
			limit = 0
		}
		p := a.progress()
		now := time.Now()
		backlogs, err := store.Backlogs(cmd.Context(), now, limit, func(n int) { p.show("%s entries counted", number(n)) })
		p.done()
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string][]queueJSON{"queues": queuesJSON(backlogs, now)})
		}
		var rows [][]cell
		for _, b := range backlogs {
			if b.Queue != dynamostore.QueueQuarantine || b.Depth > 0 {
				rows = append(rows, queueRow(b, now))
			}
		}
		return a.printTable([]string{"QUEUE", "DEPTH", "OLDEST", "WHAT"}, rows)
	}
	return cmd
}

func queuesJSON(backlogs []dynamostore.Backlog, now time.Time) []queueJSON {
	out := make([]queueJSON, len(backlogs))
	for i, b := range backlogs {
		out[i] = queueJSON{Queue: b.Queue, Depth: b.Depth, AtLeast: b.AtLeast, Oldest: b.Oldest}
		if !b.Oldest.IsZero() {
			out[i].LateMS = max(0, now.Sub(b.Oldest).Milliseconds())
		}
	}
	return out
}

// lateAfter is how late the oldest of a queue may be before it is shown as a warning: two ticks and some.
const lateAfter = 3 * time.Minute

func queueRow(b dynamostore.Backlog, now time.Time) []cell {
	depth, oldest := text(number(b.Depth)), cell{}
	if b.AtLeast {
		depth.text += "+"
	}
	switch late := now.Sub(b.Oldest); {
	case b.Oldest.IsZero():
	case late >= lateAfter:
		oldest = cell{durationText(late) + " late", red}
	case late >= 0:
		oldest = text(durationText(late) + " late")
	default:
		oldest = text("in " + durationText(-late))
	}
	if b.Queue == dynamostore.QueueQuarantine {
		depth.colour = red
	}
	return []cell{text(string(b.Queue)), depth, oldest, {meanings[b.Queue], dim}}
}

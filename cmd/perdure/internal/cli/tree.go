package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
)

func (a *app) treeCommand() *cobra.Command {
	var depth, children int
	cmd := &cobra.Command{
		Use:   "tree ID",
		Short: "Draw an execution and all that is below it",
		Long: `tree draws an execution and all that is below it, with what each came to, how long it took, what its writes were
billed at, and why it failed. Of a large family those that did not complete come first, and what is left out is counted.
On a terminal lines are cut to its width; get and --json have all. What waits to be woken is shown as sleeping, with its
key.`,
		Example: `  perdure tree order-17
  perdure tree nightly-import --children 5 --depth 1
  perdure tree order-17 --json | jq '.. | select(.status? == "failed") | .execution_id'`,
		Args: oneID,
	}
	cmd.ValidArgsFunction = a.first(a.ids(nil))
	cmd.Flags().IntVar(&depth, "depth", 0, "how many levels to draw below the execution; 0 draws all")
	cmd.Flags().IntVar(&children, "children", 20, "how many children to draw of each execution; 0 draws all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if depth < 0 || children < 0 {
			return usagef("--depth is %d, --children %d: neither may be negative", depth, children)
		}
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		root, err := client.Tree(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		now := time.Now()
		if a.json {
			var all []*core.Execution
			root.Walk(func(_ int, e *core.Execution) { all = append(all, e) })
			if err := client.LoadCauses(cmd.Context(), all...); err != nil {
				return err
			}
			return a.printJSON(describeTree(root, now))
		}
		d := drawing{now: now, depth: depth, children: children}
		d.add(root, "", "", 0)
		if err := a.printTable([]string{"TASK", "STATUS", "ATTEMPTS", "TOOK", "UNITS", "EXECUTION", "FAILURE"}, d.rows,
			giving{6, 12}, giving{0, 20}, giving{6, 0}); err != nil {
			return err
		}
		count := 0
		root.Walk(func(int, *core.Execution) { count++ })
		if count == 1 {
			return nil
		}
		return a.line("%s executions, %s write units", number(count), number(root.WriteUnits()))
	}
	return cmd
}

func describeTree(n *core.Node, now time.Time) record {
	r := describe(n.Execution, now)
	for _, child := range n.Children {
		r.Children = append(r.Children, describeTree(child, now))
	}
	return r
}

// drawing is a tree as rows of a table.
type drawing struct {
	now             time.Time
	depth, children int
	rows            [][]cell
}

// add draws n behind branch, and what is below it behind trunk.
func (d *drawing) add(n *core.Node, branch, trunk string, depth int) {
	e := n.Execution
	label := taskText(e)
	if e.Parent != nil && e.Parent.Index == core.FinalizeIndex {
		label += " (finalize)"
	}
	took := ""
	if t, started := duration(e, d.now); started {
		took = durationText(t)
	}
	d.rows = append(d.rows, []cell{
		text(branch + label), statusCell(e.Status, e.SleepKey), text(attemptsText(e)), text(took), text(number(e.WriteUnits)), text(e.ID),
		{failureText(e.Failure), red},
	})
	if d.depth > 0 && depth == d.depth {
		if len(n.Children) > 0 {
			d.rows = append(d.rows, []cell{{trunk + "└─ … " + countText(n.Children), dim}})
		}
		return
	}
	shown, left := d.choose(n.Children)
	for i, child := range shown {
		if i == len(shown)-1 && len(left) == 0 {
			d.add(child, trunk+"└─ ", trunk+"   ", depth+1)
		} else {
			d.add(child, trunk+"├─ ", trunk+"│  ", depth+1)
		}
	}
	if len(left) > 0 {
		d.rows = append(d.rows, []cell{{trunk + "└─ … " + countText(left), dim}})
	}
}

// choose returns the children to draw, in order, and the others: what did not complete goes before what did.
func (d *drawing) choose(children []*core.Node) (shown, left []*core.Node) {
	if d.children == 0 || len(children) <= d.children {
		return children, nil
	}
	chosen := make(map[*core.Node]bool, d.children)
	for _, completed := range []bool{false, true} {
		for _, c := range children {
			if len(chosen) < d.children && (c.Execution.Status == core.StatusCompleted) == completed {
				chosen[c] = true
			}
		}
	}
	for _, c := range children {
		if chosen[c] {
			shown = append(shown, c)
		} else {
			left = append(left, c)
		}
	}
	return shown, left
}

// countText counts executions by their status.
func countText(nodes []*core.Node) string {
	counts := map[core.Status]int{}
	for _, n := range nodes {
		counts[n.Execution.Status]++
	}
	var parts []string
	for _, s := range core.Statuses() {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(counts[s]), s))
		}
	}
	return fmt.Sprintf("%s more: %s", number(len(nodes)), strings.Join(parts, ", "))
}

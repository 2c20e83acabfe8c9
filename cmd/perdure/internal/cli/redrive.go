package cli

import (
	"bufio"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
)

// redriveParallel is how many executions are redriven at once.
const redriveParallel = 16

// redriven is what became of one execution; with --json one line each.
type redriven struct {
	ExecutionID string `json:"execution_id"`
	RedrivenAs  string `json:"redriven_as,omitempty"`
	Before      bool   `json:"before,omitempty"` // it was redriven before
	Error       string `json:"error,omitempty"`
}

// redriveSummary is what redrive prints with --json.
type redriveSummary struct {
	Redriven int        `json:"redriven"`
	Before   int        `json:"before"` // redriven before, and left as they are
	Failed   int        `json:"failed"`
	DryRun   bool       `json:"dry_run,omitempty"`
	Results  []redriven `json:"results"`
}

func (a *app) redriveCommand() *cobra.Command {
	var q redriveQuery
	cmd := &cobra.Command{
		Use:   "redrive [ID... | -]",
		Short: "Run failed, timed out or cancelled executions again, without what completed",
		Long: `redrive makes a new execution for each failed, timed out or cancelled root: the same task with the same input, which
takes over what completed below the old one. The old one stays as it is. Doing it twice does nothing.

The executions are named, or read from standard input one a line (-), or picked by --status, --task, --since and
--until, which needs the list (see perdure list --help). Several are redriven at once; one that cannot be is told and
does not stop the others. Ctrl-C stops it, and running it again goes on.`,
		Example: `  perdure redrive order-17
  perdure redrive --status failed --task place_order --since 6h --dry-run
  perdure redrive --status failed --status timed_out --since 2026-11-24T00:00:00Z`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.StringSliceVar(&q.statuses, "status", nil, "those that ended so: failed, timed_out, finalize_failed or cancelled; may be given several times")
	f.StringVar(&q.task, "task", "", "those of this task")
	f.StringVar(&q.since, "since", "", sinceUsage)
	f.StringVar(&q.until, "until", "", untilUsage)
	f.IntVar(&q.limit, "limit", 0, "at most this many; 0 for all")
	f.BoolVar(&q.dryRun, "dry-run", false, "only tell which ones would be redriven")
	a.completeFlag(cmd, "status", oneOf(redrivable()...))
	a.completeFlag(cmd, "task", a.tasks)
	cmd.ValidArgsFunction = a.completion(a.ids(func(s core.Status) bool { return slices.Contains(redrivable(), string(s)) }))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := q.check(args, time.Now()); err != nil {
			return err
		}
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		switch {
		case len(args) == 1 && args[0] == "-":
			return a.redriveMany(cmd.Context(), client, q, a.idsFromInput())
		case len(args) == 1 && !q.dryRun:
			return a.redriveOne(cmd.Context(), client, args[0])
		case len(args) > 0:
			return a.redriveMany(cmd.Context(), client, q, func(yield func(string, error) bool) {
				for _, id := range args {
					if !yield(id, nil) {
						return
					}
				}
			})
		}
		return a.redriveMany(cmd.Context(), client, q, q.find(cmd.Context(), client))
	}
	return cmd
}

// redriveQuery says which executions are redriven.
type redriveQuery struct {
	statuses           []string
	task, since, until string
	limit              int
	dryRun             bool

	from, to time.Time
}

func redrivable() []string {
	return []string{string(core.StatusFailed), string(core.StatusTimedOut), string(core.StatusFinalizeFailed), string(core.StatusCancelled)}
}

func (q *redriveQuery) check(args []string, now time.Time) error {
	filtered := len(q.statuses) > 0 || q.task+q.since+q.until != ""
	switch {
	case len(args) == 0 && len(q.statuses) == 0:
		return usagef("redrive what? Name executions, or say --status, as in --status failed")
	case len(args) > 0 && filtered:
		return usagef("redrive takes ids or a filter, not both")
	case len(args) > 1 && slices.Contains(args, "-"):
		return usagef("redrive reads standard input (-) or takes ids, not both")
	case slices.Contains(args, ""):
		return usagef("an execution id is empty")
	case q.limit < 0:
		return usagef("--limit is %d: it must not be negative", q.limit)
	}
	for _, s := range q.statuses {
		if !slices.Contains(redrivable(), s) {
			return usagef("--status is %q: it must be one of %s", s, strings.Join(redrivable(), ", "))
		}
	}
	var err error
	q.from, q.to, err = period(q.since, q.until, now)
	return err
}

// find lists the executions of the query, newest first within each status.
func (q *redriveQuery) find(ctx context.Context, client *core.Client) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, status := range slices.Compact(slices.Sorted(slices.Values(q.statuses))) {
			for e, err := range client.ListAll(ctx, core.Listing{Status: core.Status(status), TaskID: q.task, Since: q.from, Until: q.to}) {
				if err != nil {
					yield("", err)
					return
				}
				if !e.Sleeping() && !yield(e.ID, nil) {
					return
				}
			}
		}
	}
}

// idsFromInput reads ids, one a line.
func (a *app) idsFromInput() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		lines := bufio.NewScanner(a.In)
		for lines.Scan() {
			if id := strings.TrimSpace(lines.Text()); id != "" && !yield(id, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield("", err)
		}
	}
}

func (a *app) redriveOne(ctx context.Context, client *core.Client, id string) error {
	newID, err := client.Redrive(ctx, id)
	before := errors.Is(err, core.ErrAlreadyExists)
	switch {
	case err != nil && !before:
		return err
	case a.json:
		return a.printJSON(redriven{ExecutionID: id, RedrivenAs: newID, Before: before})
	case before:
		return a.line("%s was redriven before, as %s", id, newID)
	}
	return a.line("%s is redriven as %s", id, newID)
}

// redriveMany redrives several at once and tells how far it is.
func (a *app) redriveMany(ctx context.Context, client *core.Client, q redriveQuery, ids iter.Seq2[string, error]) error {
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		summary = redriveSummary{DryRun: q.dryRun, Results: []redriven{}}
		listErr error
		slots   = make(chan struct{}, redriveParallel)
		p       = a.progress()
		taken   int
	)
	for id, err := range ids {
		if err != nil || ctx.Err() != nil {
			listErr = cmpErr(context.Cause(ctx), err)
			break
		}
		slots <- struct{}{}
		taken++
		group.Go(func() {
			r := redriven{ExecutionID: id}
			if !q.dryRun {
				// One that has begun is not given up half-way.
				r = redriveResult(context.WithoutCancel(ctx), client, id)
			}
			mu.Lock()
			summary.add(r)
			p.show("%s redriven, %s before, %s failed", number(summary.Redriven), number(summary.Before), number(summary.Failed))
			mu.Unlock()
			<-slots
		})
		if taken == q.limit {
			break
		}
	}
	group.Wait()
	p.done()
	if taken == 0 && listErr != nil {
		return listErr
	}
	return cmpErr(listErr, a.printSummary(summary))
}

// cmpErr returns the first error that there is.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func redriveResult(ctx context.Context, client *core.Client, id string) redriven {
	newID, err := client.Redrive(ctx, id)
	r := redriven{ExecutionID: id, RedrivenAs: newID, Before: errors.Is(err, core.ErrAlreadyExists)}
	if err != nil && !r.Before {
		r.Error = oneLine(err)
	}
	return r
}

func (s *redriveSummary) add(r redriven) {
	switch {
	case r.Error != "":
		s.Failed++
	case r.Before:
		s.Before++
	default:
		s.Redriven++
	}
	s.Results = append(s.Results, r)
}

func (a *app) printSummary(s redriveSummary) error {
	if a.json {
		if err := a.printJSON(s); err != nil {
			return err
		}
	} else {
		var rows [][]cell
		for _, r := range s.Results {
			became := cell{r.RedrivenAs, plain}
			switch {
			case s.DryRun:
				became = cell{"would be redriven", dim}
			case r.Error != "":
				became = cell{r.Error, red}
			case r.Before:
				became = cell{r.RedrivenAs + " (before)", dim}
			}
			rows = append(rows, []cell{text(r.ExecutionID), became})
		}
		if err := a.printTable(nil, rows); err != nil {
			return err
		}
		verb := "redriven"
		if s.DryRun {
			verb = "would be redriven"
		}
		if err := a.line("%s %s, %s redriven before, %s failed", number(s.Redriven), verb, number(s.Before), number(s.Failed)); err != nil {
			return err
		}
	}
	if s.Failed > 0 {
		return errQuiet
	}
	return nil
}

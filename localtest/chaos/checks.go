package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/simtest"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/chaos/work"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// look counts the finished among roots, and the entries of all queues.
func look(ctx context.Context, s *stack.Stack, ids []string) (finished, entries int, _ error) {
	found, err := s.Watch.Get(ctx, ids, core.Filter{})
	if err != nil {
		return 0, 0, err
	}
	for _, e := range found {
		if e != nil && e.Status.Finished() {
			finished++
		}
	}
	for _, q := range append(core.Queues(), dynamostore.QueueQuarantine) {
		n, err := s.Watch.Depth(ctx, q)
		if err != nil {
			return 0, 0, err
		}
		entries += n
	}
	return finished, entries, nil
}

// ledger is how often each execution had its effect.
type ledger map[string]int

func readLedger(path string) (ledger, int, error) {
	file, err := os.Open(path) //nolint:gosec // the run's own file
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }() // it was only read
	l, total := ledger{}, 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		id, rest, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.Count(rest, " ") != 1 {
			return nil, 0, fmt.Errorf("ledger: the line %q is not whole", lines.Text())
		}
		l[id]++
		total++
	}
	return l, total, lines.Err()
}

// verdict prints the checks, a line each, and remembers what failed.
type verdict struct {
	out    io.Writer
	failed []string
}

func (v *verdict) check(what string, problems []string) {
	if len(problems) == 0 {
		_, _ = fmt.Fprintf(v.out, "  ok    %s\n", what)
		return
	}
	_, _ = fmt.Fprintf(v.out, "  FAIL  %s: %d\n", what, len(problems))
	for _, p := range problems[:min(10, len(problems))] {
		_, _ = fmt.Fprintf(v.out, "          %s\n", p)
	}
	v.failed = append(v.failed, what)
}

func (v *verdict) err() error {
	if len(v.failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d checks failed: %s", len(v.failed), strings.Join(v.failed, "; "))
}

// judge checks what the run left in the table and in the ledger.
func judge(ctx context.Context, out io.Writer, s *stack.Stack, roots map[string]work.Root, ledgerPath string) error {
	store, err := dynamostore.NewForTest(s.DynamoDB, s.Table, dynamostore.Options{})
	if err != nil {
		return err
	}
	inv, err := store.Inventory(ctx)
	if err != nil {
		return err
	}
	effects, total, err := readLedger(ledgerPath)
	if err != nil {
		return err
	}
	client, err := core.NewClient(s.Watch, core.ClientOptions{})
	if err != nil {
		return err
	}
	byID := map[string]*core.Execution{}
	for _, e := range inv.Executions {
		byID[e.ID] = e
	}
	v := &verdict{out: out}
	var lost, unfinished, wrong []string
	want := 0
	for id, root := range roots {
		want += root.Executions
		e := byID[id]
		switch {
		case e == nil:
			lost = append(lost, id)
		case e.Status != core.StatusCompleted:
			unfinished = append(unfinished, fmt.Sprintf("%s is %s: %v", id, e.Status, e.Failure))
		default:
			if output, _, err := client.ResultJSON(ctx, e); err != nil || !strings.Contains(string(output), root.Output) {
				wrong = append(wrong, fmt.Sprintf("%s: %s, error %v, want %s", id, output, err, root.Output))
			}
		}
	}
	v.check(fmt.Sprintf("none of %d acknowledged roots is lost", len(roots)), lost)
	v.check("every root is completed", unfinished)
	v.check("every root has the right output", wrong)

	var silent, incomplete []string
	completed := 0
	for _, e := range inv.Executions {
		if e.Status != core.StatusCompleted {
			incomplete = append(incomplete, fmt.Sprintf("%s of task %s is %s: %v", e.ID, e.TaskID, e.Status, e.Failure))
			continue
		}
		completed++
		if work.Coded(e.TaskID) && effects[e.ID] == 0 {
			silent = append(silent, fmt.Sprintf("%s of task %s", e.ID, e.TaskID))
		}
	}
	slices.Sort(incomplete)
	v.check(fmt.Sprintf("each completed execution had its effect at least once (%d effects, %d more than once)", total, total-len(effects)), silent)
	v.check("no execution ended otherwise", incomplete)
	var miscounted []string
	if completed != want {
		miscounted = []string{fmt.Sprintf("%d are completed, the roots make %d", completed, want)}
	}
	v.check(fmt.Sprintf("%d executions are completed, as many as the roots make", completed), miscounted)

	var broken []string
	if err := simtest.Check(slices.Values(inv.Executions), time.Now(), simtest.CheckOptions{Settled: true}); err != nil {
		broken = strings.Split(err.Error(), "\n")
	}
	v.check("no invariant is broken: nothing is stuck, all is counted and closed", broken)
	var left []string
	for _, q := range append(core.Queues(), dynamostore.QueueQuarantine) {
		if n, err := s.Watch.Depth(ctx, q); err != nil || n > 0 {
			left = append(left, fmt.Sprintf("%d in %s, error %v", n, q, err))
		}
	}
	v.check("the queue index is empty", left)
	var strange []string
	if n := inv.Items["other"]; n > 0 {
		strange = append(strange, fmt.Sprint(n))
	}
	v.check("no item is of no kind", strange)
	return v.err()
}

var errInterrupted = errors.New("interrupted")

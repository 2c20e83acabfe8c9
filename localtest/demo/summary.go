package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/meter"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// tree is every execution of the job.
type tree []*core.Execution

// readTree reads the executions with the given ids and all below them.
func readTree(ctx context.Context, store core.Store, roots []string) (tree, error) {
	executions, err := store.Get(ctx, roots, core.Filter{})
	if err != nil {
		return nil, err
	}
	families, err := store.Children(ctx, roots)
	if err != nil {
		return nil, err
	}
	return append(tree(executions), slices.Concat(families...)...), nil
}

// finish reads what the job came to, checks it, and says what it took.
func finish(
	ctx context.Context, p *progress.Printer, in *input, store core.Store, client *core.Client, roots []string, took time.Duration, usage *meter.Usage,
	lost *losses,
) error {
	done := p.Step("reading the result and its executions")
	all, err := readTree(ctx, store, roots)
	if err != nil {
		done()
		return err
	}
	counts, err := collect(ctx, p, client, roots)
	done()
	if err != nil {
		return err
	}
	return errors.Join(allCompleted(all), summarize(p, in, all, counts, took, usage, lost))
}

// collect adds up the roots' outputs.
func collect(ctx context.Context, p *progress.Printer, client *core.Client, roots []string) (tasks.Counts, error) {
	total := tasks.Counts{}
	for i, id := range roots {
		p.Show("%d of %d files read", i, len(roots))
		counts, err := tasks.CountFile.HandleOf(client, id).Wait(ctx)
		if err != nil {
			return nil, err
		}
		total.Add(counts)
	}
	return total, nil
}

// check compares the job's result with the plain loop's.
func check(got, want tasks.Counts) error {
	if maps.Equal(got, want) {
		return nil
	}
	var wrong []string
	for word, n := range want {
		if got[word] != n {
			wrong = append(wrong, fmt.Sprintf("%q %d times, not %d", word, got[word], n))
		}
	}
	slices.Sort(wrong)
	return fmt.Errorf("the result differs from the plain loop's: %s", strings.Join(wrong[:min(5, len(wrong))], ", "))
}

// summarize prints what was found and what it took. usage is nil where nothing was metered.
func summarize(p *progress.Printer, in *input, all tree, counts tasks.Counts, took time.Duration, usage *meter.Usage, lost *losses) error {
	if err := check(counts, in.counts); err != nil {
		if now, again := readInput(in.folder); again == nil && !maps.Equal(now.counts, in.counts) {
			err = fmt.Errorf("the files in %s changed while the demo counted them: run it again: %w", in.folder, err)
		}
		return err
	}
	retries := 0
	byTask := map[string][]*core.Execution{}
	for _, e := range all {
		retries += max(0, e.Attempts-1)
		byTask[e.TaskID] = append(byTask[e.TaskID], e)
	}
	p.Line("")
	p.Line("result       %d words, %d of them different, in %d files: the same as a plain loop counts",
		counts.Words(), len(counts), len(in.files))
	p.Line("most common  %s", strings.Join(mostCommon(counts, 8), ", "))
	p.Line("executions   %d: %s", len(all), describeTasks(byTask))
	p.Line("             %d retries, %s", retries, lost)
	p.Line("wall time    %.1f s, %.0f executions per second", took.Seconds(), float64(len(all))/took.Seconds())
	if usage == nil {
		return nil
	}
	total := usage.Total
	n := float64(len(all))
	p.Line("consumed     %.0f WRU and %.1f RRU in %d requests: %.2f WRU and %.2f RRU per execution",
		total.Write, total.Read, total.Requests, total.Write/n, total.Read/n)
	for _, task := range slices.Sorted(maps.Keys(byTask)) {
		var of meter.Units
		for _, e := range byTask[task] {
			of.Write += usage.ByKey[e.ID].Write
			of.Read += usage.ByKey[e.ID].Read
		}
		p.Line("             %-13s %.2f WRU each, payloads included", task, of.Write/float64(len(byTask[task])))
	}
	told, dearest, members := all.writeUnits()
	p.Line("             the records themselves tell of %d WRU: the dearest tree took %d in %d executions", told, dearest, members)
	return nil
}

// writeUnits returns what the records tell that their writes were billed at, and that of the dearest tree, with how many
// executions are in it.
func (t tree) writeUnits() (all, dearest, members int) {
	units, sizes := map[string]int{}, map[string]int{} // by root
	for _, e := range t {
		all += e.WriteUnits
		units[e.RootID] += e.WriteUnits
		sizes[e.RootID]++
		if units[e.RootID] > dearest {
			dearest, members = units[e.RootID], sizes[e.RootID]
		}
	}
	return all, dearest, members
}

func describeTasks(byTask map[string][]*core.Execution) string {
	var parts []string
	for _, task := range slices.Sorted(maps.Keys(byTask)) {
		parts = append(parts, fmt.Sprintf("%d %s", len(byTask[task]), task))
	}
	return strings.Join(parts, ", ")
}

func mostCommon(counts tasks.Counts, n int) []string {
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	words = words[:min(n, len(words))]
	for i, word := range words {
		words[i] = fmt.Sprintf("%s %d", word, counts[word])
	}
	return words
}

// allCompleted returns an error that names an execution that ended otherwise.
func allCompleted(all tree) error {
	var errs []error
	for _, e := range all {
		if e.Status != core.StatusCompleted || e.CloseStatus != core.CloseClosed {
			errs = append(errs, fmt.Errorf("execution %s of %s is %s, close status %s", e.ID, e.TaskID, e.Status, e.CloseStatus))
		}
	}
	return errors.Join(errs...)
}

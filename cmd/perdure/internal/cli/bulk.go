package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// bulkParallel is how many executions are enqueued at once. The enqueue function has an environment for each.
const bulkParallel = 8

// bulkResult is what became of one line; with --json the summary has one each.
type bulkResult struct {
	Line        int    `json:"line"`
	ExecutionID string `json:"execution_id,omitempty"`
	Error       string `json:"error,omitempty"`
}

// bulkSummary is what enqueue --each prints with --json.
type bulkSummary struct {
	Enqueued int          `json:"enqueued"`
	Failed   int          `json:"failed"`
	Results  []bulkResult `json:"results"` // in the order of the lines
}

// bulkLine is an input and the number of its line, from 1.
type bulkLine struct {
	number int
	input  json.RawMessage
}

// enqueueEach enqueues an execution for each line. All lines are read and checked before the first is enqueued.
func (a *app) enqueueEach(ctx context.Context, o *enqueueOptions) error {
	lines, err := a.readLines(o.each)
	if err != nil {
		return err
	}
	if len(lines) == 0 && !a.json {
		_, _ = fmt.Fprintln(a.Err, "perdure: --each: there are no lines: nothing was enqueued")
	}
	enqueue, err := a.enqueuer(ctx, o)
	if err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		summary = bulkSummary{Results: make([]bulkResult, len(lines))}
		slots   = make(chan struct{}, bulkParallel)
		p       = a.progress()
	)
	for i, l := range lines {
		if ctx.Err() != nil {
			summary.Results = summary.Results[:i]
			break
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			key := ""
			if o.key != "" {
				key = o.key + strconv.Itoa(l.number)
			}
			// One that has begun is not given up half-way.
			id, err := patiently(ctx, func() (string, error) { return enqueue(context.WithoutCancel(ctx), l.input, key) })
			mu.Lock()
			defer mu.Unlock()
			summary.Results[i] = bulkResult{Line: l.number, ExecutionID: id}
			if err != nil {
				summary.Failed++
				summary.Results[i].Error = oneLine(err)
			} else {
				summary.Enqueued++
			}
			p.show("%s of %s enqueued, %s failed", number(summary.Enqueued), number(len(lines)), number(summary.Failed))
		})
	}
	group.Wait()
	p.done()
	return cmpErr(a.printBulk(summary), context.Cause(ctx))
}

// patience is how often a line is tried for which the enqueue function has no room: about a minute in all.
const patience = 12

// patiently calls again what a function refuses because it serves others; nothing was begun then.
func patiently(ctx context.Context, enqueue func() (string, error)) (id string, err error) {
	pause := 200 * time.Millisecond
	for range patience {
		id, err = enqueue()
		if busy := new(types.TooManyRequestsException); !errors.As(err, &busy) {
			return id, err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // it only keeps callers apart
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return id, err
		}
		pause = min(2*pause, 8*time.Second)
	}
	return id, err
}

func (a *app) printBulk(s bulkSummary) error {
	if a.json {
		if err := a.printJSON(s); err != nil {
			return err
		}
	} else {
		for _, r := range s.Results {
			if r.Error == "" {
				if err := a.line("%s", r.ExecutionID); err != nil {
					return err
				}
				continue
			}
			if _, err := io.WriteString(a.Err, "perdure: line "+strconv.Itoa(r.Line)+": "+visible(r.Error)+"\n"); err != nil {
				return err
			}
		}
	}
	if s.Failed > 0 {
		return errQuiet
	}
	return nil
}

// readLines reads the JSON values of a file, one a line; empty lines are left out.
func (a *app) readLines(name string) ([]bulkLine, error) {
	in := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usagef("--each: %w", err)
		}
		defer f.Close()
		in = f
	}
	var lines []bulkLine
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxInput)
	n := 1
	for ; scanner.Scan(); n++ {
		data := scanner.Bytes()
		if n == 1 {
			data = bytes.TrimPrefix(data, byteOrderMark)
		}
		if len(bytes.TrimSpace(data)) == 0 {
			continue
		}
		if at, err := checkJSON(data); err != nil {
			return nil, usagef("--each: line %d, column %d is not valid JSON, so nothing was enqueued: %w", n, column(data[:at]), err)
		}
		lines = append(lines, bulkLine{n, compact(bytes.Clone(data))})
	}
	err := scanner.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		return nil, usagef("--each: line %d has over %d bytes: nothing was enqueued", n, maxInput)
	}
	if err != nil {
		return nil, usagef("--each: %w", err)
	}
	return lines, nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/otelperdure"
)

// traced waits until the collector has an order's whole trace, says it, and checks it against the records. The order must
// be at its end.
func (v *visitor) traced(ctx context.Context, order string) ([]span, error) {
	root := orders.ExecutionID(order)
	if _, err := v.output(ctx, root); err != nil {
		return nil, err
	}
	tree, err := v.request(ctx, handler.Request{Action: "tree", ExecutionID: root})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		spans, err := v.app.collector.trace(otelperdure.TraceID(root).String())
		if err != nil {
			return nil, err
		}
		missing := checkTrace(spans, tree, "")
		if missing == nil {
			if err := checkLinks(spans); err != nil {
				return nil, err
			}
			v.say("trace %s, from the functions %s:", otelperdure.TraceID(root), strings.Join(functions(spans), ", "))
			v.spansBelow(spans, "", "")
			return spans, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the trace of order %s after %s: %w", order, patience, missing)
		case <-ticker.C:
		}
	}
}

// checkTrace returns an error unless there is a span for an execution and each of its attempts, and for all that is below
// it, with what the record says. parent is the id of the span that it must be below.
func checkTrace(spans []span, r handler.Response, parent string) error {
	id := otelperdure.SpanID(r.ExecutionID).String()
	var attempts []int
	self := 0
	for _, s := range of(spans, r.ExecutionID) {
		a := s.Attributes
		if a["perdure.task_id"] != r.Task || a["perdure.root_id"] == "" {
			return fmt.Errorf("span %s of execution %s has the attributes %v", s.Name, r.ExecutionID, a)
		}
		switch {
		case s.ID == id:
			self++
			if s.Name != r.Task || s.Parent != parent || a["perdure.status"] != string(r.Status) || a["perdure.attempts"] != strconv.Itoa(r.Attempts) {
				return fmt.Errorf("span of execution %s, %s after %d attempts: %+v", r.ExecutionID, r.Status, r.Attempts, s)
			}
		case s.Parent != id:
			return fmt.Errorf("span %s is below %s, want %s", s.Name, s.Parent, id)
		case s.Name == r.Task+" attempt":
			n, err := strconv.Atoi(a["perdure.attempt"])
			if err != nil || a["perdure.outcome"] == "" || a["perdure.executor_id"] == "" {
				return fmt.Errorf("attempt of execution %s: %v", r.ExecutionID, a)
			}
			attempts = append(attempts, n)
		}
	}
	if self != 1 {
		return fmt.Errorf("execution %s of %s has %d spans, want 1", r.ExecutionID, r.Task, self)
	}
	slices.Sort(attempts)
	for i := range r.Attempts {
		if i >= len(attempts) || attempts[i] != i+1 {
			return fmt.Errorf("execution %s of %s has spans of its attempts %v, want 1 to %d", r.ExecutionID, r.Task, attempts, r.Attempts)
		}
	}
	for _, child := range r.Children {
		if err := checkTrace(spans, child, id); err != nil {
			return err
		}
	}
	return nil
}

// checkLinks returns an error unless the spans are one tree.
func checkLinks(spans []span) error {
	known := map[string]bool{"": true}
	roots := 0
	for _, s := range spans {
		if known[s.ID] {
			return fmt.Errorf("two spans have the id %s: %s", s.ID, s.Name)
		}
		if known[s.ID] = true; s.Parent == "" {
			roots++
		}
	}
	for _, s := range spans {
		if !known[s.Parent] || s.End < s.Start {
			return fmt.Errorf("span %s from %d to %d is below %s, which must be in the trace", s.Name, s.Start, s.End, s.Parent)
		}
	}
	if roots != 1 {
		return fmt.Errorf("the trace has %d spans at its top, want 1", roots)
	}
	return nil
}

func (v *visitor) spansBelow(spans []span, parent, indent string) {
	for _, s := range spans {
		if s.Parent != parent {
			continue
		}
		what := []string{s.Name}
		for _, key := range []string{"perdure.status", "perdure.attempt", "perdure.outcome", "http.response.status_code"} {
			if value := s.Attributes[key]; value != "" {
				what = append(what, value)
			}
		}
		v.say("%s%s, %.0f ms", indent, strings.Join(what, " "), float64(s.End-s.Start)/1e6)
		v.spansBelow(spans, s.ID, indent+"  ")
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/chaos/work"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// load enqueues roots at a steady rate through the enqueue function, as another Lambda would, and again until it is told
// that they are there.
type load struct {
	stack *stack.Stack

	mu     sync.Mutex
	roots  map[string]work.Root // acknowledged, by execution id
	again  int                  // requests that were sent once more
	number int
	wait   sync.WaitGroup
}

// enqueueFor enqueues one root of each kind every interval until ctx ends or the time is over.
func (l *load) enqueueFor(ctx context.Context, d, every time.Duration, width int) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		for _, root := range work.Roots(width) {
			l.number++
			id := fmt.Sprintf("%s-%d", root.Task, l.number)
			l.wait.Go(func() { l.enqueue(ctx, id, root) })
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// enqueue asks until the execution is known to be there.
func (l *load) enqueue(ctx context.Context, id string, root work.Root) {
	request := handler.Request{Action: "enqueue", Task: root.Task, Input: json.RawMessage(strconv.Itoa(root.Input)), ExecutionID: id}
	for ctx.Err() == nil {
		r, err := l.stack.Request(ctx, request)
		if err == nil && (r.Error == nil || r.Error.Code == handler.CodeAlreadyExists) {
			l.mu.Lock()
			l.roots[id] = root
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.again++
		l.mu.Unlock()
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// ids returns the acknowledged roots.
func (l *load) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]string, 0, len(l.roots))
	for id := range l.roots {
		ids = append(ids, id)
	}
	return ids
}

// settle waits until every root is finished and every queue is empty, at most for the given time; whatever is left then is
// found by the checks.
func (l *load) settle(ctx context.Context, most time.Duration, progress func(finished, of, entries int)) error {
	deadline := time.Now().Add(most)
	for {
		finished, entries, err := look(ctx, l.stack, l.ids())
		if err != nil {
			return err
		}
		progress(finished, len(l.ids()), entries)
		if finished == len(l.ids()) && entries == 0 || time.Now().After(deadline) {
			return nil
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(errInterrupted, context.Cause(ctx))
	}
}

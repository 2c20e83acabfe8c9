package core

import (
	"context"
	"errors"
	"time"
)

// StartReady claims at most limit due executions, as far as the executor has room and time for them, and
// starts their attempts. It does not wait for them: see Flush. Oldest due first; what another executor won is
// skipped.
func (x *Executor) StartReady(ctx context.Context, limit int) (Result, error) {
	return x.claim(ctx, limit, nil)
}

// StartIDs is StartReady for executions that are known by id, without a look at the queue.
func (x *Executor) StartIDs(ctx context.Context, ids []string) (Result, error) {
	if len(ids) == 0 {
		return Result{}, nil
	}
	return x.claim(ctx, len(ids), ids)
}

func (x *Executor) claim(ctx context.Context, limit int, ids []string) (Result, error) {
	now := Millis(time.Now())
	left := x.left(now)
	if left < x.shortest {
		return Result{}, nil
	}
	room := x.reserve(limit)
	if room == 0 {
		return Result{}, nil
	}
	if len(ids) > room {
		ids = ids[:room]
	}
	var result Result
	swept, err := x.cfg.Store.ClaimReady(ctx, ReadyClaim{
		Now: now, Limit: room, ExecutorID: x.id, Left: left, Leeway: x.cfg.Leeway, IDs: ids,
	})
	x.mu.Lock()
	x.free += room - len(swept.Executions)
	x.mu.Unlock()
	result.add(swept)
	for _, e := range swept.Executions {
		x.work.Go(func() {
			// A claimed attempt is run whatever becomes of the call that claimed it.
			x.run(context.WithoutCancel(ctx), e)
		})
	}
	if len(swept.Executions) > 0 {
		x.pollCancellations(context.WithoutCancel(ctx))
	}
	return result, err
}

// reserve takes room for at most n attempts and returns for how many.
func (x *Executor) reserve(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n = min(n, x.free)
	x.free -= n
	return n
}

// release gives back the room of an attempt that ended, and tells the loop that starts attempts.
func (x *Executor) release() {
	x.mu.Lock()
	x.free++
	x.mu.Unlock()
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

// busy returns how many attempts are under way.
func (x *Executor) busy() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cfg.Concurrency - x.free
}

// startChildren starts what became ready by the executor's own doing. What it has no room for, or fails to
// claim, waits in the queue.
func (x *Executor) startChildren(ctx context.Context, children []*Execution) {
	now := time.Now()
	ids := make([]string, 0, len(children))
	for _, child := range children {
		if child.Queue == QueueReady && !child.DueAt.After(now) {
			ids = append(ids, child.ID)
		}
	}
	if _, err := x.StartIDs(ctx, ids); err != nil && !errors.Is(err, context.Canceled) {
		x.log.WarnContext(ctx, "children are left to the ready queue", logError, err)
	}
}

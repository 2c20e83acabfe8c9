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
	return x.claim(ctx, limit, time.Time{}, nil)
}

// StartIDs is StartReady for executions that are known by id, without a look at the queue.
func (x *Executor) StartIDs(ctx context.Context, ids []string) (Result, error) {
	if len(ids) == 0 {
		return Result{}, nil
	}
	return x.claim(ctx, len(ids), time.Time{}, ids)
}

// claim claims at most limit executions, those of the ids if there are any, else those that the queue shows to be due by dueBy
// (ReadyClaim.DueBy), and starts their attempts: as many at once as the store can claim in a moment.
func (x *Executor) claim(ctx context.Context, limit int, dueBy time.Time, ids []string) (Result, error) {
	if x.left(Millis(time.Now())) < x.shortest || !x.begin() {
		return Result{Unseen: true}, nil
	}
	defer x.work.Done()
	var all Result
	for looked := false; ; looked = true {
		room, bounded := x.reserveClaim(limit)
		if room == 0 {
			all.Unseen, all.more, all.untried = !looked, true, len(ids)
			return all, nil
		}
		result, err := x.claimAtOnce(ctx, room, dueBy, ids)
		left := ids[min(room, len(ids)):]
		result.untried = len(left)
		all = all.then(result)
		if err != nil || !bounded || len(left) == 0 && (ids != nil || !result.more) {
			return all, err
		}
		ids, limit = left, limit-room
	}
}

// reserveClaim takes room for a claim of at most limit executions, and reports whether it is for fewer than there is room for.
func (x *Executor) reserveClaim(limit int) (room int, bounded bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	most := max(0, min(limit, x.room()))
	room = min(most, x.claimLimit())
	x.free -= room
	return room, room < most
}

// claimAtOnce claims executions for which room is taken, and starts their attempts.
func (x *Executor) claimAtOnce(ctx context.Context, room int, dueBy time.Time, ids []string) (Result, error) {
	now, extra := Millis(time.Now()), x.extra()
	left := x.left(now)
	x.mu.Lock()
	shared := !x.brief || x.backlog // an executor that is soon gone leaves none for others who may be gone too
	x.mu.Unlock()
	backlog := len(ids) > room
	if backlog {
		ids = ids[:room]
	}
	var result Result
	began := time.Now()
	swept, err := x.cfg.Store.ClaimReady(ctx, ReadyClaim{
		Now: now, Limit: room, ExecutorID: x.id, Left: left, Most: x.cfg.Limits.Timeout, Leeway: x.cfg.Leeway + extra,
		DueBy: dueBy, IDs: ids, Shared: shared, RecoveredBelow: 1,
	})
	x.timed(ctx, began)
	if len(swept.Executions) == 0 {
		x.looked(time.Since(began))
	} else {
		x.claimed(len(swept.Executions), time.Since(began))
	}
	result.add(swept)
	result.more = len(swept.Executions) == room
	x.mu.Lock()
	x.free += room - len(swept.Executions)
	x.backlog = backlog || ids == nil && result.more
	for _, e := range swept.Executions {
		x.join(e.Recoveries) // none, where the store keeps to its contract
	}
	x.mu.Unlock()
	kept := x.makeWay(ctx, swept.Executions, swept.Recovered)
	result.Done += len(kept) - len(swept.Executions) + x.runApart(ctx, swept.Recovered)
	for _, e := range kept {
		x.work.Go(func() {
			// A claimed attempt is run whatever becomes of the call that claimed it.
			x.run(context.WithoutCancel(ctx), e)
		})
	}
	return result, err
}

// expect makes the loop that starts attempts look at the queue at the given time, or as soon as there is room after it.
// It is for what this process has put, which the queue is not asked for before it is due.
func (x *Executor) expect(at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.brief { // an executor that was given hints leaves what it puts to those who are given the hints of that
		x.expects(at)
	}
}

// expects is expect for a caller that holds x.mu.
func (x *Executor) expects(at time.Time) {
	if !x.expected.IsZero() && !at.Before(x.expected) {
		return
	}
	x.expected = at
	switch {
	case at.After(time.Now()):
		x.nudge()
	case x.room() == 0:
		x.hungry = true
	default:
		x.signal()
	}
}

// looks notes that a look at the queue begins, which is all that was asked for until now.
func (x *Executor) looks() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wanted = false
}

// idle returns how long the loop that starts attempts may wait before it looks at the queue, no longer than until end.
func (x *Executor) idle(end time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	switch {
	case x.wanted:
		return 0
	case x.expected.After(now):
		end = earlier(end, x.expected)
	}
	return end.Sub(now)
}

// nextExpected returns the earliest time at which something is expected to be due that a look at the queue at now did not
// see; zero when nothing is.
func (x *Executor) nextExpected(now time.Time) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.expected.After(now) {
		x.expected = time.Time{}
	}
	return x.expected
}

// startChildren starts what became ready by the executor's own doing. What it has no room for, or fails to
// claim, waits in the queue.
func (x *Executor) startChildren(ctx context.Context, children []*Execution) {
	now := time.Now()
	ids := make([]string, 0, len(children))
	for _, child := range children {
		switch {
		case child.Queue != QueueReady:
		case child.DueAt.After(now):
			x.local.expect(child.DueAt)
		default:
			ids = append(ids, child.ID)
		}
	}
	result, err := x.StartIDs(ctx, ids)
	if err != nil && !errors.Is(err, context.Canceled) {
		x.log.WarnContext(ctx, "children are left to the ready queue", logError, err)
	}
	if result.Done < len(ids) {
		x.local.expect(now)
	}
}

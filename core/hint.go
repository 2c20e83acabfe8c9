package core

import (
	"context"
	"slices"
	"time"
)

// Hint says that an execution is ready, or will be. It may be late, doubled, out of order or wrong: nothing is decided by
// it, and nobody may rely on getting one.
type Hint struct {
	ID    string
	DueAt time.Time // zero when it is not known: it is taken for due now
}

const (
	// leastHintTime and mostHintTime bound hints.time.
	leastHintTime = time.Second
	mostHintTime  = 5 * time.Second
	// hintedFor is for how long after the last hints a process expects more of them.
	hintedFor = 10 * time.Minute
)

// hints is what the executors of an engine know of the hints that they and others are given. The zero value knows of none.
type hints struct {
	given time.Time // when some were given last
	// time is how long what is due is left to whoever has the hint of it. Then it belongs to whoever sees it in the queue, and
	// the hint is not acted on any more: of two that claim one execution, one is billed for nothing.
	time     time.Duration
	nextLook time.Time // when the queue is worth a look
}

// underWay reports whether there are hints under way.
func (h *hints) underWay(now time.Time) bool {
	return !h.given.IsZero() && now.Sub(h.given) <= hintedFor
}

// arrived notes that an executor was given hints. They are left twice the time that they take.
func (h *hints) arrived(some []Hint, now time.Time) {
	h.given = now
	var oldest time.Duration
	for _, hint := range some {
		if age := now.Sub(hint.DueAt); age <= mostHintTime {
			oldest = max(oldest, age)
		}
	}
	wanted := min(max(leastHintTime, 2*oldest), mostHintTime)
	h.time = max(wanted, h.time-(h.time-wanted)/16)
}

// mayLook reports whether the queue is worth a look. While hints are under way, the executors of an engine together look at it
// about once in the time that hints are left.
func (h *hints) mayLook(now time.Time) bool {
	if now.Before(h.nextLook) && h.underWay(now) {
		return false
	}
	h.nextLook = now.Add(max(leastHintTime, h.time))
	return true
}

// looked notes what such a look came to: the next is worth it at once where there may be more, else when something has
// waited for as long as it is left to others, but later where hints take long: there are many then.
func (h *hints) looked(at time.Time, result Result) {
	switch {
	case result.more:
		h.nextLook = time.Time{}
	case !result.NextDue.IsZero():
		h.nextLook = earlier(h.nextLook, at.Add(max(h.time-leastHintTime*3/4, result.NextDue.Add(h.time).Sub(at))))
	}
}

// StartHinted starts the executions that hints name, and goes on as Repeat does for LoopStartReady while there is work. It
// is for an invocation that others wait behind: it returns as soon as nothing runs that it started and nothing is due. A
// hint of an execution that somebody else has, that is finished or does not exist does no harm. What is due later, but
// before until, is waited for when a hint said so, and not when only the queue shows it, or the executor itself put it:
// whoever has the hint of that waits already.
//
// What became due within the last second, or the last 5 s where hints take long, and is not among the hints is left to whoever
// has the hint of it, by this executor and by all others of its engine.
func (x *Executor) StartHinted(ctx context.Context, given []Hint, until time.Time) (Result, error) {
	x.mu.Lock()
	x.brief = true
	x.mu.Unlock()
	x.local.hint(func(h *hints) { h.arrived(given, time.Now()) })
	return x.repeat(ctx, &repetition{loop: LoopStartReady, until: until, hinted: true, hints: slices.Clone(given)})
}

// startDue starts what is due of a repetition's hints, adds to its result and returns how many were started. Those that there
// is no room for are kept.
func (x *Executor) startDue(ctx context.Context, r *repetition) (started int) {
	now := time.Now()
	r.hints = append(r.hints, x.ownHints()...)
	known := x.local.hinted()
	var due []Hint
	r.hints = slices.DeleteFunc(r.hints, func(h Hint) bool {
		if h.DueAt.After(now) {
			return false
		}
		if h.DueAt.IsZero() || now.Sub(h.DueAt) <= known.time {
			due = append(due, h)
		} else {
			r.owes = true
		}
		return true
	})
	if len(due) == 0 {
		return 0
	}
	ids := make([]string, len(due))
	for i, h := range due {
		ids[i] = h.ID
	}
	result, err := x.StartIDs(ctx, ids)
	if err != nil {
		x.log.WarnContext(ctx, "hinted executions are left to the ready queue", logError, err)
		r.owes = true
	} else {
		r.hints = append(r.hints, due[len(due)-result.untried:]...)
	}
	r.total.Done += result.Done
	r.total.Lost += result.Lost
	return result.Done
}

// keepHint takes a hint of what this executor ran and put back into the queue. The stream's hint of it waits behind the very
// invocation that this executor is.
func (x *Executor) keepHint(e *Execution, ev Event) {
	if back, is := ev.(GiveBack); is && back.Unknown || e.Queue != QueueReady {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.brief {
		x.own = append(x.own, Hint{e.ID, e.DueAt})
		x.expects(e.DueAt)
	}
}

// ownHints returns what keepHint has taken since the last call.
func (x *Executor) ownHints() []Hint {
	x.mu.Lock()
	defer x.mu.Unlock()
	own := x.own
	x.own = nil
	return own
}

// waitsForRoom reports whether a hint is due that there was no room for.
func (r *repetition) waitsForRoom(now time.Time) bool {
	return slices.ContainsFunc(r.hints, func(h Hint) bool { return !h.DueAt.After(now) })
}

// dueBy returns up to which due time a look at the queue takes executions; zero for all that are due. While hints are under
// way it leaves out what became due a moment ago, for whose hint there is still time. But it takes what an earlier look
// showed as due later: whoever had the hint of that may not have waited for it.
func (r *repetition) dueBy(known hints, now time.Time) time.Time {
	if !known.underWay(now) {
		return time.Time{}
	}
	by := now.Add(-known.time)
	if r.awaited.After(by) && !r.awaited.After(now) {
		by = r.awaited
	}
	return Millis(by)
}

// nextHint returns when the first of a repetition's hints is due; zero when there is none.
func (r *repetition) nextHint() time.Time {
	var next time.Time
	for _, h := range r.hints {
		next = earlier(next, h.DueAt)
	}
	return next
}

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
	DueAt time.Time
	// WrittenAt is when the record was written that the hint is about; zero when that is not known.
	WrittenAt time.Time
}

// staleHint is how old a hint may be to be acted on. By then somebody who saw the execution in the queue has taken it,
// and a claim that fails is billed; or the queue shows it, and it is found there.
const staleHint = 5 * time.Second

// StartHinted starts the executions that hints name, without a look at the queue, and goes on as Repeat does for
// LoopStartReady while there is work. It is for an invocation that others wait behind: it returns as soon as nothing
// runs that it started and nothing is due. A hint of an execution that somebody else has, that is finished or does not
// exist does no harm. What is due later, but before until, is waited for when a hint said so or the executor itself put
// it, and not when only the queue shows it: whoever has the hint of that waits already.
func (x *Executor) StartHinted(ctx context.Context, hints []Hint, until time.Time) (Result, error) {
	x.mu.Lock()
	x.brief = true
	x.mu.Unlock()
	now := time.Now()
	hints = slices.DeleteFunc(slices.Clone(hints), func(h Hint) bool {
		return !h.WrittenAt.IsZero() && now.Sub(h.WrittenAt) > staleHint && !h.DueAt.After(now)
	})
	return x.repeat(ctx, &repetition{loop: LoopStartReady, pass: x.StartReady, until: until, hinted: true, hints: hints})
}

// startDue starts what is due of a repetition's hints, and adds to its result. What there is no room for is left to the
// queue.
func (x *Executor) startDue(ctx context.Context, r *repetition) {
	now := time.Now()
	var ids []string
	r.hints = slices.DeleteFunc(r.hints, func(h Hint) bool {
		if h.DueAt.After(now) {
			return false
		}
		ids = append(ids, h.ID)
		return true
	})
	if len(ids) == 0 {
		return
	}
	result, err := x.StartIDs(ctx, ids)
	if err != nil {
		x.log.WarnContext(ctx, "hinted executions are left to the ready queue", logError, err)
	}
	r.total.Done += result.Done
	r.total.Lost += result.Lost
}

// nextHint returns when the first of a repetition's hints is due; zero when there is none.
func (r *repetition) nextHint() time.Time {
	var next time.Time
	for _, h := range r.hints {
		next = earlier(next, h.DueAt)
	}
	return next
}

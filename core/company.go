package core

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"
)

// Code that kills its process takes along whatever runs beside it, and nobody can tell which of them it was. So what was
// recovered runs apart, with fewer and fewer beside it each time, and at last alone: only the crash of an attempt that ran
// alone fails an execution for good, and what ran beside it has come to its own end by then. An execution that was
// recovered is therefore never claimed together with others: a claim leaves it alone, the executor waits until few enough
// run here, taking no new work for it, and claims it then. While nothing crashes, none of this costs anything.

const (
	// drainWithin is the time within which an executor begins to take no new work for what has to run apart, if that has
	// not found its place by then. It is drawn at random, so that of several executors one is first.
	drainWithin = 5 * time.Second
	// apartCheck is how often an executor looks whether others took what waits in it to run apart.
	apartCheck = time.Second
)

// company is who runs beside whom in an executor, apart from the slots, which say how many attempts there are. It is
// guarded by the executor's mu.
type company struct {
	parents   int         // parents that are processed, finalize functions included, which hold no slot
	recovered map[int]int // how many that were recovered are here, by their recoveries
	waiting   []*outsider // sorted: fewest recoveries first, then first come
	keeping   bool        // keepApart is at work
	changed   chan struct{}
}

// outsider is an execution that waits in an executor to run apart. Nobody holds it.
type outsider struct {
	e     *Execution
	times int       // its recoveries
	drain time.Time // when the executor begins to take no new work for it
}

// isParent reports whether its processing was recovered, and not an attempt.
func (o *outsider) isParent() bool { return o.e.Family != nil }

// beside returns how many may run beside what was recovered so many times.
func (x *Executor) beside(times int) int {
	switch left := x.cfg.MaxRecoveries - times; {
	case times == 0:
		return math.MaxInt
	case left <= 0:
		return 0
	default:
		return 1 << min(left, 30)
	}
}

// mostBeside returns how many may run beside any of those that are here. The caller holds x.mu, as of all below that say
// nothing else.
func (x *Executor) mostBeside() int {
	most := math.MaxInt
	for times := range x.company.recovered {
		most = min(most, x.beside(times))
	}
	return most
}

// present returns how many run here, or may do so any moment.
func (x *Executor) present() int {
	slots := x.cfg.Concurrency
	if x.sweepOnly {
		slots = 0
	}
	return slots - x.free + x.company.parents
}

// places returns how many more may begin here that were not recovered.
func (x *Executor) places() int {
	if x.draining(time.Now()) {
		return 0
	}
	most := x.mostBeside()
	if most == math.MaxInt {
		return most
	}
	return max(0, most+1-x.present())
}

// draining reports whether the executor takes no new work, for something that has to run apart.
func (x *Executor) draining(now time.Time) bool {
	return slices.ContainsFunc(x.company.waiting, func(o *outsider) bool { return !now.Before(o.drain) })
}

// join and part note that something that was recovered, or not, is here and is not any more.
func (x *Executor) join(times int) {
	if times == 0 {
		return
	}
	if x.company.recovered == nil {
		x.company.recovered = map[int]int{}
	}
	x.company.recovered[times]++
}

func (x *Executor) part(times int) {
	if times == 0 {
		return
	}
	if x.company.recovered[times]--; x.company.recovered[times] == 0 {
		delete(x.company.recovered, times)
	}
}

// parted is part for a caller that does not hold x.mu.
func (x *Executor) parted(times int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.part(times)
}

// reserveParents takes places for the processing of at most n parents that were not recovered, and returns how many.
// It takes x.mu.
func (x *Executor) reserveParents(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n = min(n, x.places())
	x.company.parents += n
	return n
}

// reserveFinalizer takes a place for a finalize function outside of a sweep. There is none while anything has to run apart:
// the function is left to a sweep then. It takes x.mu.
func (x *Executor) reserveFinalizer() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.company.recovered)+len(x.company.waiting) > 0 {
		return false
	}
	x.company.parents++
	return true
}

// releaseParents gives places of parents back, of which each was recovered so many times. It takes x.mu.
func (x *Executor) releaseParents(ctx context.Context, n, times int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.company.parents -= n
	x.part(times)
	x.makesRoom(context.WithoutCancel(ctx))
}

// makesRoom gives the room that there is to what waits to run apart, and tells the loop that starts attempts about what is
// left. It decides under the lock, because the goroutines that it wakes would race for the room.
func (x *Executor) makesRoom(ctx context.Context) {
	if len(x.company.waiting) > 0 {
		if chosen := x.takeApart(); len(chosen) > 0 {
			x.work.Go(func() { x.startChosen(ctx, chosen) }) // keepApart is at work as long as something waits
		}
		select {
		case x.company.changed <- struct{}{}:
		default:
		}
	}
	x.feed()
}

// makeWay gives back some of what a claim has just brought, so that an execution that has to run apart can start, and
// returns what is kept. Without it, such an execution would never start where invocations are short and new work keeps
// coming: each executor would be near its end by the time everything else in it has ended. It takes x.mu.
func (x *Executor) makeWay(ctx context.Context, claimed, recovered []*Execution) (kept []*Execution) {
	kept = claimed[:len(claimed)-x.inTheWay(claimed, recovered)]
	_ = inParallel(context.WithoutCancel(ctx), claimed[len(kept):], func(ctx context.Context, e *Execution) error {
		if err := x.giveBack(ctx, e, time.Duration(x.cfg.Random()*float64(drainWithin))); err != nil {
			about(x.log, e).WarnContext(ctx, "could not give an attempt back so that another can run apart: it is left to the sweeps", logError, err)
		}
		x.parted(e.Recoveries)
		x.release(ctx)
		return nil
	})
	return kept
}

// inTheWay returns how many of those claimed makeWay gives back. It is 0 where something else runs here already, because
// giving back would not be enough. It takes x.mu.
func (x *Executor) inTheWay(claimed, recovered []*Execution) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.deadline.IsZero() || len(recovered) == 0 || x.present() > len(claimed) {
		return 0
	}
	first := slices.MinFunc(recovered, func(a, b *Execution) int { return cmp.Compare(a.Recoveries, b.Recoveries) })
	others, left := time.Duration(0), x.left(time.Now())
	for _, e := range claimed {
		others = max(others, e.Timeout)
	}
	if first.Timeout > left || first.Timeout+others <= left {
		return 0
	}
	return max(0, len(claimed)-x.beside(first.Recoveries))
}

// runApart has executions run apart that a claim left alone, as soon as they may. It takes x.mu.
func (x *Executor) runApart(ctx context.Context, recovered []*Execution) (started int) {
	if len(recovered) == 0 || !x.begin() {
		return 0
	}
	defer x.work.Done()
	now := time.Now()
	x.mu.Lock()
	for _, e := range recovered {
		o := &outsider{e: e, times: e.Recoveries, drain: now.Add(time.Duration(x.cfg.Random() * float64(drainWithin)))}
		if o.isParent() {
			o.times = e.Family.Recoveries
		}
		known := slices.ContainsFunc(x.company.waiting, func(other *outsider) bool { return other.e.ID == e.ID })
		if !known && (o.isParent() || e.Timeout <= x.left(now)) {
			x.company.waiting = append(x.company.waiting, o)
		}
	}
	slices.SortStableFunc(x.company.waiting, func(a, b *outsider) int { return cmp.Compare(a.times, b.times) })
	x.mu.Unlock()
	background := context.WithoutCancel(ctx)
	started = x.startApart(background)
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.company.waiting) > 0 && !x.company.keeping {
		x.company.keeping = true
		x.work.Go(func() { x.keepApart(background) })
	}
	return started
}

// keepApart starts what waits to run apart whenever something has ended here, until nothing waits. It takes x.mu.
func (x *Executor) keepApart(ctx context.Context) {
	ticker := time.NewTicker(apartCheck)
	defer ticker.Stop()
	for x.keepsWaiting(time.Now()) {
		select {
		case <-x.company.changed:
		case <-x.closing:
		case <-ticker.C:
			x.dropTaken(ctx)
		}
		x.startApart(ctx)
	}
}

// keepsWaiting drops what can wait no longer, and reports whether something still waits. It takes x.mu.
func (x *Executor) keepsWaiting(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.company.waiting = slices.DeleteFunc(x.company.waiting, func(o *outsider) bool {
		left := x.left(now)
		return x.shuttingDown() || left <= 0 || !o.isParent() && o.e.Timeout > left
	})
	x.company.keeping = len(x.company.waiting) > 0
	if !x.company.keeping {
		x.feed()
	}
	return x.company.keeping
}

// dropTaken drops what others took meanwhile. It takes x.mu.
func (x *Executor) dropTaken(ctx context.Context) {
	x.mu.Lock()
	waiting := slices.Clone(x.company.waiting)
	x.mu.Unlock()
	ids := make([]string, len(waiting))
	for i, o := range waiting {
		ids[i] = o.e.ID
	}
	found, err := x.cfg.Store.Get(ctx, ids, Filter{})
	if err != nil {
		x.log.WarnContext(ctx, "look for what has to run apart", logError, err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, o := range waiting {
		if e := found[i]; e == nil || e.Rev != o.e.Rev {
			x.company.waiting = slices.DeleteFunc(x.company.waiting, func(other *outsider) bool { return other == o })
		}
	}
}

// startApart starts as many of those that wait as may run here now. It takes x.mu.
func (x *Executor) startApart(ctx context.Context) (started int) {
	x.mu.Lock()
	chosen := x.takeApart()
	x.mu.Unlock()
	return x.startChosen(ctx, chosen)
}

// startChosen starts those for which takeApart took room. It takes x.mu.
func (x *Executor) startChosen(ctx context.Context, chosen []*outsider) (started int) {
	var attempts []*outsider
	for _, o := range chosen {
		if !o.isParent() {
			attempts = append(attempts, o)
			continue
		}
		x.work.Go(func() {
			if err := x.processApart(ctx, o); err != nil {
				about(x.log, o.e).WarnContext(ctx, "parent is left to the sweeps", logError, err)
			}
		})
	}
	return len(chosen) - len(attempts) + x.claimApart(ctx, attempts)
}

// takeApart takes those out that may run here now, and takes room for them.
func (x *Executor) takeApart() (chosen []*outsider) {
	if x.shuttingDown() {
		return nil
	}
	slots, now := x.slots(), Millis(time.Now())
	x.company.waiting = slices.DeleteFunc(x.company.waiting, func(o *outsider) bool {
		switch {
		case x.present() > min(x.mostBeside(), x.beside(o.times)) && !o.e.over(now): // one that is over runs no code
			return false
		case o.isParent():
			x.company.parents++
		case slots == 0:
			return false
		default:
			x.free--
			slots--
		}
		x.join(o.times)
		chosen = append(chosen, o)
		return true
	})
	return chosen
}

// enterApart is takeApart for one parent that does not wait.
func (x *Executor) enterApart(times int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shuttingDown() || len(x.company.waiting) > 0 || x.present() > min(x.mostBeside(), x.beside(times)) {
		return false
	}
	x.company.parents++
	x.join(times)
	return true
}

// below returns the bound of a claim of what was recovered so many times at most, and runs beside as many as that allows.
func (x *Executor) below(times int) int {
	if x.beside(times) == 0 {
		return 0
	}
	return times + 1
}

// claimApart claims executions for which room is taken, and runs them. It takes x.mu.
func (x *Executor) claimApart(ctx context.Context, attempts []*outsider) int {
	if len(attempts) == 0 {
		return 0
	}
	now, extra := Millis(time.Now()), x.extra()
	ids := make([]string, len(attempts))
	most := 0
	for i, o := range attempts {
		ids[i], most = o.e.ID, max(most, o.times)
	}
	swept, err := x.cfg.Store.ClaimReady(ctx, ReadyClaim{
		Now: now, Limit: len(ids), ExecutorID: x.id, Left: x.left(now), Most: x.cfg.Limits.Timeout, Leeway: x.cfg.Leeway + extra,
		IDs: ids, RecoveredBelow: x.below(most),
	})
	x.timed(ctx, now)
	if err != nil {
		x.log.WarnContext(ctx, "what has to run apart is left to the ready queue", logError, err)
	}
	claimed := map[string]*Execution{}
	for _, e := range swept.Executions {
		claimed[e.ID] = e
	}
	for _, o := range attempts {
		e := claimed[o.e.ID]
		if e == nil {
			x.parted(o.times)
			x.release(ctx)
			continue
		}
		x.mu.Lock()
		x.part(o.times) // it may have got on meanwhile
		x.join(e.Recoveries)
		x.mu.Unlock()
		x.work.Go(func() { x.run(ctx, e) })
	}
	return len(swept.Executions)
}

// processApart processes a parent for which a place is taken.
func (x *Executor) processApart(ctx context.Context, o *outsider) error {
	defer x.releaseParents(ctx, 1, o.times)
	claimed, err := x.follow.apply(ctx, o.e, ClaimChildren{
		ExecutorID: x.id, ExpiresAt: x.leaseEnd(time.Now()), RecoveredBelow: x.below(o.times),
	})
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotAllowed) || errors.Is(err, ErrNotFound) {
		return nil // somebody else was faster
	}
	if err != nil {
		return err
	}
	return x.processParent(ctx, claimed)
}

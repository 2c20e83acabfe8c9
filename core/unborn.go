package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A child that its parent's executor has room for need not exist before it runs: the parent's commitment has all that
// is needed to make it, and the parent's entry makes somebody do so when the executor is lost. So such a child is put
// once, as what its attempt came to: finished, closed and without an entry of its own, for its parent's entry stays
// until it is counted. A child whose code takes longer is put as running, under a lease like any other.

// putAfter is how long a child's code may run before the child is put as running. It is also how soon some code must
// end for children that wait for room unborn; else they are put as ready, for whoever has room.
const putAfter = 500 * time.Millisecond

// brood is what becomes of the children that a commitment left unborn. Those that finish are counted together when the
// last of them exists.
type brood struct {
	// ended is called once every child exists or is left to the spawn check.
	ended func(parent *Execution, finished []int, failed bool)

	mu       sync.Mutex
	parent   *Execution // as this executor wrote it last
	pending  int        // unborn children, and the commitment itself until it has dealt with the others
	finished []int      // indexes of children that are finished and closed, but not counted
	failed   bool       // one is left to the spawn check
	foreign  bool       // somebody else has put one
}

// fate is what became of an unborn child.
type fate int

const (
	exists fate = iota // unfinished, or followed up by itself
	finishes
	failsToExist // it is left to the spawn check
	foreign      // somebody else has put it: the parent is finished, or its check was due, which is left to look once more
)

// settle notes what became of children that were pending.
func (b *brood) settle(f fate, indexes ...int) {
	b.mu.Lock()
	b.pending -= len(indexes)
	switch f {
	case exists:
	case finishes:
		b.finished = append(b.finished, indexes...)
	case failsToExist:
		b.failed = true
	case foreign:
		b.foreign, b.failed = true, true
	}
	last, parent, finished, failed := b.pending == 0, b.parent, b.finished, b.failed
	b.mu.Unlock()
	if last {
		b.ended(parent, finished, failed)
	}
}

// family returns the parent as this executor wrote it last.
func (b *brood) family() *Execution {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parent
}

// abandoned reports whether somebody else has put one of these children.
func (b *brood) abandoned() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.foreign
}

// unbornChild waits for room.
type unbornChild struct {
	child *Execution // as ready
	brood *brood
}

// enqueueUnborn makes children wait for room, first come, first served.
func (x *Executor) enqueueUnborn(ctx context.Context, children []*Execution, b *brood) {
	if len(children) == 0 {
		return
	}
	x.work.Add(len(children))
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, child := range children {
		x.patient = append(x.patient, unbornChild{child, b})
	}
	if !x.pacing {
		x.pacing, x.givenAway = true, 0
		x.work.Go(func() { x.keepPace(ctx) })
	}
}

// keepPace puts children that have waited for room long enough, until none waits.
func (x *Executor) keepPace(ctx context.Context) {
	ticker := time.NewTicker(putAfter)
	defer ticker.Stop()
	closing := x.closing
	for {
		select {
		case <-ticker.C:
		case <-closing:
			closing = nil
		}
		x.postponeChecks(ctx, time.Now())
		late, left := x.takeLate(time.Now())
		for _, siblings := range grouped(late, func(w unbornChild) *brood { return w.brood }) {
			children := make([]*Execution, len(siblings))
			for i, w := range siblings {
				children[i] = w.child
			}
			x.putLate(ctx, siblings[0].brood, children)
		}
		if !left {
			return
		}
	}
}

// postponeChecks keeps others from making the children that wait here, as long as these are taken at pace: it writes
// a parent whose check is near, each time for as long again as its children have waited, and for what a slow store takes. So
// a crash delays them by little more than they were late already.
func (x *Executor) postponeChecks(ctx context.Context, now time.Time) {
	extra := x.extra()
	_ = inParallel(ctx, x.nearChecks(now, extra), func(ctx context.Context, b *brood) error {
		parent := b.family()
		after, err := x.follow.apply(ctx, parent, PostponeCheck{CheckAt: x.postponed(parent, now, extra)})
		if err != nil {
			return nil //nolint:nilerr // its children are put in time
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.parent = after
		return nil
	})
}

// nearChecks returns the broods of waiting children whose parents' checks are so near that they could not wait on, once the
// store has taken its time for a write as well.
func (x *Executor) nearChecks(now time.Time, extra time.Duration) []*brood {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stuck() || x.shuttingDown() {
		return nil
	}
	seen := map[*brood]bool{}
	var near []*brood
	for _, w := range x.patient {
		if seen[w.brood] {
			continue
		}
		seen[w.brood] = true
		family := w.brood.family()
		if x.keepUntil(now.Add(x.cfg.SpawnCheck/2+extra)).After(family.DueAt) && family.by(x.postponed(family, now, extra)).After(family.DueAt) {
			near = append(near, w.brood)
		}
	}
	return near
}

// postponed returns the time to which a parent's check is postponed.
func (x *Executor) postponed(parent *Execution, now time.Time, extra time.Duration) time.Time {
	return now.Add(x.cfg.SpawnCheck + 2*extra + now.Sub(parent.WaitingForChildrenAt))
}

// stuck reports whether children wait for code to end: no room was given away since the last look, and all of it is
// held by attempts whose code runs. When some of it is held by attempts that are being written, the store is slow, for
// everybody, and putting the children early would not help. The caller holds x.mu.
func (x *Executor) stuck() bool {
	return x.taken == 0 && x.coding+x.abandoned >= x.cfg.Concurrency-x.free && !x.slow()
}

// takeLate takes those children out that wait too long, and reports whether others go on waiting. When no
// code ends it takes as many as have room, twice as many at each further look: a hiccup costs little, long code is
// soon spread over other executors.
func (x *Executor) takeLate(now time.Time) (late []unbornChild, left bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stuck() {
		x.givenAway = min(max(x.cfg.Concurrency, 2*x.givenAway), len(x.patient))
	} else {
		x.givenAway = 0
	}
	give := x.givenAway
	if x.shuttingDown() {
		give = len(x.patient)
	}
	x.taken = 0
	kept := x.patient[:0]
	for n, w := range x.patient {
		if n >= give && x.mayWait(w.brood.family(), w.child, now) {
			kept = append(kept, w)
		} else {
			late = append(late, w)
		}
	}
	clear(x.patient[len(kept):])
	x.patient = kept
	x.pacing = len(kept) > 0
	return late, x.pacing
}

// putLate puts children as ready that no room was found for.
func (x *Executor) putLate(ctx context.Context, b *brood, children []*Execution) {
	defer x.work.Add(-len(children))
	parent := b.family()
	err := x.follow.putChildren(ctx, parent, children)
	if err != nil {
		about(x.log, parent).WarnContext(ctx, "children are left to their parent's check", logError, err)
	} else {
		x.startChildren(ctx, children)
	}
	f := exists
	if err != nil {
		f = failsToExist
	}
	for _, child := range children {
		b.settle(f, child.Parent.Index)
	}
}

// startPatients gives the room that there is to the children that have waited longest for it. The caller has taken the first
// of them with takePatient, which told whether one waits.
func (x *Executor) startPatients(ctx context.Context, first unbornChild, waits bool) {
	for w := first; waits; w, waits = x.nextPatient() {
		if w.brood.abandoned() {
			x.unreserve()
			w.brood.settle(failsToExist, w.child.Parent.Index)
			x.work.Done()
			continue
		}
		now := time.Now()
		if x.startable(w.child, now) && x.mayWait(w.brood.family(), w.child, now) {
			if started := x.begun(w.child, now); started != nil {
				go func() {
					defer x.work.Done()
					x.runUnborn(ctx, started, w.brood)
				}()
				continue
			}
		}
		x.unreserve()
		go x.putLate(ctx, w.brood, []*Execution{w.child})
	}
}

// unreserve gives back a slot that was not used.
func (x *Executor) unreserve() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.free++
}

// nextPatient is takePatient for a caller that does not hold x.mu.
func (x *Executor) nextPatient() (w unbornChild, waits bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.takePatient()
}

// takePatient returns the child that has waited longest, and takes a slot for it. The caller holds x.mu, under which the
// slot has become free: nobody else gets it first.
func (x *Executor) takePatient() (w unbornChild, waits bool) {
	if len(x.patient) == 0 || x.room() == 0 {
		return w, false
	}
	x.free--
	w = x.patient[0]
	x.patient[0] = unbornChild{}
	x.patient = x.patient[1:]
	x.taken++
	return w, true
}

// unborn is a child that runs without a record.
type unborn struct {
	brood *brood
	turn  chan struct{} // has its one element while nobody puts it
	state birth
}

type birth int

const (
	notPut    birth = iota
	maybePut        // by this executor; its write got no answer
	putHere         // by this executor
	putByElse       // somebody else put it
)

// errPutByElse is the error of a child that somebody else has put, such as whoever cancelled its parent.
var errPutByElse = fmt.Errorf("somebody else put it: %w", ErrConflict)

// mayWait reports whether a parent's child may be put later than it starts: it has no children of its own, and for
// long enough nobody else will make it.
func (x *Executor) mayWait(parent, child *Execution, now time.Time) bool {
	def, known := x.cfg.Registry.lookup(child.TaskID)
	return known && !def.parent && def.sequence == nil && def.sleepKey == nil && child.RedriveOf == "" &&
		parent.Queue == QueueParent && !x.keepUntil(now).After(parent.DueAt)
}

// keepUntil returns before which time the check of a family must not be due whose children may be put later than
// they start.
func (x *Executor) keepUntil(now time.Time) time.Time { return now.Add(x.cfg.Leeway + 4*putAfter) }

// runUnborn is run for a child that is not put yet.
func (x *Executor) runUnborn(ctx context.Context, e *Execution, b *brood) {
	u := &unborn{brood: b, turn: make(chan struct{}, 1)}
	u.turn <- struct{}{}
	x.mu.Lock()
	x.unborn[e.ID] = u
	x.mu.Unlock()
	x.work.Add(1)
	timer := time.AfterFunc(putAfter, func() {
		defer x.work.Done()
		x.putRunning(ctx, e, u)
	})
	x.run(ctx, e)
	if timer.Stop() {
		x.work.Done()
	}
	x.mu.Lock()
	delete(x.unborn, e.ID)
	x.mu.Unlock()
	<-u.turn
	defer func() { u.turn <- struct{}{} }()
	if u.state == notPut || u.state == maybePut {
		u.state = putByElse
		b.settle(failsToExist, e.Parent.Index)
	}
}

// putRunning puts a child whose code is still running, or ends the code when that cannot be done.
func (x *Executor) putRunning(ctx context.Context, e *Execution, u *unborn) {
	<-u.turn
	defer func() { u.turn <- struct{}{} }()
	if u.state != notPut {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*putAfter)
	defer cancel()
	cause := ErrCancelled
	own := *e // the code's input is read meanwhile, and the store may tell where it is kept
	switch err := x.follow.insert(ctx, &own); {
	case err == nil:
		u.state = putHere
		u.brood.settle(exists, e.Parent.Index)
		return
	case errors.Is(err, ErrAlreadyExists):
		u.state = putByElse
		u.brood.settle(foreign, e.Parent.Index)
	default:
		u.state = maybePut
		cause = fmt.Errorf("%w: the execution's record could not be written: %w", ErrShutdown, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelRunning(e.ID, cause)
}

// bear writes what ev makes of a child that is not put yet. It reports false for an execution that is.
func (x *Executor) bear(ctx context.Context, e *Execution, ev Event) (_ *Execution, unput bool, _ error) {
	x.mu.Lock()
	u := x.unborn[e.ID]
	x.mu.Unlock()
	if u == nil {
		return nil, false, nil
	}
	<-u.turn
	defer func() { u.turn <- struct{}{} }()
	switch u.state {
	case putHere:
		return nil, false, nil
	case putByElse:
		return nil, true, errPutByElse
	case notPut, maybePut:
	}
	now := time.Now()
	after, err := Transition(e, ev, now)
	if err == nil && after.Status.Finished() {
		after, err = Transition(after, Close{}, now)
	}
	if err != nil {
		return nil, true, err
	}
	after.Rev, after.Nonce = e.Rev, NewNonce()
	switch err := x.follow.insert(ctx, after); {
	case errors.Is(err, ErrAlreadyExists) && u.state == maybePut:
		// Whatever is there is at its first revision, whoever put it: this executor, or somebody who cancelled it.
		there, err := getOne(ctx, x.cfg.Store, e.ID)
		if err != nil {
			return nil, true, fmt.Errorf("read child %s after its put got no answer: %w", e.ID, err)
		}
		if there.ExecutorID != x.id {
			u.state = putByElse
			u.brood.settle(foreign, e.Parent.Index)
			return nil, true, errPutByElse
		}
		if there.Status.Finished() {
			return nil, true, fmt.Errorf("child %s has ended already: %w", e.ID, ErrConflict) // the parent's check counts it
		}
		u.state = putHere
		u.brood.settle(exists, e.Parent.Index)
		return nil, false, nil
	case errors.Is(err, ErrAlreadyExists):
		u.state = putByElse
		u.brood.settle(foreign, e.Parent.Index)
		return nil, true, errPutByElse
	case err != nil:
		u.state = maybePut // nobody else here may take the record for somebody else's
		return nil, true, fmt.Errorf("put child %s after %s: %w", e.ID, ev.name(), err)
	}
	u.state = putHere
	if !after.Status.Finished() {
		u.brood.settle(exists, e.Parent.Index)
	} else {
		x.cfg.Observer.finished(ctx, after)
	}
	x.local.wrote(after)
	return after, true, nil
}

// ended follows up an execution whose attempt has finished it.
func (x *Executor) ended(ctx context.Context, e *Execution) error {
	if e.CloseStatus != CloseClosed || !e.Counts() {
		return x.follow.followUp(ctx, e)
	}
	x.mu.Lock()
	u := x.unborn[e.ID]
	x.mu.Unlock()
	if e.Parent.Siblings > 0 {
		u.brood.settle(finishes, e.Parent.Index)
		return nil
	}
	defer u.brood.settle(exists, e.Parent.Index)
	if err := x.follow.tellParent(ctx, e); err != nil {
		return fmt.Errorf("tell the parent of execution %s: %w", e.ID, err)
	}
	return nil
}

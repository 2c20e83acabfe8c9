package simtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// link is the way of one process to the store. Every record of an operation goes by itself, takes its time, may be lost or
// late on the way, and meets a clock that is not the process's own.
//
// What becomes of an operation depends on the seed, on what the operation is and on how often the process has done it
// before, and not on when it is done. No two operations take effect at the same nanosecond, so the seed decides their
// order as well, whichever order goroutines are run in.
type link struct {
	core.Store // of List alone, which the engine does not use
	sim        *simulation
	process    string
	plan       slotPlan
	skew       time.Duration // how far the process's clock is behind the store's
	died       chan struct{}

	mu   sync.Mutex
	done map[string]int // operations, by what they are
	dead bool
}

var _ core.Store = (*link)(nil)

var errDead = errors.New("simtest: the process is dead")

// kill ends the process: nothing that it does from now on takes effect, but for what is on its way.
func (l *link) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		close(l.died)
	}
}

// naming returns what an operation on executions is called.
func (l *link) naming(op string, ids ...string) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = l.sim.names.Of(id)
	}
	slices.Sort(names)
	return strings.Join(append([]string{op}, names...), " ")
}

// draw returns the operation's random numbers and its name in the log.
func (l *link) draw(op string) (*rand.Rand, string, error) {
	name := l.process + " " + op
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, "", errDead
	}
	l.done[name]++
	name = fmt.Sprintf("%s #%d", name, l.done[name])
	return l.sim.rand(name), name, nil
}

// rand returns random numbers that depend on the seed and a name alone.
func (s *simulation) rand(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))                    // a hash takes everything
	return rand.New(rand.NewPCG(s.seed, h.Sum64())) //nolint:gosec // a simulation needs no secret
}

// latency is how long a message is on its way: 1 to 16 ms, to the nanosecond.
func latency(r *rand.Rand) time.Duration {
	return time.Millisecond + time.Duration(r.Int64N(int64(15*time.Millisecond)))
}

// fate is what becomes of an operation.
type fate struct {
	text                    string
	lost, unanswered, twice bool
	refused, dies           bool
	late                    time.Duration
}

// fate draws what becomes of an operation.
func (s *simulation) fate(r *rand.Rand) fate {
	w := s.weather()
	switch p := r.Float64(); {
	case p < w.fault:
		switch r.IntN(6) {
		case 0, 1:
			return fate{text: " lost", lost: true}
		case 2:
			return fate{text: " unanswered", unanswered: true}
		case 3:
			return fate{text: " refused", refused: true}
		case 4:
			return fate{text: " twice", twice: true}
		}
		return fate{text: " late", late: time.Duration(r.Int64N(int64(90 * time.Second)))}
	case p < w.fault+w.crash:
		return fate{text: " dies", dies: true}
	}
	return fate{}
}

var errThrottled = errors.New("simtest: throttled")

// send does one operation. apply makes it take effect and returns its answer; it is called after send has returned when
// the caller does not wait any longer, and twice when somebody on the way repeats it.
func send[T any](ctx context.Context, l *link, op string, apply func() T) (T, error) {
	var none T
	r, name, err := l.draw(op)
	if err != nil {
		return none, err
	}
	there, back := latency(r)+l.plan.frozen(l.sim.now()), latency(r)
	f := l.sim.fate(r)
	unknown := fmt.Errorf("simtest: %s:%s: %w", name, f.text, core.ErrUnknownOutcome)
	answer := make(chan T, 1)
	failed := make(chan error, 1)
	l.sim.requests.Go(func() {
		time.Sleep(there + f.late)
		l.sim.note(name, f.text)
		switch {
		case f.lost:
			time.Sleep(back)
			failed <- unknown
			return
		case f.refused:
			time.Sleep(back)
			failed <- errThrottled
			return
		}
		out := apply()
		switch {
		case f.dies:
			l.sim.crash(l.process)
			return
		case f.twice:
			time.Sleep(back)
			l.sim.note(name, " again")
			out = apply()
		}
		time.Sleep(back)
		if f.unanswered {
			failed <- unknown
			return
		}
		answer <- out
	})
	select {
	case out := <-answer:
		return out, nil
	case err := <-failed:
		return none, err
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", core.ErrUnknownOutcome, context.Cause(ctx))
	case <-l.died:
		return none, errDead
	}
}

// inTurn returns an observer that makes a process take a moment of its own for everything that it tells of, so that
// goroutines which one answer sets going do not compete at the same nanosecond for what they share.
func (l *link) inTurn() core.Observer {
	turn := func(what, id string) {
		if r, _, err := l.draw(l.naming(what, id)); err == nil {
			time.Sleep(time.Duration(r.Int64N(int64(time.Millisecond))))
		}
	}
	return core.Observer{
		AttemptStarted: func(ctx context.Context, a core.AttemptStarted) context.Context {
			turn("begins", a.Execution.ID)
			return ctx
		},
		AttemptEnded: func(_ context.Context, a core.AttemptEnded) { turn("ended", a.Execution.ID) },
		Finished:     func(_ context.Context, e *core.Execution) { turn("finished", e.ID) },
		Recovered:    func(_ context.Context, r core.Recovered) { turn("recovered", r.Execution.ID) },
		PassDone:     func(_ context.Context, p core.PassDone) { turn("passed", string(p.Loop)) },
	}
}

// each sends an operation on every item at once and returns the answers in their order.
func each[In, Out any](ctx context.Context, l *link, items []In, op func(In) string, apply func(In) Out, failed func(error) Out) []Out {
	answers := make([]Out, len(items))
	var group sync.WaitGroup
	for i, item := range items {
		group.Go(func() {
			out, err := send(ctx, l, op(item), func() Out { return apply(item) })
			if err != nil {
				out = failed(err)
			}
			answers[i] = out
		})
	}
	group.Wait()
	return answers
}

// shift returns a copy of a record with all its times moved by d; nil for none.
func shift(e *core.Execution, d time.Duration) *core.Execution {
	if e == nil {
		return nil
	}
	e = e.Clone()
	times := []*time.Time{
		&e.CreatedAt, &e.StartAt, &e.StartedAt, &e.ExpiresAt, &e.FinishBy, &e.WaitingForChildrenAt, &e.WaitingForFinalizeAt,
		&e.FinishedAt, &e.UpdatedAt, &e.UnknownSince, &e.CloseExpiresAt, &e.ClosedAt, &e.DueAt,
	}
	if e.Family != nil {
		times = append(times, &e.Family.ProcessingExpiresAt, &e.Family.ProcessedAt)
	}
	for _, t := range times {
		*t = moved(*t, d)
	}
	return e
}

func moved(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}

// toStore and fromStore translate a record between the process's clock and the store's.
func (l *link) toStore(e *core.Execution) *core.Execution {
	l.sim.names.Learn(e)
	return shift(e, l.skew)
}

func (l *link) fromStore(e *core.Execution) *core.Execution { return shift(e, -l.skew) }

func (l *link) all(records []*core.Execution) []*core.Execution {
	out := make([]*core.Execution, len(records))
	for i, e := range records {
		out[i] = l.fromStore(e)
	}
	return out
}

func (l *link) conflict(err error) error {
	var conflict *core.ConflictError
	if errors.As(err, &conflict) {
		return &core.ConflictError{Current: l.fromStore(conflict.Current)}
	}
	return err
}

func failure(err error) error { return err }

// kept gives a written record's payloads the Refs that the store gave to those of its copy.
func kept(e, copied *core.Execution) {
	pairs := [][2]*core.Payload{{&e.Input, &copied.Input}, {&e.RunOutput, &copied.RunOutput}, {&e.Output, &copied.Output}}
	if e.Failure != nil {
		from := copied.Failure.Payloads()
		for i, p := range e.Failure.Payloads() {
			pairs = append(pairs, [2]*core.Payload{p, from[i]})
		}
	}
	if e.Family != nil {
		pairs = append(pairs, [2]*core.Payload{&e.Family.Manifest, &copied.Family.Manifest})
	}
	for _, p := range pairs {
		p[0].Ref = p[1].Ref
	}
}

// Insert implements core.Store.
func (l *link) Insert(ctx context.Context, executions []*core.Execution) []error {
	own := make([]*core.Execution, len(executions))
	for i, e := range executions {
		own[i] = l.toStore(e)
	}
	errs := each(ctx, l, own, func(e *core.Execution) string { return l.naming("Insert", e.ID) }, func(e *core.Execution) error {
		return l.sim.store.Insert(ctx, []*core.Execution{e})[0]
	}, failure)
	for i, e := range executions {
		if errs[i] == nil {
			kept(e, own[i])
		}
	}
	return errs
}

// Update implements core.Store.
func (l *link) Update(ctx context.Context, updates []core.Update) []error {
	own := make([]core.Update, len(updates))
	for i, u := range updates {
		own[i] = core.Update{Before: l.toStore(u.Before), After: l.toStore(u.After)}
	}
	op := func(u core.Update) string {
		e := u.After
		return fmt.Sprintf("%s to %d %s %s %s", l.naming("Update", e.ID), e.Rev, e.Status, e.CloseStatus, e.Queue)
	}
	errs := each(ctx, l, own, op, func(u core.Update) error { return l.conflict(l.sim.store.Update(ctx, []core.Update{u})[0]) }, failure)
	for i, u := range updates {
		if errs[i] == nil {
			kept(u.After, own[i].After)
		}
	}
	return errs
}

// UpdateAndInsertChildren implements core.Store.
func (l *link) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	results := make([]core.SpawnResult, len(spawns))
	for i, spawn := range spawns {
		if results[i].Err = l.Update(ctx, []core.Update{spawn.Update})[0]; results[i].Err == nil {
			results[i].Children = l.Insert(ctx, spawn.Children)
		}
	}
	return results
}

// CountFinished implements core.Store.
func (l *link) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	op := func(c core.Count) string { return fmt.Sprint(l.naming("CountFinished", c.ParentID), " ", c.Indexes) }
	return each(ctx, l, counts, op, func(c core.Count) core.CountResult {
		r := l.sim.store.CountFinished(ctx, now.Add(l.skew), []core.Count{c})[0]
		return core.CountResult{Parent: l.fromStore(r.Parent), Err: r.Err}
	}, func(err error) core.CountResult { return core.CountResult{Err: err} })
}

// found is the answer of a read.
type found[T any] struct {
	out T
	err error
}

// ask sends a read, or a sweep.
func ask[T any](ctx context.Context, l *link, op string, read func() (T, error)) (T, error) {
	f, err := send(ctx, l, op, func() found[T] {
		out, err := read()
		return found[T]{out, err}
	})
	if err != nil {
		return f.out, err
	}
	return f.out, f.err
}

// Get implements core.Store.
func (l *link) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	return ask(ctx, l, l.naming("Get", ids...), func() ([]*core.Execution, error) {
		out, err := l.sim.store.Get(ctx, ids, filter)
		return l.all(out), err
	})
}

// GetBySleepKey implements core.Store.
func (l *link) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	return ask(ctx, l, l.naming("GetBySleepKey", keys...), func() ([]*core.Execution, error) {
		out, err := l.sim.store.GetBySleepKey(ctx, keys)
		return l.all(out), err
	})
}

// Load implements core.Store.
func (l *link) Load(ctx context.Context, payloads ...*core.Payload) error {
	var refs []core.Payload
	var places []*core.Payload
	for _, p := range payloads {
		if !p.Loaded() {
			refs, places = append(refs, *p), append(places, p)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	owners := make([]string, len(refs))
	for i, p := range refs {
		owners[i], _, _ = strings.Cut(p.Ref, "/")
	}
	loaded, err := ask(ctx, l, l.naming("Load", owners...), func() ([]core.Payload, error) {
		out := append([]core.Payload(nil), refs...)
		all := make([]*core.Payload, len(out))
		for i := range out {
			all[i] = &out[i]
		}
		return out, l.sim.store.Load(ctx, all...)
	})
	if err != nil {
		return err
	}
	for i, p := range places {
		p.Data = loaded[i].Data
	}
	return nil
}

// CheckSpawn implements core.Store.
func (l *link) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	parent = l.toStore(parent)
	return ask(ctx, l, l.naming("CheckSpawn", parent.ID), func() ([]int, error) { return l.sim.store.CheckSpawn(ctx, parent) })
}

// Children implements core.Store.
func (l *link) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	return ask(ctx, l, l.naming("Children", parentIDs...), func() ([][]*core.Execution, error) {
		families, err := l.sim.store.Children(ctx, parentIDs)
		for i := range families {
			families[i] = l.all(families[i])
		}
		return families, err
	})
}

// UpdateChildren implements core.Store.
func (l *link) UpdateChildren(ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time) ([]*core.Execution, error) {
	return ask(ctx, l, l.naming("UpdateChildren", parentID), func() ([]*core.Execution, error) {
		out, err := l.sim.store.UpdateChildren(ctx, parentID, finished, ev, now.Add(l.skew))
		return l.all(out), err
	})
}

// sweep sends a sweep.
func (l *link) sweep(ctx context.Context, op string, do func() (core.Swept, error)) (core.Swept, error) {
	return ask(ctx, l, op, func() (core.Swept, error) {
		swept, err := do()
		for _, e := range swept.Executions {
			l.sim.names.Learn(e)
		}
		swept.Executions, swept.NextDue = l.all(swept.Executions), moved(swept.NextDue, -l.skew)
		return swept, err
	})
}

func (l *link) bounds(s core.Sweep) core.Sweep {
	s.Now = s.Now.Add(l.skew)
	return s
}

func (l *link) claim(c core.Claim) core.Claim {
	c.Sweep, c.ExpiresAt = l.bounds(c.Sweep), c.ExpiresAt.Add(l.skew)
	return c
}

// ClaimReady implements core.Store.
func (l *link) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	c.Now = c.Now.Add(l.skew)
	return l.sweep(ctx, fmt.Sprintf("%s, at most %d", l.naming("ClaimReady", c.IDs...), c.Limit), func() (core.Swept, error) { return l.sim.store.ClaimReady(ctx, c) })
}

// ClaimChildrenFinished implements core.Store.
func (l *link) ClaimChildrenFinished(ctx context.Context, c core.Claim) (core.Swept, error) {
	return l.sweep(ctx, "ClaimChildrenFinished", func() (core.Swept, error) {
		return l.sim.store.ClaimChildrenFinished(ctx, l.claim(c))
	})
}

// MarkClosable implements core.Store.
func (l *link) MarkClosable(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "MarkClosable", func() (core.Swept, error) { return l.sim.store.MarkClosable(ctx, l.bounds(s)) })
}

// ClaimClosable implements core.Store.
func (l *link) ClaimClosable(ctx context.Context, c core.Claim) (core.Swept, error) {
	return l.sweep(ctx, "ClaimClosable", func() (core.Swept, error) { return l.sim.store.ClaimClosable(ctx, l.claim(c)) })
}

// ExpireRunning implements core.Store.
func (l *link) ExpireRunning(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "ExpireRunning", func() (core.Swept, error) { return l.sim.store.ExpireRunning(ctx, l.bounds(s)) })
}

// ExpireSleeping implements core.Store.
func (l *link) ExpireSleeping(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "ExpireSleeping", func() (core.Swept, error) { return l.sim.store.ExpireSleeping(ctx, l.bounds(s)) })
}

// ExpireChildrenFinished implements core.Store.
func (l *link) ExpireChildrenFinished(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "ExpireChildrenFinished", func() (core.Swept, error) {
		return l.sim.store.ExpireChildrenFinished(ctx, l.bounds(s))
	})
}

// ExpireClosing implements core.Store.
func (l *link) ExpireClosing(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "ExpireClosing", func() (core.Swept, error) { return l.sim.store.ExpireClosing(ctx, l.bounds(s)) })
}

// ClaimCancelled implements core.Store.
func (l *link) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	return ask(ctx, l, "ClaimCancelled", func() ([]*core.Execution, error) {
		out, err := l.sim.store.ClaimCancelled(ctx, executorID, now.Add(l.skew), limit)
		return l.all(out), err
	})
}

// ExpireCancelled implements core.Store.
func (l *link) ExpireCancelled(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return l.sweep(ctx, "ExpireCancelled", func() (core.Swept, error) { return l.sim.store.ExpireCancelled(ctx, l.bounds(s)) })
}

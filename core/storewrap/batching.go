package storewrap

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// SingleStore is a store whose operations on records by id work on one of them. Each means what the operation of
// core.Store means for a single record; Sweeps are as they are there.
type SingleStore interface {
	InsertOne(ctx context.Context, e *core.Execution) error
	// GetOne returns nil when there is no record. One whose retention is over may be returned or not.
	GetOne(ctx context.Context, id string) (*core.Execution, error)
	LoadOne(ctx context.Context, p *core.Payload) error
	UpdateOne(ctx context.Context, u core.Update) error
	CountOne(ctx context.Context, now time.Time, c core.Count) (*core.Execution, error)
	ChildrenOf(ctx context.Context, parentID string) ([]*core.Execution, error)
	Sweeps
}

// Sweeps are the operations of core.Store that find their records in an index.
type Sweeps interface {
	ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error)
	ClaimChildrenFinished(ctx context.Context, claim core.Claim) (core.Swept, error)
	MarkClosable(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	ClaimClosable(ctx context.Context, claim core.Claim) (core.Swept, error)
	ExpireRunning(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	ExpireSleeping(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	ExpireChildrenFinished(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	ExpireClosing(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error)
	ExpireCancelled(ctx context.Context, sweep core.Sweep) (core.Swept, error)
	List(ctx context.Context, now time.Time, l core.Listing) (core.Page, error)
}

// Batching returns a whole store made of one that works on single records. Of a call on many records at most parallel
// are under way at once; 1 does them one by one.
func Batching(store SingleStore, parallel int) core.Store {
	return &batching{store, store, max(1, parallel)}
}

type batching struct {
	Sweeps
	single   SingleStore
	parallel int
}

// each calls do for 0 to n-1.
func (b *batching) each(n int, do func(i int)) {
	slots := make(chan struct{}, b.parallel)
	var group sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			do(i)
			<-slots
		})
	}
	group.Wait()
}

// apart is each for what concerns records, several of which may have one id: these are done one after the other, in their
// order.
func (b *batching) apart(n int, record func(i int) *core.Execution, do func(i int)) {
	groups := make([][]int, 0, n)
	places := make(map[string]int, n)
	for i := range n {
		id := ""
		if e := record(i); e != nil {
			id = e.ID
		}
		place, known := places[id]
		if !known {
			place = len(groups)
			places[id] = place
			groups = append(groups, nil)
		}
		groups[place] = append(groups[place], i)
	}
	b.each(len(groups), func(g int) {
		for _, i := range groups[g] {
			do(i)
		}
	})
}

func (b *batching) Insert(ctx context.Context, executions []*core.Execution) []error {
	errs := make([]error, len(executions))
	b.apart(len(executions), func(i int) *core.Execution { return executions[i] }, func(i int) {
		if errs[i] = core.CheckRecord(executions[i]); errs[i] == nil {
			errs[i] = b.single.InsertOne(ctx, executions[i])
		}
	})
	return errs
}

func (b *batching) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	if err := core.CheckIDs(ids...); err != nil {
		return nil, err
	}
	found := make([]*core.Execution, len(ids))
	errs := make([]error, len(ids))
	b.each(len(ids), func(i int) {
		e, err := b.single.GetOne(ctx, ids[i])
		if errs[i] = err; err == nil && e != nil && filter.Match(e) {
			found[i] = e
		}
	})
	if err := first(errs); err != nil {
		return nil, err
	}
	return found, nil
}

func (b *batching) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = core.SleepID(key)
	}
	found, err := b.Get(ctx, ids, core.Filter{})
	return core.WithoutKept(found), err
}

func (b *batching) Load(ctx context.Context, payloads ...*core.Payload) error {
	if err := core.CheckPayloads(payloads...); err != nil {
		return err
	}
	errs := make([]error, len(payloads))
	b.each(len(payloads), func(i int) { errs[i] = b.single.LoadOne(ctx, payloads[i]) })
	return first(errs)
}

func (b *batching) Update(ctx context.Context, updates []core.Update) []error {
	errs := make([]error, len(updates))
	b.apart(len(updates), func(i int) *core.Execution { return updates[i].After }, func(i int) { errs[i] = b.update(ctx, updates[i]) })
	return errs
}

func (b *batching) update(ctx context.Context, u core.Update) error {
	if err := core.CheckUpdate(u); err != nil {
		return err
	}
	return b.single.UpdateOne(ctx, u)
}

func (b *batching) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	results := make([]core.SpawnResult, len(spawns))
	for i, s := range spawns {
		if results[i].Err = b.update(ctx, s.Update); results[i].Err == nil {
			results[i].Children = b.Insert(ctx, s.Children)
		}
	}
	return results
}

func (b *batching) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	results := make([]core.CountResult, len(counts))
	for i, c := range counts { // two may be of one parent
		if results[i].Err = core.CheckIDs(c.ParentID); results[i].Err == nil {
			results[i].Parent, results[i].Err = b.single.CountOne(ctx, now, c)
		}
	}
	return results
}

func (b *batching) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	return core.MissingChildren(ctx, b, parent)
}

func (b *batching) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	if err := core.CheckIDs(parentIDs...); err != nil {
		return nil, err
	}
	families := make([][]*core.Execution, len(parentIDs))
	errs := make([]error, len(parentIDs))
	b.each(len(parentIDs), func(i int) { families[i], errs[i] = b.single.ChildrenOf(ctx, parentIDs[i]) })
	if err := first(errs); err != nil {
		return nil, err
	}
	return families, nil
}

func (b *batching) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) ([]*core.Execution, error) {
	if err := core.CheckChildrenUpdate(parentID, ev); err != nil {
		return nil, err
	}
	children, err := b.single.ChildrenOf(ctx, parentID)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(children))
	changed := make([]*core.Execution, len(children))
	b.each(len(children), func(i int) { changed[i], errs[i] = b.updateChild(ctx, children[i], finished, ev, now) })
	return slices.DeleteFunc(changed, func(e *core.Execution) bool { return e == nil }), first(errs)
}

// updateChild decides again as long as the child changes meanwhile; nil means that it is left as it is.
func (b *batching) updateChild(ctx context.Context, e *core.Execution, finished bool, ev core.Event, now time.Time) (*core.Execution, error) {
	for {
		if e.Status.Finished() != finished {
			return nil, nil //nolint:nilnil // nothing to do
		}
		after, err := core.Transition(e, ev, now)
		if err != nil {
			return nil, nil //nolint:nilnil,nilerr // not allowed in its state
		}
		after.Nonce = core.NewNonce()
		err = b.single.UpdateOne(ctx, core.Update{Before: e, After: after})
		conflict, ok := err.(*core.ConflictError) //nolint:errorlint // stores return it as it is
		switch {
		case err == nil:
			return after, nil
		case !ok || ctx.Err() != nil:
			return nil, err
		}
		e = conflict.Current
	}
}

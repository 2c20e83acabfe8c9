package storewrap

import (
	"context"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// around is a store every operation of which is done by do, which calls call once and returns its error. Of an
// operation on several records the error is the first one.
type around struct {
	store core.Store
	do    func(operation string, call func() error) error
}

var _ core.Store = around{}

// one does an operation that returns one thing.
func one[T any](a around, operation string, call func() (T, error)) (out T, err error) {
	err = a.do(operation, func() error {
		out, err = call()
		return err
	})
	return out, err
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a around) Insert(ctx context.Context, executions []*core.Execution) (errs []error) {
	_ = a.do("Insert", func() error {
		errs = a.store.Insert(ctx, executions)
		return first(errs)
	})
	return errs
}

func (a around) Update(ctx context.Context, updates []core.Update) (errs []error) {
	_ = a.do("Update", func() error {
		errs = a.store.Update(ctx, updates)
		return first(errs)
	})
	return errs
}

func (a around) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) (results []core.SpawnResult) {
	_ = a.do("UpdateAndInsertChildren", func() error {
		results = a.store.UpdateAndInsertChildren(ctx, spawns)
		for _, r := range results {
			if err := first(append([]error{r.Err}, r.Children...)); err != nil {
				return err
			}
		}
		return nil
	})
	return results
}

func (a around) CountFinished(ctx context.Context, now time.Time, counts []core.Count) (results []core.CountResult) {
	_ = a.do("CountFinished", func() error {
		results = a.store.CountFinished(ctx, now, counts)
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		return nil
	})
	return results
}

func (a around) Load(ctx context.Context, payloads ...*core.Payload) error {
	return a.do("Load", func() error { return a.store.Load(ctx, payloads...) })
}

func (a around) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	return one(a, "Get", func() ([]*core.Execution, error) { return a.store.Get(ctx, ids, filter) })
}

func (a around) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	return one(a, "GetBySleepKey", func() ([]*core.Execution, error) { return a.store.GetBySleepKey(ctx, keys) })
}

func (a around) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	return one(a, "ClaimReady", func() (core.Swept, error) { return a.store.ClaimReady(ctx, c) })
}

func (a around) ClaimChildrenFinished(ctx context.Context, c core.Claim) (core.Swept, error) {
	return one(a, "ClaimChildrenFinished", func() (core.Swept, error) { return a.store.ClaimChildrenFinished(ctx, c) })
}

func (a around) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	return one(a, "CheckSpawn", func() ([]int, error) { return a.store.CheckSpawn(ctx, parent) })
}

func (a around) MarkClosable(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "MarkClosable", func() (core.Swept, error) { return a.store.MarkClosable(ctx, s) })
}

func (a around) ClaimClosable(ctx context.Context, c core.Claim) (core.Swept, error) {
	return one(a, "ClaimClosable", func() (core.Swept, error) { return a.store.ClaimClosable(ctx, c) })
}

func (a around) ExpireRunning(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "ExpireRunning", func() (core.Swept, error) { return a.store.ExpireRunning(ctx, s) })
}

func (a around) ExpireSleeping(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "ExpireSleeping", func() (core.Swept, error) { return a.store.ExpireSleeping(ctx, s) })
}

func (a around) ExpireChildrenFinished(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "ExpireChildrenFinished", func() (core.Swept, error) { return a.store.ExpireChildrenFinished(ctx, s) })
}

func (a around) ExpireClosing(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "ExpireClosing", func() (core.Swept, error) { return a.store.ExpireClosing(ctx, s) })
}

func (a around) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	return one(a, "ClaimCancelled", func() ([]*core.Execution, error) { return a.store.ClaimCancelled(ctx, executorID, now, limit) })
}

func (a around) ExpireCancelled(ctx context.Context, s core.Sweep) (core.Swept, error) {
	return one(a, "ExpireCancelled", func() (core.Swept, error) { return a.store.ExpireCancelled(ctx, s) })
}

func (a around) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	return one(a, "Children", func() ([][]*core.Execution, error) { return a.store.Children(ctx, parentIDs) })
}

func (a around) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) ([]*core.Execution, error) {
	return one(a, "UpdateChildren", func() ([]*core.Execution, error) {
		return a.store.UpdateChildren(ctx, parentID, finished, ev, now)
	})
}

func (a around) List(ctx context.Context, now time.Time, l core.Listing) (core.Page, error) {
	return one(a, "List", func() (core.Page, error) { return a.store.List(ctx, now, l) })
}

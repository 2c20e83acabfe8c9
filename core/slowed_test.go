package core_test

import (
	"context"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// slowed is a store whose requests a busyStore serves.
type slowed struct {
	core.Store
	slow *busyStore
}

func (s slowed) Insert(ctx context.Context, executions []*core.Execution) []error {
	s.slow.serve("Insert", len(executions))
	return s.Store.Insert(ctx, executions)
}

func (s slowed) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	s.slow.serve("Get", 1)
	return s.Store.Get(ctx, ids, filter)
}

func (s slowed) Load(ctx context.Context, payloads ...*core.Payload) error {
	s.slow.serve("Load", 1)
	return s.Store.Load(ctx, payloads...)
}

func (s slowed) Update(ctx context.Context, updates []core.Update) []error {
	s.slow.serve("Update", 1)
	return s.Store.Update(ctx, updates)
}

func (s slowed) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	s.slow.serve("UpdateAndInsertChildren", len(spawns[0].Children)+1)
	return s.Store.UpdateAndInsertChildren(ctx, spawns)
}

func (s slowed) ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error) {
	swept, err := s.Store.ClaimReady(ctx, claim)
	s.slow.serve("ClaimReady", len(swept.Executions))
	return swept, err
}

func (s slowed) ClaimChildrenFinished(ctx context.Context, claim core.Claim) (core.Swept, error) {
	s.slow.serve("ClaimChildrenFinished", 1)
	return s.Store.ClaimChildrenFinished(ctx, claim)
}

func (s slowed) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	s.slow.serve("CountFinished", 1)
	return s.Store.CountFinished(ctx, now, counts)
}

func (s slowed) MarkClosable(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	s.slow.serve("MarkClosable", 1)
	return s.Store.MarkClosable(ctx, sweep)
}

func (s slowed) ClaimClosable(ctx context.Context, claim core.Claim) (core.Swept, error) {
	s.slow.serve("ClaimClosable", 1)
	return s.Store.ClaimClosable(ctx, claim)
}

func (s slowed) ExpireRunning(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	swept, err := s.Store.ExpireRunning(ctx, sweep)
	s.slow.serve("ExpireRunning", len(swept.Executions))
	return swept, err
}

func (s slowed) ExpireSleeping(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	s.slow.serve("ExpireSleeping", 1)
	return s.Store.ExpireSleeping(ctx, sweep)
}

func (s slowed) ExpireChildrenFinished(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	s.slow.serve("ExpireChildrenFinished", 1)
	return s.Store.ExpireChildrenFinished(ctx, sweep)
}

func (s slowed) ExpireClosing(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	s.slow.serve("ExpireClosing", 1)
	return s.Store.ExpireClosing(ctx, sweep)
}

func (s slowed) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	s.slow.serve("ClaimCancelled", 1)
	return s.Store.ClaimCancelled(ctx, executorID, now, limit)
}

func (s slowed) ExpireCancelled(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	s.slow.serve("ExpireCancelled", 1)
	return s.Store.ExpireCancelled(ctx, sweep)
}

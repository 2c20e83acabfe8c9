package coretest

import (
	"context"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// changes tells of writes to the store, after they took effect.
type changes struct {
	mu     sync.Mutex
	waited chan struct{}
}

// next returns a channel that is closed at the next change.
func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waited == nil {
		c.waited = make(chan struct{})
	}
	return c.waited
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waited != nil {
		close(c.waited)
		c.waited = nil
	}
}

// telling is a store that tells of its writes. Of sweeps it tells when they changed something.
type telling struct {
	core.Store
	changes *changes
}

// Insert implements core.Store.
func (s telling) Insert(ctx context.Context, executions []*core.Execution) []error {
	defer s.changes.tell()
	return s.Store.Insert(ctx, executions)
}

// Update implements core.Store.
func (s telling) Update(ctx context.Context, updates []core.Update) []error {
	defer s.changes.tell()
	return s.Store.Update(ctx, updates)
}

// UpdateAndInsertChildren implements core.Store.
func (s telling) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	defer s.changes.tell()
	return s.Store.UpdateAndInsertChildren(ctx, spawns)
}

// CountFinished implements core.Store.
func (s telling) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	defer s.changes.tell()
	return s.Store.CountFinished(ctx, now, counts)
}

// UpdateChildren implements core.Store.
func (s telling) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) ([]*core.Execution, error) {
	defer s.changes.tell()
	return s.Store.UpdateChildren(ctx, parentID, finished, ev, now)
}

// swept tells of a sweep that changed something, or may have.
func (s telling) swept(swept core.Swept, err error) (core.Swept, error) {
	if len(swept.Executions) > 0 || err != nil {
		s.changes.tell()
	}
	return swept, err
}

// ClaimReady implements core.Store.
func (s telling) ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error) {
	return s.swept(s.Store.ClaimReady(ctx, claim))
}

// ClaimChildrenFinished implements core.Store.
func (s telling) ClaimChildrenFinished(ctx context.Context, claim core.Claim) (core.Swept, error) {
	return s.swept(s.Store.ClaimChildrenFinished(ctx, claim))
}

// MarkClosable implements core.Store.
func (s telling) MarkClosable(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.MarkClosable(ctx, sweep))
}

// ClaimClosable implements core.Store.
func (s telling) ClaimClosable(ctx context.Context, claim core.Claim) (core.Swept, error) {
	return s.swept(s.Store.ClaimClosable(ctx, claim))
}

// ExpireRunning implements core.Store.
func (s telling) ExpireRunning(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.ExpireRunning(ctx, sweep))
}

// ExpireSleeping implements core.Store.
func (s telling) ExpireSleeping(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.ExpireSleeping(ctx, sweep))
}

// ExpireChildrenFinished implements core.Store.
func (s telling) ExpireChildrenFinished(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.ExpireChildrenFinished(ctx, sweep))
}

// ExpireClosing implements core.Store.
func (s telling) ExpireClosing(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.ExpireClosing(ctx, sweep))
}

// ExpireCancelled implements core.Store.
func (s telling) ExpireCancelled(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return s.swept(s.Store.ExpireCancelled(ctx, sweep))
}

package core

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// ProcessCancellations takes back at most limit flags of cancelled executions whose executor's lease is over:
// nobody is left to be told.
func (x *Executor) ProcessCancellations(ctx context.Context, limit int) (Result, error) {
	var result Result
	if !x.begin() {
		return result, nil
	}
	defer x.work.Done()
	swept, err := x.cfg.Store.ExpireCancelled(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire cancellation flags: %w", err)
	}
	result.add(swept)
	return result, nil
}

// pollCancellations looks for the executor's own flags until it runs nothing any more. The caller holds x.mu.
func (x *Executor) pollCancellations(ctx context.Context) {
	if x.polling {
		return
	}
	x.polling = true
	x.pollers.Go(func() {
		ticker := time.NewTicker(x.cfg.CancelPoll)
		defer ticker.Stop()
		for {
			select {
			case <-x.flushed:
				return
			case <-ticker.C:
			}
			if x.stopPolling() {
				return
			}
			ticker.Reset(x.unhurried(x.cfg.CancelPoll, 4))
			if err := x.cancelFlagged(ctx); err != nil {
				x.log.WarnContext(ctx, "look for cancellations", logError, err)
			}
		}
	})
}

// stopPolling reports whether nothing runs, and notes then that nobody polls.
func (x *Executor) stopPolling() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.running) > 0 {
		return false
	}
	x.polling = false
	return true
}

// cancelFlagged ends the contexts of the executor's cancelled executions.
func (x *Executor) cancelFlagged(ctx context.Context) error {
	cancelled, err := x.cfg.Store.ClaimCancelled(ctx, x.id, Millis(time.Now()), x.cfg.Concurrency)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(x.cancelled, func(_ string, until time.Time) bool { return until.Before(now) })
	for _, e := range cancelled {
		if x.cancelRunning(e.ID, ErrCancelled) {
			continue
		}
		// Its attempt has ended, or its claim was not answered yet: the flag is gone, so its code must not begin.
		if x.cancelled == nil {
			x.cancelled = map[string]time.Time{}
		}
		x.cancelled[e.ID] = e.LeaseEnd()
	}
	return nil
}

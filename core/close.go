package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// CloseFinished follows up finished executions, at most limit of each kind, which their executors did not come
// to: it counts them on their parents, cancels what is left below them, and closes them.
func (x *Executor) CloseFinished(ctx context.Context, limit int) (Result, error) {
	var result Result
	if !x.begin() {
		return result, nil
	}
	defer x.work.Done()
	expired, err := x.cfg.Store.ExpireClosing(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases on closing: %w", err)
	}
	result.add(expired)
	for _, e := range expired.Executions {
		x.recovered(ctx, e, QueueClosing, e.CloseRecoveries)
		if e.CloseRecoveries > x.cfg.MaxRecoveries {
			about(x.log, e).ErrorContext(ctx, "closing fails again and again", logCount, e.CloseRecoveries)
		}
	}
	marked, err := x.cfg.Store.MarkClosable(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("mark finished executions closable: %w", err)
	}
	result.add(marked)
	sweep := x.sweep(limit)
	claimed, err := x.cfg.Store.ClaimClosable(ctx, Claim{
		Sweep: sweep, ExecutorID: x.id, ExpiresAt: x.leaseEnd(sweep.Now),
	})
	if err != nil {
		err = fmt.Errorf("claim closable executions: %w", err)
	}
	result.add(claimed)
	return result, errors.Join(err, x.followUps(ctx, claimed.Executions))
}

// followUps follows up those of the executions that are finished, siblings together. What fails is left to the next
// sweep.
func (x *Executor) followUps(ctx context.Context, executions []*Execution) error {
	return inParallel(ctx, families(executions), func(ctx context.Context, family []*Execution) error {
		follow := x.follow.followUpSiblings
		if len(family) == 1 {
			follow = func(ctx context.Context, family []*Execution) error { return x.follow.followUp(ctx, family[0]) }
		}
		if err := follow(ctx, family); !errors.Is(err, ErrConflict) {
			return err
		}
		return nil
	})
}

// families returns the finished ones of executions: those that are counted on the same parent together, each other alone.
func families(executions []*Execution) [][]*Execution {
	finished := slices.DeleteFunc(slices.Clone(executions), func(e *Execution) bool { return !e.Status.Finished() })
	type family struct {
		id    string // of the parent, or of the only one
		alone bool
	}
	return grouped(finished, func(e *Execution) family {
		if !e.Counts() || e.Parent.Siblings == 0 || e.Parent.Index == FinalizeIndex {
			return family{e.ID, true}
		}
		return family{e.Parent.ID, false}
	})
}

package core

import (
	"context"
	"errors"
	"fmt"
)

// CloseFinished follows up finished executions, at most limit of each kind, which their executors did not come
// to: it counts them on their parents, cancels what is left below them, and closes them.
func (x *Executor) CloseFinished(ctx context.Context, limit int) (Result, error) {
	var result Result
	expired, err := x.cfg.Store.ExpireClosing(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases on closing: %w", err)
	}
	result.add(expired)
	for _, e := range expired.Executions {
		if e.CloseRecoveries > x.cfg.MaxRecoveries {
			x.log.ErrorContext(ctx, "closing fails again and again", logExecution, e.ID, logCount, e.CloseRecoveries)
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

// followUps follows up those of the executions that are finished. What fails is left to the next sweep.
func (x *Executor) followUps(ctx context.Context, executions []*Execution) error {
	return inParallel(ctx, executions, func(ctx context.Context, e *Execution) error {
		if !e.Status.Finished() {
			return nil
		}
		err := x.follow.followUp(ctx, e)
		if errors.Is(err, ErrConflict) {
			return nil
		}
		return err
	})
}

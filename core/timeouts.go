package core

import (
	"context"
	"fmt"
	"time"
)

// ExpireTimeouts looks at executions, at most limit of each kind, whose time is over: attempts whose executor
// died are recovered or fail for good, finished executions whose executor died before the follow-up are
// followed up, and sleeps that nobody ended time out. The result's NextDue is that of the sleeps.
func (x *Executor) ExpireTimeouts(ctx context.Context, limit int) (Result, error) {
	var result Result
	if !x.begin() {
		return result, nil
	}
	defer x.work.Done()
	running, err := x.cfg.Store.ExpireRunning(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases of attempts: %w", err)
	}
	running.NextDue = time.Time{} // the end of a lease is not waited for
	result.add(running)
	for _, e := range running.Executions {
		if !e.Status.Finished() {
			about(x.log, e).WarnContext(ctx, "attempt is recovered: its executor was lost", logCount, e.Recoveries)
		}
		if !e.Status.Finished() || e.FinishedAt.Equal(e.UpdatedAt) { // else its attempt had ended
			x.recovered(ctx, e, QueueRunning, e.Recoveries)
		}
	}
	x.cfg.Observer.swept(ctx, running.Executions)
	if err := x.followUps(ctx, running.Executions); err != nil {
		return result, err
	}
	sleeping, err := x.cfg.Store.ExpireSleeping(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire sleeps: %w", err)
	}
	result.add(sleeping)
	x.cfg.Observer.swept(ctx, sleeping.Executions)
	return result, x.followUps(ctx, sleeping.Executions)
}

package core

import (
	"context"
	"fmt"
)

// ExpireTimeouts looks at executions, at most limit of each kind, whose time is over: attempts whose executor
// died are recovered or fail for good, finished executions whose executor died before the follow-up are
// followed up, and sleeps that nobody ended time out.
func (x *Executor) ExpireTimeouts(ctx context.Context, limit int) (Result, error) {
	var result Result
	running, err := x.cfg.Store.ExpireRunning(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire leases of attempts: %w", err)
	}
	result.add(running)
	for _, e := range running.Executions {
		if !e.Status.Finished() {
			x.log.WarnContext(ctx, "attempt is recovered: its executor was lost",
				logExecution, e.ID, logTask, e.TaskID, logCount, e.Recoveries)
		}
	}
	if err := x.followUps(ctx, running.Executions); err != nil {
		return result, err
	}
	sleeping, err := x.cfg.Store.ExpireSleeping(ctx, x.sweep(limit))
	if err != nil {
		return result, fmt.Errorf("expire sleeps: %w", err)
	}
	result.add(sleeping)
	return result, x.followUps(ctx, sleeping.Executions)
}

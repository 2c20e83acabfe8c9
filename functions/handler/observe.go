package handler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/guard"
	"github.com/perdure-dev/perdure/functions/metrics"
)

// metricsEvery is how often an invocation that takes long writes its metrics.
const metricsEvery = time.Minute

// newMetrics returns what gathers the metrics of the function that this process is.
func newMetrics(config Config) *metrics.Gatherer {
	return metrics.New(os.Stdout, metrics.Options{Table: config.Table, Level: config.LogLevel.String()})
}

// observer returns the observer of an engine or a client.
func (a *App) observer() core.Observer {
	if a.metrics == nil {
		return core.Observers(a.failures, a.Options.Observer)
	}
	return core.Observers(a.metrics.Observer(), a.failures, a.Options.Observer)
}

// observing makes what is observed in an invocation be written from time to time. The invocation calls end before it
// returns, which has the rest of it written and sent.
func (a *App) observing(ctx context.Context) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(metricsEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				a.flushMetrics(ctx)
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		a.flushMetrics(ctx)
		if a.Options.Flush == nil {
			return
		}
		if err := a.flush(ctx); err != nil {
			a.log().WarnContext(ctx, "what was observed is not sent", "error", err)
		}
	}
}

// flushLimit is how long Options.Flush may take.
const flushLimit = 10 * time.Second

// flush calls Options.Flush and returns its error. A panic is an error too, and one that does not return in time is
// abandoned: the invocation's work is already written.
func (a *App) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	over := guard.Go(func() error {
		if err := a.Options.Flush(ctx); err != nil {
			return errors.New(err.Error()) // the error's method is the user's as well
		}
		return nil
	}, func(failed guard.Failure) error { return errors.New(failed.Text) })
	select {
	case err := <-over:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(flushLimit / 10)
	defer grace.Stop()
	select {
	case err := <-over:
		return err
	case <-grace.C:
		return fmt.Errorf("it has not returned %s after the end of its context", flushLimit/10)
	}
}

func (a *App) flushMetrics(ctx context.Context) {
	if a.metrics == nil {
		return
	}
	if err := a.metrics.Flush(); err != nil {
		a.log().WarnContext(ctx, "metrics are not written", "error", err)
	}
}

package handler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/perdure-dev/perdure/core"
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

// flush calls Options.Flush, whose panic is an error as any other: what the invocation did is done. One that does not end
// is left to itself.
func (a *App) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine (runtime.Goexit)")
		defer func() { over <- err }()
		defer func() {
			if p := recover(); p != nil {
				err = panicError(p)
			}
		}()
		err = a.Options.Flush(ctx)
	}()
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

// panicError returns the error of a recovered panic. A value without a text of its own is told by its type: it may
// contain itself.
func panicError(p any) error {
	switch p.(type) {
	case error, fmt.Stringer, string:
		return fmt.Errorf("panic: %v", p)
	}
	return fmt.Errorf("panic: %T", p)
}

func (a *App) flushMetrics(ctx context.Context) {
	if a.metrics == nil {
		return
	}
	if err := a.metrics.Flush(); err != nil {
		a.log().WarnContext(ctx, "metrics are not written", "error", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/perdure-dev/perdure/localtest/chaos/work"
	"github.com/perdure-dev/perdure/localtest/eventsource"
	"github.com/perdure-dev/perdure/localtest/stack"
)

// chaosOptions say how long and how hard a chaos run is.
type chaosOptions struct {
	seed     uint64
	during   time.Duration // of enqueueing and harm; what is left then is waited for without
	every    time.Duration // between roots of each kind
	width    int           // children of a fan
	out      io.Writer
	progress func(line string) // how far it is; empty when it is checked
	log      io.Writer         // what the functions print; nil for none
	ended    func(figures)
}

// figures are what a run did.
type figures struct {
	Seed                              uint64
	Roots, Again                      int
	Kills, Stopped                    int
	Requests                          int
	Failed, Throttled, Lost, Unheard  int
	Executions, Effects, Repeated     int
	SecondsOfHarm, SecondsUntilSettle float64
}

// chaos runs the workload through the compiled functions while processes are killed and stopped, stream records lost and
// doubled, and requests refused or cut off; then it lets everything come to rest and checks that nothing was lost.
func chaos(ctx context.Context, o chaosOptions) (err error) {
	folder, err := os.MkdirTemp("", "perdure-chaos")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := stack.BuildOne(ctx, folder, "github.com/perdure-dev/perdure/localtest/chaos/function"); err != nil {
		return err
	}
	ledgerPath := filepath.Join(folder, "ledger")
	cutter, err := startCutter(ctx, o.seed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cutter.stop()) }()
	s, err := stack.Start(ctx, stack.Options{
		Binaries: folder, Log: o.log, Timeout: 15 * time.Second,
		Env:    []string{"AWS_ENDPOINT_URL_DYNAMODB=" + cutter.url, "PERDURE_LEEWAY=1", "PERDURE_LOG_LEVEL=WARN", work.LedgerVariable + "=" + ledgerPath},
		Stream: stack.Stream{Disorder: eventsource.Disorder{Seed: o.seed, Drop: 0.2, Double: 0.2, Reorder: 0.2, Delay: 200 * time.Millisecond}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := cutter.sendTo(s.Meter.Endpoint()); err != nil {
		return err
	}

	l := &load{stack: s, roots: map[string]work.Root{}}
	begun := time.Now()
	harming, stopHarm := context.WithCancel(ctx)
	defer stopHarm()
	h := startHarm(harming, s.Lambda, o.seed)
	l.wait.Go(func() { l.enqueueFor(ctx, o.during, o.every, o.width) })
	for time.Since(begun) < o.during && ctx.Err() == nil {
		if err := o.report(ctx, s, l, h, cutter); err != nil {
			break
		}
		if sleep(ctx, time.Second) != nil {
			break
		}
	}
	stopHarm()
	h.wait.Wait()
	cutter.on.Store(false)
	l.wait.Wait()
	f := figures{Seed: o.seed, SecondsOfHarm: time.Since(begun).Seconds()}
	if ctx.Err() != nil {
		return errors.Join(errInterrupted, context.Cause(ctx))
	}
	settling := time.Now()
	if err := l.settle(ctx, 10*time.Minute, func(int, int, int) { _ = o.report(ctx, s, l, h, cutter) }); err != nil {
		return err
	}
	f.SecondsUntilSettle = time.Since(settling).Seconds()
	f.Roots, f.Again = len(l.roots), l.again
	f.Kills, f.Stopped = h.counts()
	f.Requests, f.Failed, f.Throttled, f.Lost, f.Unheard = cutter.requests, cutter.failed, cutter.throttled, cutter.lost, cutter.unheard
	o.progress("")
	_, _ = fmt.Fprintf(o.out, "%d roots enqueued (%d requests sent again) in %.0f s of harm: %d processes killed, %d stopped past their leases;\n",
		f.Roots, f.Again, f.SecondsOfHarm, f.Kills, f.Stopped)
	_, _ = fmt.Fprintf(o.out, "of %d requests to DynamoDB %d failed, %d throttled, %d cut before and %d after they took effect; at rest %.1f s later\n",
		f.Requests, f.Failed, f.Throttled, f.Lost, f.Unheard, f.SecondsUntilSettle)
	if o.ended != nil {
		o.ended(f)
	}
	return judge(ctx, o.out, s, l.roots, ledgerPath)
}

// report tells how far the run is.
func (o chaosOptions) report(ctx context.Context, s *stack.Stack, l *load, h *harm, c *cutter) error {
	ids := l.ids()
	finished, entries, err := look(ctx, s, ids)
	if err != nil {
		return err
	}
	kills, stopped := h.counts()
	c.mu.Lock()
	spoiled := c.failed + c.throttled + c.lost + c.unheard
	c.mu.Unlock()
	o.progress(fmt.Sprintf("%d of %d roots finished, %d entries; %d killed, %d stopped, %d requests spoiled",
		finished, len(ids), entries, kills, stopped, spoiled))
	return nil
}

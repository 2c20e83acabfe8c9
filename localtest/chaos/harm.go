package main

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/localtest/lambdalocal"
)

// How often processes are harmed, and for how long one is stopped: longer than the lease of anything that it runs, which is
// a task's timeout of 2 s and the leeway of 1 s.
const (
	killEvery = time.Second
	stopEvery = 3 * time.Second
	stopFor   = 4 * time.Second
)

// harm kills and stops random processes until its context ends.
type harm struct {
	lambda *lambdalocal.Service
	random *rand.Rand

	mu             sync.Mutex
	kills, stopped int
	wait           sync.WaitGroup
}

func startHarm(ctx context.Context, lambda *lambdalocal.Service, seed uint64) *harm {
	h := &harm{lambda: lambda, random: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // it must be repeatable
	h.every(ctx, killEvery, func() {
		if pid := h.pick(); pid != 0 && h.lambda.Kill(pid, os.Kill) == nil {
			h.count(&h.kills)
		}
	})
	h.every(ctx, stopEvery, func() {
		pid := h.pick()
		if pid == 0 || h.lambda.Kill(pid, stopSignal) != nil {
			return
		}
		h.count(&h.stopped)
		h.wait.Go(func() {
			timer := time.NewTimer(stopFor)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			_ = h.lambda.Kill(pid, goOnSignal) // it may have been killed meanwhile
		})
	})
	return h
}

func (h *harm) every(ctx context.Context, d time.Duration, do func()) {
	h.wait.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				do()
			case <-ctx.Done():
				return
			}
		}
	})
}

func (h *harm) count(n *int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
}

func (h *harm) counts() (kills, stopped int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kills, h.stopped
}

// pick returns a random process that is at work; 0 for none.
func (h *harm) pick() int {
	var busy []int
	for _, e := range h.lambda.Environments() {
		if e.Busy {
			busy = append(busy, e.PID)
		}
	}
	if len(busy) == 0 {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return busy[h.random.IntN(len(busy))]
}

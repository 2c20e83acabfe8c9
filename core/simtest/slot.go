package simtest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// slot is a place where one process works at a time; when it dies another one takes its place.
type slot struct {
	sim    *simulation
	number int
	plan   slotPlan

	mu  sync.Mutex
	now *member // nil while there is none
}

// member is one process of a simulation.
type member struct {
	*Process
	name    string
	link    *link
	program *program
	client  *core.Client
	engine  *core.Engine
	ctx     context.Context // ends when the process is told to end
	quit    context.CancelFunc
}

func (s *slot) current() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// kill ends the named process, or whichever there is. It reports whether there was one.
func (s *slot) kill(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || name != "" && s.now.name != name {
		return false
	}
	s.now.Die()
	s.now.link.kill()
	s.now = nil
	return true
}

// work has a process at work until the simulation is over.
func (s *slot) work(over <-chan struct{}) {
	sim := s.sim
	at := func(times []time.Duration, do func(p *member)) {
		for _, at := range times {
			go func() {
				timer := time.NewTimer(at)
				defer timer.Stop()
				select {
				case <-timer.C:
					if p := s.current(); p != nil {
						do(p)
					}
				case <-over:
				}
			}()
		}
	}
	at(s.plan.dies, func(p *member) { sim.crash(p.name) })
	at(s.plan.quits, func(p *member) { p.quit() })
	var dead sync.WaitGroup
	defer dead.Wait()
	for generation := 1; ; generation++ {
		p := s.start(generation)
		ctx, cancel := p.ctx, p.quit
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.work(ctx, s.plan.functions)
		}()
		select {
		case <-over:
			cancel()
			<-done
			return
		case <-p.link.died:
			cancel()
			dead.Go(func() { <-done })
		case <-ctx.Done():
			<-done // in good order
			s.kill(p.name)
		}
		timer := time.NewTimer(between(sim.rand("restart "+p.name), 100*time.Millisecond, 5*time.Second))
		select {
		case <-timer.C:
		case <-over:
			timer.Stop()
			return
		}
	}
}

// invocation is how long an invocation of the loop functions lasts, and how often there is one.
const invocation = 15 * time.Second

func (s *slot) start(generation int) *member {
	sim := s.sim
	p := &member{name: fmt.Sprintf("process%d.%d", s.number, generation)}
	p.ctx, p.quit = context.WithCancel(context.Background())
	p.Process = sim.ledger.Process(p.name)
	p.link = &link{Store: sim.store, sim: sim, process: p.name, plan: s.plan, skew: s.plan.skew, died: make(chan struct{}), done: map[string]int{}}
	p.program = newProgram(sim, p.Process)
	registry, err := core.NewRegistry(p.program.all...)
	if err != nil {
		sim.Fatal(err)
	}
	jitter := sim.rand(p.name + " jitter").Float64() // one for all its life: what asks first at one nanosecond is not decided
	config := core.Config{
		Store: p.link, Registry: registry, Concurrency: s.plan.concurrency, ShutdownGrace: time.Second, Observer: p.link.inTurn(),
		Random: func() float64 { return jitter },
	}
	if sim.opts.Log != nil {
		config.Logger = slog.New(slog.NewTextHandler(sim.opts.Log, nil)).With("process", p.name)
	}
	if s.plan.functions {
		config.FunctionTimeout = invocation
	}
	if p.engine, err = core.NewEngine(config); err == nil {
		p.client, err = p.engine.NewClient(core.ClientOptions{})
	}
	if err != nil {
		sim.Fatal(err)
	}
	s.mu.Lock()
	s.now = p
	s.mu.Unlock()
	return p
}

// work works until ctx ends.
func (p *member) work(ctx context.Context, functions bool) {
	if !functions {
		_ = p.engine.Run(ctx)
		return
	}
	for ctx.Err() == nil {
		now := time.Now()
		x := p.engine.NewExecutor(core.ExecutorOptions{Deadline: now.Add(invocation)})
		var loops sync.WaitGroup
		for _, loop := range core.Loops() {
			loops.Go(func() { _, _ = x.Repeat(ctx, loop, now.Add(invocation)) })
		}
		loops.Wait()
		x.Flush()
		select {
		case <-time.After(max(0, invocation-time.Since(now))):
		case <-ctx.Done():
		}
	}
}

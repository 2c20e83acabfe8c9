package core

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Causes with which the context of running code ends; context.Cause tells which it was.
var (
	// ErrAttemptTimedOut means that the attempt took longer than its task's timeout.
	ErrAttemptTimedOut = errors.New("attempt timed out")
	// ErrCancelled means that the execution was cancelled.
	ErrCancelled = errors.New("execution was cancelled")
)

// Config is what an engine needs to know; Store and Registry are required, all else has a default.
type Config struct {
	Store    Store
	Registry *Registry
	// Codec must be the clients'. Default JSON.
	Codec Codec
	// Limits must be the clients'. Default: see Limits.
	Limits Limits
	// Logger gets one line for what a person may have to know. Payloads are never logged. Default: nothing.
	Logger *slog.Logger
	// Concurrency is how many attempts one executor runs at once. Default 100.
	Concurrency int
	// FunctionTimeout is how long an executor lives; a registered task whose timeout does not fit in it,
	// less FlushMargin, is an error of NewEngine. Default 0: for ever.
	FunctionTimeout time.Duration
	// FlushMargin is kept free at an executor's end for its last writes. Default 3 s.
	FlushMargin time.Duration
	// Leeway is how far the executors' clocks may be apart; every lease is longer by it. Default 5 s.
	Leeway time.Duration
	// MaxRecoveries is how many times an execution whose executor died is tried again. Default 5.
	MaxRecoveries int
	// UnknownTaskLimit is how long an execution waits for an executor that knows its task before it fails as
	// not_found. Default 1 h.
	UnknownTaskLimit time.Duration
	// SpawnCheck is how long after a commit somebody checks that all children exist. Default 10 s.
	SpawnCheck time.Duration
	// Poll is how often an executor at work looks for ready executions. Default 200 ms.
	Poll time.Duration
	// CancelPoll is how often an executor at work asks whether something it runs was cancelled. Default 1 s.
	CancelPoll time.Duration
}

// Engine runs executions. It holds no state of its own; what is under way belongs to an Executor.
type Engine struct {
	cfg      Config
	shortest time.Duration // timeout of a registered task
	longest  time.Duration
}

// NewEngine returns an engine. The error matches ErrInvalid and joins all that is wrong with the config.
func NewEngine(cfg Config) (*Engine, error) {
	var errs []error
	if cfg.Store == nil {
		errs = append(errs, invalidf("engine: Store is nil"))
	}
	if cfg.Registry == nil {
		errs = append(errs, invalidf("engine: Registry is nil"))
		cfg.Registry = &Registry{}
	}
	var err error
	if cfg.Limits, err = cfg.Limits.withDefaults(); err != nil {
		errs = append(errs, err)
	}
	if cfg.Codec == nil {
		cfg.Codec = JSON{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 100
	}
	if cfg.Concurrency < 0 {
		errs = append(errs, invalidf("engine: Concurrency is %d, must be at least 1", cfg.Concurrency))
	}
	if cfg.MaxRecoveries == 0 {
		cfg.MaxRecoveries = 5
	}
	if cfg.MaxRecoveries < 0 {
		errs = append(errs, invalidf("engine: MaxRecoveries is %d, must be at least 1", cfg.MaxRecoveries))
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"FlushMargin", &cfg.FlushMargin, 3 * time.Second},
		{"Leeway", &cfg.Leeway, 5 * time.Second},
		{"UnknownTaskLimit", &cfg.UnknownTaskLimit, time.Hour},
		{"SpawnCheck", &cfg.SpawnCheck, 10 * time.Second},
		{"Poll", &cfg.Poll, 200 * time.Millisecond},
		{"CancelPoll", &cfg.CancelPoll, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < 0 {
			errs = append(errs, invalidf("engine: %s is %s, must be positive", d.name, *d.value))
		}
	}
	for _, id := range cfg.Registry.IDs() {
		room := cfg.FunctionTimeout - cfg.FlushMargin
		if t := cfg.Registry.tasks[id].opts.Timeout; cfg.FunctionTimeout > 0 && t > room {
			errs = append(errs, invalidf("task %q: its Timeout %s does not fit the function's timeout %s less %s to flush: shorten the one or raise the other",
				id, t, cfg.FunctionTimeout, cfg.FlushMargin))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg}
	e.shortest, e.longest = cfg.Registry.timeouts()
	return e, nil
}

// ExecutorOptions are the options of an Executor; the zero value works.
type ExecutorOptions struct {
	// Deadline is when the executor ends, FlushMargin included; it starts nothing that does not fit. Default:
	// never.
	Deadline time.Time
	// SweepOnly makes an executor that starts no attempts by itself, for the sweeps.
	SweepOnly bool
}

// Executor is one run of the engine's loops, such as one Lambda invocation: its id is on every lease it takes,
// and no other executor has it. Its methods are safe for concurrent use. Flush ends it.
type Executor struct {
	*Engine
	id       string
	deadline time.Time // without the flush margin; zero for none
	follow   follower
	results  results
	log      *slog.Logger

	mu      sync.Mutex
	free    int                 // attempts that may still be started
	running map[string]*attempt // by execution id
	polling bool                // somebody asks for cancellations
	changed chan struct{}       // has one element after an attempt ended
	work    sync.WaitGroup      // attempts and their follow-ups
	pollers sync.WaitGroup
	flushed chan struct{} // closed by Flush
	flush   sync.Once
}

// attempt is user code under way.
type attempt struct{ cancel context.CancelCauseFunc }

// NewExecutor returns an executor with an id of its own.
func (e *Engine) NewExecutor(opts ExecutorOptions) *Executor {
	x := &Executor{
		Engine: e, id: NewID(), free: e.cfg.Concurrency,
		results: results{store: e.cfg.Store, codec: e.cfg.Codec},
		running: map[string]*attempt{}, changed: make(chan struct{}, 1), flushed: make(chan struct{}),
	}
	if opts.SweepOnly {
		x.free = 0
	}
	if !opts.Deadline.IsZero() {
		x.deadline = opts.Deadline.Add(-e.cfg.FlushMargin)
	}
	x.log = e.cfg.Logger.With(logExecutor, x.id)
	x.follow = follower{writer: writer{e.cfg.Store}, count: newCounter(e.cfg.Store), moveOn: x.moveOn}
	return x
}

// ID returns the executor's id.
func (x *Executor) ID() string { return x.id }

// left returns how long an attempt that starts at now may take.
func (x *Executor) left(now time.Time) time.Duration {
	if x.deadline.IsZero() {
		return maxDuration
	}
	return x.deadline.Sub(now)
}

// leaseEnd returns when a lease on work other than an attempt ends: with the executor, or, for one that lives
// for ever, after the longest task's timeout.
func (x *Executor) leaseEnd(now time.Time) time.Time {
	end := now.Add(max(x.longest, defaultTimeout))
	if !x.deadline.IsZero() && x.deadline.Before(end) {
		end = x.deadline
	}
	return end.Add(x.cfg.Leeway)
}

// Flush waits until everything that the executor started is done, follow-ups included. Nothing may be started
// after it.
func (x *Executor) Flush() {
	x.work.Wait()
	x.flush.Do(func() { close(x.flushed) })
	x.pollers.Wait()
}

// Result is what a pass did.
type Result struct {
	// Done counts executions that the pass started or changed.
	Done int
	// Lost counts due entries that came to nothing: somebody else was faster, or the entry was out of date.
	Lost int
	// NextDue is the earliest due time to come in the queues that the pass looked at; zero when it saw none.
	NextDue time.Time
}

func (r *Result) add(s Swept) {
	r.Done += len(s.Executions)
	r.Lost += s.Lost
	if !s.NextDue.IsZero() && (r.NextDue.IsZero() || s.NextDue.Before(r.NextDue)) {
		r.NextDue = s.NextDue
	}
}

// sweep returns the bounds of a sweep at the present time.
func (x *Executor) sweep(limit int) Sweep {
	return Sweep{Now: Millis(time.Now()), Limit: limit, MaxRecoveries: x.cfg.MaxRecoveries}
}

// unknownDelay returns how long to wait for an executor that knows the task: 1 s, doubled each time.
func unknownDelay(since, now time.Time) time.Duration {
	if since.IsZero() {
		return time.Second
	}
	return max(time.Second, now.Sub(since))
}

// random returns the number for a retry's jitter.
func random() float64 { return rand.Float64() } //nolint:gosec // jitter needs no secret

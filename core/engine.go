package core

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Causes with which the context of running code ends; context.Cause tells which it was. An *ExecutionError matches those
// that ended the execution, or one that led to its failure.
var (
	// ErrAttemptTimedOut means that the attempt, or the wait for a wake-up, took longer than its task's timeout.
	ErrAttemptTimedOut = errors.New("attempt timed out")
	// ErrStartToFinish means that the whole execution took longer than its task's StartToFinish.
	ErrStartToFinish = errors.New("execution took longer than its start-to-finish timeout")
	// ErrCancelled means that the execution was cancelled.
	ErrCancelled = errors.New("execution was cancelled")
	// ErrShutdown means that the executor ends. The attempt is given back and counts for nothing, unless its code
	// returns without an error.
	ErrShutdown = errors.New("executor shuts down")
)

// Config is what an engine needs to know; Store and Registry are required, all else has a default.
type Config struct {
	Store    Store
	Registry *Registry
	// Codec must be the clients'. Default JSON.
	Codec Codec
	// Limits must be the clients'. Default: see Limits.
	Limits Limits
	// Logger gets one line for what a person may have to know. Payloads are never logged, nor are the messages of failures,
	// which a task may make of what it was given: a line has the failure's code, the record has the message. Default:
	// nothing.
	Logger *slog.Logger
	// Concurrency is how many attempts one executor runs at once. Default 100.
	Concurrency int
	// MaxPayload is how many bytes of inputs and outputs the attempts of one executor may have in memory, as they are
	// encoded, before it starts no more of them. Decoded values, and copies on their way to and from the store, come on
	// top: some four times as much. Default 16 MB.
	MaxPayload int
	// FunctionTimeout is how long an executor lives. A registered task whose Timeout is longer than LongestTimeout is an
	// error of NewEngine; an execution with a longer one than Limits.Timeout ends failed. Default 0: for ever.
	FunctionTimeout time.Duration
	// FlushMargin is kept free at an executor's end for its last writes. Default 3 s.
	FlushMargin time.Duration
	// StartMargin is what an executor may take at its beginning until it starts an attempt that takes all the time that
	// it has. Default 1 s.
	StartMargin time.Duration
	// Leeway is how far the executors' clocks may be apart; every lease is longer by it. Default 5 s.
	Leeway time.Duration
	// MaxRecoveries is how many times in a row an execution whose executor died is tried again, with fewer and fewer beside
	// it: 2 to the power of what is left of MaxRecoveries, and none at last. Default 5.
	MaxRecoveries int
	// UnknownTaskLimit is how long an execution waits for an executor that knows its task before it fails as
	// not_found. Default 1 h.
	UnknownTaskLimit time.Duration
	// SpawnCheck is how long after a commit somebody checks that all children exist. Default 10 s.
	SpawnCheck time.Duration
	// Poll is how often an executor at work looks for ready executions. Default 200 ms.
	Poll time.Duration
	// ShutdownGrace is how long Run waits for running code, once it was told to end, before it ends its contexts.
	// Default 30 s.
	ShutdownGrace time.Duration
	// CancelPoll is how often an executor at work asks whether something it runs was cancelled. Default 1 s.
	CancelPoll time.Duration
	// Random returns a number in [0, 1), from which the engine draws the jitter of retries and pauses. It must be safe for
	// concurrent use. Set it only in simulations that must repeat. Default: math/rand/v2.Float64.
	Random func() float64
	// Observer receives an event for each attempt, end, recovery and pass. Default: none.
	Observer Observer
}

const (
	defaultFlushMargin = 3 * time.Second
	defaultStartMargin = time.Second
)

// LongestTimeout is the longest Timeout of an attempt that an executor which lives FunctionTimeout has time for: that, less
// FlushMargin and StartMargin, 4 s by default; 0, which stands for any, when FunctionTimeout is 0. Only these three
// fields count.
func (c Config) LongestTimeout() time.Duration {
	if c.FunctionTimeout <= 0 {
		return 0
	}
	return max(time.Millisecond, c.FunctionTimeout-c.margins())
}

// margins is what of an executor's life no attempt has.
func (c Config) margins() time.Duration {
	return cmp.Or(c.FlushMargin, defaultFlushMargin) + cmp.Or(c.StartMargin, defaultStartMargin)
}

// Engine runs executions. It holds no state but who is at work; what is under way belongs to an Executor.
type Engine struct {
	cfg      Config
	shortest time.Duration // timeout of a registered task
	longest  time.Duration
	local    local
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
	if cfg.Random == nil {
		cfg.Random = rand.Float64
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
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = 16 << 20
	}
	if cfg.MaxPayload < 0 {
		errs = append(errs, invalidf("engine: MaxPayload is %d, must be at least 1", cfg.MaxPayload))
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
		{"FlushMargin", &cfg.FlushMargin, defaultFlushMargin},
		{"StartMargin", &cfg.StartMargin, defaultStartMargin},
		{"Leeway", &cfg.Leeway, 5 * time.Second},
		{"UnknownTaskLimit", &cfg.UnknownTaskLimit, time.Hour},
		{"SpawnCheck", &cfg.SpawnCheck, 10 * time.Second},
		{"Poll", &cfg.Poll, 200 * time.Millisecond},
		{"CancelPoll", &cfg.CancelPoll, time.Second},
		{"ShutdownGrace", &cfg.ShutdownGrace, 30 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < 0 || *d.value > maxDuration {
			errs = append(errs, invalidf("engine: %s is %s, must be positive and at most %s", d.name, *d.value, maxDuration))
		}
	}
	if cfg.FunctionTimeout < 0 || cfg.FunctionTimeout > maxDuration {
		errs = append(errs, invalidf("engine: FunctionTimeout is %s, must be from 0 to %s", cfg.FunctionTimeout, maxDuration))
	}
	for _, id := range cfg.Registry.IDs() {
		def := cfg.Registry.tasks[id]
		if t := def.opts.Timeout; def.sleepKey == nil && cfg.FunctionTimeout > 0 && t > cfg.FunctionTimeout-cfg.margins() {
			errs = append(errs, invalidf("task %q: its Timeout %s does not fit the function's timeout %s less %s to start and to flush: shorten the one or raise the other",
				id, t, cfg.FunctionTimeout, cfg.margins()))
		}
	}
	if cfg.Limits.Timeout == 0 {
		cfg.Limits.Timeout = cfg.LongestTimeout()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg}
	e.cfg.Logger = guardedLogger(e.cfg.Logger)
	e.cfg.Observer = e.cfg.Observer.guarded(e.cfg.Logger)
	e.cfg.Registry.encodeBy(&e.cfg.Codec)
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

	sweepOnly bool // it never has room for an attempt

	mu       sync.Mutex
	free     int  // attempts that may still be started
	hungry   bool // the loop that starts attempts waits for room
	wanted   bool // it is asked to look at the queue
	brief    bool // it is to end as soon as nothing is under way: see StartHinted
	backlog  bool // there was more in the queue than it had room for when it looked last
	payloads payloads
	company  company
	pace     pace
	// expected is when something becomes due that this process has put, at the earliest; zero for never.
	expected  time.Time
	own       []Hint                  // of what it has put itself, of an executor that is given hints
	running   map[attemptID]*attempt  // from before their code begins until it has ended
	coding    int                     // attempts whose code runs
	abandoned int                     // attempts whose code goes on without them and that hold their room
	cancelled map[string]time.Time    // executions that were found cancelled before they were in running, and until when
	graceOver bool                    // Shutdown's grace is over: what is registered ends at once
	patient   []unbornChild           // children that wait for room unborn
	taken     int                     // how many of them got it since keepPace looked
	givenAway int                     // how many of them it gave to others when it looked, for no code ended
	pacing    bool                    // keepPace is at work
	unborn    map[string]*unborn      // children that run and are not put yet, by execution id
	steps     map[string]*runningStep // that this executor put as running, by execution id
	polling   bool                    // somebody asks for cancellations
	changed   chan struct{}           // has an element for the loop that starts attempts to think again how long it waits
	closing   chan struct{}           // closed by Shutdown
	work      sync.WaitGroup          // attempts and their follow-ups
	pollers   sync.WaitGroup
	flushed   chan struct{} // closed by Flush
	flush     sync.Once

	observed map[attemptID]*openAttempt // attempts whose end the observer was not told yet; guarded by mu
}

// runningStep is what is known of a running step of a sequence, which spares reading it.
type runningStep struct {
	parent *Execution
	in     *value // nil when it is not known
}

// NewExecutor returns an executor with an id of its own.
func (e *Engine) NewExecutor(opts ExecutorOptions) *Executor {
	x := &Executor{
		Engine: e, id: NewID(), free: e.cfg.Concurrency,
		results: results{store: e.cfg.Store, codec: e.cfg.Codec},
		running: map[attemptID]*attempt{}, unborn: map[string]*unborn{}, steps: map[string]*runningStep{}, changed: make(chan struct{}, 1),
		closing: make(chan struct{}), flushed: make(chan struct{}), payloads: payloads{usual: firstPayload},
		company: company{changed: make(chan struct{}, 1)},
	}
	if opts.SweepOnly {
		x.sweepOnly, x.free = true, 0
	}
	if !opts.Deadline.IsZero() {
		x.deadline = opts.Deadline.Add(-e.cfg.FlushMargin)
	}
	x.log = e.cfg.Logger.With(logExecutor, x.id)
	x.follow = follower{writer: writer{e.cfg.Store, &e.local, &e.cfg.Observer}, count: newCounter(e.cfg.Store), moveOn: x.moveOn, parentOf: x.parentOf}
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

// Shutdown ends the executor in good order: it starts nothing more, tells running code (see ShuttingDown), and
// waits for it until ctx ends. Then it ends the code's contexts with the cause ErrShutdown, gives back what comes
// to nothing by that, for another executor to start at once, and flushes.
func (x *Executor) Shutdown(ctx context.Context) {
	x.mu.Lock()
	if !x.shuttingDown() {
		close(x.closing)
	}
	x.mu.Unlock()
	done := make(chan struct{})
	go func() {
		x.Flush()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	x.mu.Lock()
	x.graceOver = true
	for _, a := range x.running {
		a.cancel(ErrShutdown)
	}
	x.mu.Unlock()
	<-done
}

// begin notes that something is under way for which Flush waits; it reports false when the executor shuts down.
// Whoever got true calls work.Done.
func (x *Executor) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shuttingDown() {
		return false
	}
	x.work.Add(1)
	return true
}

func (x *Executor) shuttingDown() bool {
	select {
	case <-x.closing:
		return true
	default:
		return false
	}
}

// Result is what a pass did.
type Result struct {
	// Done counts executions that the pass started or changed.
	Done int
	// Lost counts due entries that came to nothing: somebody else was faster, or the entry was out of date.
	Lost int
	// Corrupt counts due entries whose record cannot be read; they were taken out of their queue: see Swept.
	Corrupt int
	// NextDue is the earliest due time to come in the queues that the pass looked at; zero when it saw none.
	NextDue time.Time
	// Due counts the entries that were due when the pass looked at its queues. It stops counting at what a pass takes, so
	// that it is a lower bound of a long backlog.
	Due int
	// OldestDue is the earliest due time that the pass saw in its queues and that was over; zero when nothing was due.
	OldestDue time.Time
	// Unseen tells that the pass did not look at its queue: the executor had neither room nor time for what it might find.
	Unseen bool
	// more tells that a pass of StartReady took all that it had room for.
	more bool
	// untried is how many of the ids that StartIDs was given it had no room for, at their end.
	untried int
}

func (r *Result) add(s Swept) {
	r.Done += len(s.Executions)
	r.Lost += s.Lost
	r.Due += s.Due
	r.OldestDue = earlier(r.OldestDue, s.OldestDue)
	r.Corrupt += s.Corrupt
	if !s.NextDue.IsZero() && (r.NextDue.IsZero() || s.NextDue.Before(r.NextDue)) {
		r.NextDue = s.NextDue
	}
}

// then returns what a pass did that looked once more and did next.
func (r Result) then(next Result) Result {
	next.Due = max(r.Due, r.Done+next.Due)
	next.OldestDue = earlier(r.OldestDue, next.OldestDue)
	next.Done += r.Done
	next.Lost += r.Lost
	next.Corrupt += r.Corrupt
	return next
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

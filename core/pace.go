package core

import (
	"context"
	"time"
)

// pace bounds how many attempts an executor has under way by how long the store takes: each of them has to write its end
// within its lease, and what the store cannot finish by then would be done again, at its cost. It grows with each write
// that is answered soon, and is halved when one takes too long. A store that keeps up never meets it.
type pace struct {
	limit    float64       // attempts under way; 0 until the store has answered
	answered time.Time     // when it answered last
	cut      time.Time     // when it was halved last
	fastest  time.Duration // the shortest answer of late
	usual    time.Duration // what an answer takes: a mean in which the last ones weigh most
	look     time.Duration // usual, of looks at the queue that found nothing
	lag      time.Duration // the longest of late between a claim and the beginning of its code
	late     int           // how often in a row code could not begin in time
	lateAt   time.Time     // when that was last
	claim    int           // how many executions a claim may ask for; 0 until one was answered
}

const (
	// firstLimit is the least that the first answer, which may have set up a connection, makes of the limit.
	firstLimit = 4
	// firstClaim is how many executions are claimed at once before it is known how long the store takes for them.
	firstClaim = 8
)

// most returns the limit, which is at most the executor's slots. The caller holds x.mu, as of all below that say nothing
// else.
func (x *Executor) most() int {
	if x.pace.limit == 0 {
		return x.cfg.Concurrency
	}
	unasked := int(time.Since(x.pace.answered).Seconds()) // what was learned while long code runs is soon out of date
	return max(1, min(x.cfg.Concurrency, int(x.pace.limit)+unasked))
}

// slow reports whether the store is what bounds the attempts under way.
func (x *Executor) slow() bool { return x.most() < x.cfg.Concurrency }

// timed notes how long the store took for a write or a claim that was asked for at the given time. It takes x.mu.
func (x *Executor) timed(ctx context.Context, began time.Time) {
	now := time.Now()
	took := now.Sub(began)
	x.mu.Lock()
	p, limit := &x.pace, x.cfg.Leeway/2
	if p.fastest == 0 || took < p.fastest {
		p.fastest = took
	}
	p.fastest += (took - p.fastest) / 32
	p.usual += (took - p.usual) / 8
	before := x.most()
	p.answered = now
	switch {
	case p.limit == 0: // the store may serve one request after the other
		p.limit = float64(x.cfg.Concurrency)
		if took > 0 {
			p.limit = min(p.limit, max(firstLimit, float64(x.cfg.Leeway)/float64(took)))
		}
	case took > limit && began.After(p.cut):
		p.limit = max(1, min(p.limit, float64(x.cfg.Concurrency-x.free))/2)
		p.cut = now
	case took <= limit/8, took <= limit/2 && took <= 2*p.fastest:
		p.limit++
	case took <= limit/2:
		p.limit += 1 / p.limit
	}
	p.limit = min(p.limit, float64(x.cfg.Concurrency))
	var w unbornChild
	waits := false
	if x.most() > before {
		x.feed()
		w, waits = x.takePatient()
	}
	x.mu.Unlock()
	x.startPatients(context.WithoutCancel(ctx), w, waits)
}

// claimLimit returns how many executions may be claimed at once: as many as the store can claim in a moment, since none of
// them begins before the last is claimed, and the leases of all count from the first.
func (x *Executor) claimLimit() int {
	if x.pace.claim == 0 {
		return firstClaim
	}
	return x.pace.claim
}

// claimed notes how long a claim of n executions took. It takes x.mu.
func (x *Executor) claimed(n int, took time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	moment := min(2*quick, x.cfg.Leeway/4)
	can := x.cfg.Concurrency
	if took > 0 {
		can = int(max(1, min(float64(can), float64(n)*float64(moment)/float64(took))))
	}
	if took <= moment { // a claim of few tells little about one of many
		can = max(can, x.claimLimit())
	}
	x.pace.claim = can
}

// unhurried returns a pause before another look at a queue, which is so many times as long as an answer of the store takes
// where that is longer: looking is not to take up a slow store. It takes x.mu.
func (x *Executor) unhurried(pause time.Duration, times int) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return max(pause, min(time.Duration(times)*x.pace.look, mostExtra))
}

// looked notes how long a look at the queue took that found nothing. It takes x.mu.
func (x *Executor) looked(took time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pace.look += (took - x.pace.look) / 4
}

const (
	// quick is how long an answer may take, and code may wait for its input, that no lease is made longer for.
	quick = 250 * time.Millisecond
	// mostExtra bounds by how much a lease is longer, and a look at a queue is later, for a slow store.
	mostExtra = time.Minute
)

// extra returns by how much longer a lease has to be because the store is slow: by what its claim, the reading of the input
// and the write of its end will take. It takes x.mu.
func (x *Executor) extra() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	slow := max(x.pace.usual, x.pace.lag)
	if slow < quick {
		return 0
	}
	return min(3*slow, mostExtra).Truncate(time.Millisecond)
}

// codeStart returns from when on an attempt's time counts: from its claim, unless its lease, and what is left of the
// executor's life, have more for it.
func (x *Executor) codeStart(claimed, leaseEnd time.Time, timeout time.Duration, now time.Time) time.Time {
	start := earlier(now, leaseEnd.Add(-x.cfg.Leeway-timeout))
	if !x.deadline.IsZero() {
		start = earlier(start, x.deadline.Add(-timeout))
	}
	if start.Before(claimed) {
		return claimed
	}
	return start
}

// unbegunDelay returns how long what could not begin in time is left alone: longer each time in a row, and not what several
// executors agree on. It takes x.mu.
func (x *Executor) unbegunDelay() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := min(time.Second<<min(max(0, x.pace.late-1), 10), 30*time.Second)
	return d + time.Duration(x.cfg.Random()*float64(d))
}

// beginsLate notes how long after its claim an attempt's code could begin, and reports whether that is too late: it is to
// have nearly all of its time, which counts from start. It takes x.mu.
func (x *Executor) beginsLate(claimed, start time.Time, timeout time.Duration) bool {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pace.lag = max(now.Sub(claimed), x.pace.lag-x.pace.lag/16)
	if now.Sub(start) > max(time.Second, timeout/4) {
		if claimed.After(x.pace.lateAt) { // those claimed before have met the same slowness
			x.pace.late++
			x.pace.lateAt = now
		}
		return true
	}
	x.pace.late = 0
	return false
}

package simtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// plan is what a seed makes happen.
type plan struct {
	storm   time.Duration // when everything calms down
	weather weather
	lag     float64 // how likely the index shows a change late
	inline  int
	slots   []slotPlan
	acts    []act
}

// slotPlan is a place for one process at a time.
type slotPlan struct {
	skew        time.Duration
	functions   bool // it works as the loop functions do, in invocations that end
	concurrency int
	dies        []time.Duration // when its process is killed
	quits       []time.Duration // when its process is told to end
	freezes     []freeze        // when nothing gets through
}

// freeze is a time in which a process, or its network, stands still: what it does takes effect at the end.
type freeze struct{ from, to time.Duration }

// frozen returns how long what happens now has to wait.
func (p slotPlan) frozen(now time.Duration) time.Duration {
	for _, f := range p.freezes {
		if f.from <= now && now < f.to {
			return f.to - now
		}
	}
	return 0
}

// act is one thing that somebody does at some time, by a client of a process.
type act struct {
	at   time.Duration
	what string // enqueue, cancel, wake, redrive
	id   string // of the root, or a sleeper's key
	part Part
	opts core.EnqueueOptions
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func newPlan(r *rand.Rand) plan {
	p := plan{
		storm:   between(r, 20*time.Second, 100*time.Second),
		weather: weather{fault: []float64{0, 0.01, 0.05, 0.3}[r.IntN(4)], crash: []float64{0, 0, 0.002, 0.02}[r.IntN(4)]},
		lag:     []float64{0, 0.1, 0.5}[r.IntN(3)],
		inline:  []int{0, 60}[r.IntN(2)],
	}
	for range 1 + r.IntN(4) {
		slot := slotPlan{
			skew:      time.Duration(r.IntN(4001)-2000) * time.Millisecond,
			functions: r.IntN(2) == 0, concurrency: []int{1, 2, 5, 100}[r.IntN(4)],
		}
		for range r.IntN(4) {
			slot.dies = append(slot.dies, between(r, time.Second, p.storm))
		}
		for range r.IntN(2) {
			slot.quits = append(slot.quits, between(r, time.Second, p.storm))
		}
		for range r.IntN(3) {
			from := between(r, 0, p.storm)
			slot.freezes = append(slot.freezes, freeze{from, from + between(r, 100*time.Millisecond, 30*time.Second)})
		}
		p.slots = append(p.slots, slot)
	}
	var keys []string
	for n := range 2 + r.IntN(8) {
		name := fmt.Sprintf("root%d", n)
		part := newPart(r, name, 3)
		at := between(r, 0, p.storm*2/3)
		a := act{at: at, what: "enqueue", id: name, part: part, opts: core.EnqueueOptions{ID: name}}
		if part.Kind == kindSleep {
			a.id = core.SleepID(name)
		}
		if r.IntN(4) == 0 {
			a.opts.Delay = between(r, 0, 10*time.Second)
		}
		if r.IntN(10) == 0 && part.Kind != kindSleep {
			a.opts.StartToFinish = between(r, time.Second, 20*time.Second)
		}
		if r.IntN(5) == 0 && part.Kind != kindSleep { // two of them at once, with one key
			a.opts.ID, a.opts.Key, a.id = "", name, core.KeyID(name)
			p.acts = append(p.acts, a)
		}
		p.acts = append(p.acts, a)
		if r.IntN(3) == 0 {
			within := []time.Duration{100 * time.Millisecond, 2 * time.Second, 20 * time.Second}[r.IntN(3)]
			p.acts = append(p.acts, act{at: at + a.opts.Delay + between(r, 0, within), what: "cancel", id: a.id})
		}
		if r.IntN(2) == 0 && part.Kind != kindSleep {
			p.acts = append(p.acts, act{at: at + between(r, 5*time.Second, 60*time.Second), what: "redrive", id: a.id})
		}
		keys = append(keys, part.sleepers()...)
	}
	for _, key := range keys {
		for range r.IntN(3) {
			p.acts = append(p.acts, act{at: between(r, 0, p.storm+20*time.Second), what: "wake", id: key})
		}
	}
	return p
}

// tries is how often somebody tries to get an answer, once a second.
const tries = 100

// act does one thing until it has an answer.
func (s *simulation) act(n int, a act) {
	r := s.rand(fmt.Sprint("act ", n))
	time.Sleep(a.at + latency(r))
	if a.what == "cancel" || a.opts.StartToFinish > 0 {
		s.mu.Lock()
		s.unsure[a.id] = true
		s.mu.Unlock()
	}
	for range tries {
		p := s.slots[r.IntN(len(s.slots))].current()
		if p != nil && s.try(p, a) {
			return
		}
		time.Sleep(time.Second + latency(r))
	}
}

// try does one thing by a process's client. It reports whether that gave an answer.
func (s *simulation) try(p *member, a act) bool {
	var err error
	switch a.what {
	case "enqueue":
		err = p.program.enqueue(s.ctx, p.client, a.part, a.opts)
		if err == nil || errors.Is(err, core.ErrAlreadyExists) && a.part.Kind != kindSleep {
			s.mu.Lock()
			s.enqueued[a.id] = a.part
			s.mu.Unlock()
		}
		return err == nil || errors.Is(err, core.ErrAlreadyExists)
	case "cancel":
		err = p.client.Cancel(s.ctx, a.id, "enough")
	case "redrive":
		_, err = p.client.Redrive(s.ctx, a.id)
	case "wake":
		_, err = core.Wakeup(s.ctx, p.client, p.program.sleep, a.id, "woken "+a.id)
	}
	for _, answer := range []error{core.ErrNotFound, core.ErrFinished, core.ErrNotAllowed, core.ErrAlreadyExists, core.ErrInvalid} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return err == nil
}

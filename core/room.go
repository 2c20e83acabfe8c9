package core

import "context"

// payloads is what the attempts under way have in memory: inputs that are loaded, outputs that are not written yet. What
// an attempt will take is not known before it is claimed, so it is taken to be what others took.
type payloads struct {
	held    float64 // bytes
	holders int     // attempts that have told what they take
	usual   float64 // bytes of an attempt: a mean in which the last ones weigh most
}

const (
	// firstPayload is what the first attempts are taken to need, until it is known.
	firstPayload = 64 << 10
	// leastPayload is what any attempt is taken to need.
	leastPayload = 1 << 10
)

// see takes what an attempt needs into account for those to come.
func (p *payloads) see(bytes float64) { p.usual += (max(bytes, leastPayload) - p.usual) / 16 }

// holding is what one attempt has in memory.
type holding struct {
	x     *Executor
	bytes float64
	told  bool
}

// add notes that the attempt has further bytes in memory.
func (h *holding) add(bytes int) {
	h.x.mu.Lock()
	defer h.x.mu.Unlock()
	p := &h.x.payloads
	if !h.told {
		h.told = true
		p.holders++
		p.see(float64(bytes))
	}
	h.bytes += float64(bytes)
	p.held += float64(bytes)
	h.x.feed()
}

// end notes that the attempt has nothing in memory any more.
func (h *holding) end() {
	if !h.told {
		return
	}
	h.x.mu.Lock()
	defer h.x.mu.Unlock()
	p := &h.x.payloads
	p.held -= h.bytes
	p.holders--
	p.see(h.bytes)
}

// reserve takes room for at most n attempts and returns for how many.
func (x *Executor) reserve(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n = max(0, min(n, x.room()))
	x.free -= n
	return n
}

// reserveNext takes room for the step after one that has ended here, and reports whether there was room. The pace of a slow
// store does not count: the step before is about to give its room back, and a step that goes through the queue costs the
// store more.
func (x *Executor) reserveNext() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if min(x.slots(), x.places()) <= 0 {
		return false
	}
	x.free--
	return true
}

// release gives back the room of an attempt that ended. Children that wait for room get it first, then what waits to run
// apart. What is left goes to the loop that starts attempts, which is told when there is enough for a look at the queue.
// The loop of an executor that is to end soon is told when nothing is under way any more.
func (x *Executor) release(ctx context.Context) {
	x.mu.Lock()
	x.free++
	w, waits := x.takePatient()
	x.mu.Unlock()
	x.startPatients(context.WithoutCancel(ctx), w, waits)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.makesRoom(context.WithoutCancel(ctx))
	x.signalWhenIdle()
}

// signalWhenIdle tells the loop of an executor that is to end soon that nothing is under way any more. The caller holds x.mu.
func (x *Executor) signalWhenIdle() {
	if x.brief && x.underWay() == 0 {
		x.signal()
	}
}

// feed tells the loop that starts attempts, when it waits for room, that there is some. The caller holds x.mu.
func (x *Executor) feed() {
	if x.hungry && x.roomy() {
		x.hungry = false
		x.signal()
	}
}

// room returns how many attempts may be started that were not recovered: as many as there are slots, as the store keeps up
// with, and as may run beside those that were recovered. The caller holds x.mu.
func (x *Executor) room() int {
	return max(0, min(x.slots(), x.places(), x.most()-(x.cfg.Concurrency-x.free)))
}

// slots returns how many slots there are: as many as are free, and as the payloads leave room for, if they are
// of the usual size; one in any case when none is under way. The caller holds x.mu.
func (x *Executor) slots() int {
	busy := x.cfg.Concurrency - x.free
	expected := x.payloads.held + float64(busy-x.payloads.holders)*x.payloads.usual
	left := int((float64(x.cfg.MaxPayload) - expected) / x.payloads.usual)
	if busy == 0 {
		left = max(1, left)
	}
	return max(0, min(x.free, left))
}

// roomy reports whether there is room for as many attempts as a look at the queue is worth. The caller holds x.mu.
func (x *Executor) roomy() bool {
	most := min(x.most(), int(float64(x.cfg.MaxPayload)/x.payloads.usual))
	if beside := x.mostBeside(); beside < most {
		most = beside + 1
	}
	return x.room() >= max(1, most/4)
}

// fitsNobody reports whether no executor has time for an attempt of the execution. The attempt of a sequence runs no code.
func (x *Executor) fitsNobody(e *Execution, def *definition) bool {
	return def.sequence == nil && x.cfg.Limits.tooLong(e.Timeout)
}

// hasRoomFor reports whether n attempts could start at once.
func (x *Executor) hasRoomFor(n int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return n <= x.room()
}

// signal makes the loop that starts attempts look at the queue. The caller holds x.mu.
func (x *Executor) signal() {
	x.wanted = true
	x.nudge()
}

// nudge makes the loop that starts attempts think again how long it waits.
func (x *Executor) nudge() {
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

// waitsForRoom reports whether there is too little room for a look at the queue, and asks to be told when there is.
func (x *Executor) waitsForRoom() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hungry = !x.roomy()
	return x.hungry
}

// busy returns how many attempts are under way.
func (x *Executor) busy() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.underWay()
}

// underWay is busy for a caller that holds x.mu. Abandoned code is not waited for: its attempt is over.
func (x *Executor) underWay() int { return x.cfg.Concurrency - x.free - x.abandoned }

package memstore

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// QueueCancellation names the index of flagged executions in a Change. Its entries are due when the lease of the
// executor that has to be told ends.
const QueueCancellation core.Queue = "cancellation"

// Change is an entry that a write puts into the index, or takes out of it.
type Change struct {
	ID      string
	Queue   core.Queue
	DueAt   time.Time
	Removed bool
}

// entry is an execution's place in a queue of the index.
type entry struct {
	id    string
	queue core.Queue
	due   time.Time
	order uint64 // of entries that are due at the same time
	place int    // in the heap; hidden when it is not there
	taken bool   // by the sweep that is under way
	// from is the first sweep that sees the entry; until, once it is removed, the first that does not any more.
	from, until int
	removed     bool
}

const (
	hidden = -1
	never  = math.MaxInt
)

// index is one queue of the index: a heap of what the next sweep sees, and what Lag holds back.
type index struct {
	seen    entries
	lagging []*entry
	sweeps  int // begun so far
}

// show puts an entry and returns it; nil for core.QueueNone.
func (s *Store) show(q core.Queue, id string, due time.Time) *entry {
	if q == core.QueueNone {
		return nil
	}
	s.writes++
	x, e := s.indexes[q], &entry{id: id, queue: q, due: due, order: s.writes, place: hidden}
	e.from = s.firstSweep(x, e)
	x.update(e)
	return e
}

// hide takes an entry out; nil is none.
func (s *Store) hide(e *entry) {
	if e == nil {
		return
	}
	x := s.indexes[e.queue]
	e.removed = true
	e.until = s.firstSweep(x, e)
	x.update(e)
}

// firstSweep returns the first sweep that sees a change of e.
func (s *Store) firstSweep(x *index, e *entry) int {
	next := x.sweeps + 1
	return s.afterLag(next, Change{ID: e.id, Queue: e.queue, DueAt: e.due, Removed: e.removed})
}

// afterLag returns the first look at an index that sees a change which next would see if nothing lagged.
func (s *Store) afterLag(next int, c Change) int {
	if s.options.Lag == nil {
		return next
	}
	lag := s.options.Lag(c)
	if lag < 0 {
		return never
	}
	return next + lag
}

// update brings the heap to what the next sweep sees of e, and notes e when a later one sees something else.
func (x *index) update(e *entry) {
	next := x.sweeps + 1
	gone := e.removed && e.until <= max(e.from, next)
	switch seen := e.from <= next && !gone; {
	case seen && e.place == hidden && !e.taken:
		heap.Push(&x.seen, e)
	case !seen && e.place != hidden:
		heap.Remove(&x.seen, e.place)
	}
	if later := !gone && (e.from > next || e.removed); later && !slices.Contains(x.lagging, e) {
		x.lagging = append(x.lagging, e)
	}
}

// begin brings the heap to what the sweep that begins sees.
func (x *index) begin() {
	lagging := x.lagging
	x.lagging = nil
	for _, e := range lagging {
		x.update(e)
	}
	x.sweeps++
}

// settle makes every change visible.
func (x *index) settle() {
	lagging := x.lagging
	x.lagging = nil
	for _, e := range lagging {
		e.from, e.until = 0, 0
		x.update(e)
	}
}

// take removes the earliest entry for the sweep that is under way, which gives it back.
func (x *index) take() *entry {
	e := heap.Pop(&x.seen).(*entry)
	e.taken = true
	return e
}

// giveBack undoes take for the entries that a later sweep still sees.
func (x *index) giveBack(taken []*entry) {
	for _, e := range taken {
		e.taken = false
		x.update(e)
	}
}

// entries is a heap, earliest due first, of those due at the same time the oldest first.
type entries []*entry

func (h entries) Len() int { return len(h) }

func (h entries) Less(i, j int) bool { return before(h[i], h[j]) < 0 }

func before(a, b *entry) int {
	if c := a.due.Compare(b.due); c != 0 {
		return c
	}
	return cmp.Compare(a.order, b.order)
}

func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *entries) Push(v any) {
	e := v.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *entries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.place = hidden
	return e
}

package memstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/perdure-dev/perdure/core"
)

// record is a stored execution and what is kept for it. The execution is replaced and never changed in place.
type record struct {
	*core.Execution
	entry *entry // in the queue of the execution; nil for none
	flag  *entry // in QueueCancellation; nil when the execution is not flagged
	// listed are the record's entries in the list: its own and those that are still seen.
	listed []listed
	// buckets are the counted children of a family of more than core.CountDirect, by bucket.
	buckets map[int]*bucket
}

// clone returns a copy of e of which everything but payload bytes may be changed.
func clone(e *core.Execution) *core.Execution {
	c := *e
	if e.Parent != nil {
		parent := *e.Parent
		c.Parent = &parent
	}
	if e.Failure != nil {
		failure := *e.Failure
		c.Failure = &failure
	}
	if e.Family != nil {
		family := *e.Family
		family.Counted = slices.Clone(family.Counted)
		c.Family = &family
	}
	return &c
}

// put makes after the record's execution.
func (s *Store) put(r *record, after *core.Execution) {
	if err := check(r.Execution, after); err != nil {
		s.options.Broken(fmt.Errorf("memstore: write of execution %s breaks an invariant: %w", after.ID, err))
	}
	s.reindex(r, after)
	r.Execution = after
	s.records[after.ID] = r
}

// reindex changes the index entries of a record to those of after.
func (s *Store) reindex(r *record, after *core.Execution) {
	if e := r.entry; e == nil || e.queue != after.Queue || !e.due.Equal(after.DueAt) {
		s.hide(e)
		r.entry = s.show(after.Queue, after.ID, after.DueAt)
	}
	queue, due := QueueCancellation, after.LeaseEnd()
	if !after.NeedsCancellation {
		queue = core.QueueNone
	}
	if e := r.flag; e != nil || queue != core.QueueNone {
		s.hide(e)
		r.flag = s.show(queue, after.ID, due)
	}
	s.relist(r, after)
}

// store returns a copy of e, whose payloads that do not go inline are kept apart. It sets the Ref of e's own, so that the
// next write of what was made of e does not keep them once more.
func (s *Store) store(e *core.Execution) *core.Execution {
	c := clone(e)
	c.RootTaskID = c.RootTask()
	if s.options.Inline == 0 {
		return c
	}
	own := ownPayloads(e)
	for i, p := range payloads(c) {
		switch {
		case p.Ref != "":
			p.Data = nil
		case len(p.Data) > s.options.Inline:
			s.writes++
			p.Ref = e.ID + "/" + strconv.FormatUint(s.writes, 10)
			s.parts[p.Ref], p.Data = p.Data, nil
			own[i].Ref = p.Ref
		}
	}
	return c
}

// refer gives the payloads of e, which was written before, the Refs of what is stored.
func refer(e, stored *core.Execution) {
	from := payloads(stored)
	for i, p := range ownPayloads(e) {
		p.Ref = from[i].Ref
	}
}

// ownPayloads is payloads of a caller's record, which shares its failure with others.
func ownPayloads(e *core.Execution) []*core.Payload {
	if e.Failure != nil {
		own := *e.Failure
		e.Failure = &own
	}
	return payloads(e)
}

// payloads returns the payloads of e, to be read or changed.
func payloads(e *core.Execution) []*core.Payload {
	all := []*core.Payload{&e.Input, &e.RunOutput, &e.Output}
	if e.Failure != nil {
		all = append(all, e.Failure.Payloads()...)
	}
	if e.Family != nil {
		all = append(all, &e.Family.Manifest)
	}
	return all
}

// Load implements core.Store.
func (s *Store) Load(_ context.Context, payloads ...*core.Payload) error {
	if err := core.CheckPayloads(payloads...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range payloads {
		if p.Loaded() {
			continue
		}
		data, ok := s.parts[p.Ref]
		if !ok {
			return fmt.Errorf("%w payload %s: it is gone: %w", core.ErrCorrupt, p.Ref, core.ErrNotFound)
		}
		p.Data = data
	}
	return nil
}

// Package memstore keeps executions in memory. It is the default store of a program that embeds the engine, and
// the reference model that other stores are held against: it checks on every write that the engine keeps its
// invariants, and shows index entries late or too long when a test asks for it.
//
// All calls are serialised by one mutex. Claims cost O(log n) of the backlog. Nothing survives the process. Executions
// whose retention is over are gone for users, and their ids are free, as in the store on DynamoDB; their records stay in
// memory until they are replaced or deleted.
package memstore

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

var _ core.TestStore = (*Store)(nil)

// KeepForever is the retention that ends for no execution.
const KeepForever time.Duration = -1

// Options are the options of a Store; the zero value works.
type Options struct {
	// Retention is how long an execution is kept after it was closed; children are kept a year longer, since an ancestor may
	// still wait. KeepForever, or less, keeps all. Default 30 days, as in the store on DynamoDB.
	Retention time.Duration
	// Inline is how many bytes a payload may have to be returned with the record; a longer one is returned with
	// a Ref only, as from a store whose records are limited. Default 0: every payload comes with the record.
	Inline int
	// Lag returns how many sweeps of the change's queue do not see the change yet; one with a negative number
	// is not seen before Settle. It is called with the store locked. Default: every change is seen at once.
	Lag func(Change) int
	// Broken is called with the store locked when a write breaks one of the engine's invariants; the write goes
	// ahead if it returns. Default: panic.
	Broken func(error)
}

// Store is a core.Store in memory. It is safe for concurrent use.
type Store struct {
	options Options

	mu      sync.Mutex
	records map[string]*record
	indexes map[core.Queue]*index
	// inserted holds, for each parent, the ids of children that were inserted under ids of their own.
	inserted map[string][]string
	// parts holds the payloads that do not go inline, by their Ref.
	parts map[string][]byte
	// lists counts the calls of List.
	lists int
	// writes counts index entries, refs and whatever else needs a number of its own.
	writes uint64
}

// New returns an empty store.
func New(options Options) *Store {
	if options.Retention == 0 {
		options.Retention = 30 * 24 * time.Hour
	}
	if options.Broken == nil {
		options.Broken = func(err error) { panic(err) }
	}
	s := &Store{options: options}
	s.clear()
	return s
}

func (s *Store) clear() {
	s.records = map[string]*record{}
	s.inserted = map[string][]string{}
	s.parts = map[string][]byte{}
	s.indexes = map[core.Queue]*index{QueueCancellation: {}}
	for _, q := range core.Queues() {
		s.indexes[q] = &index{}
	}
}

// Len returns how many executions there are.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// Each calls f for every execution as it was at one moment, ordered by id. f may use the store.
func (s *Store) Each(f func(*core.Execution)) {
	s.mu.Lock()
	all := make([]*core.Execution, 0, len(s.records))
	for _, r := range s.records {
		all = append(all, clone(r.Execution))
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *core.Execution) int { return strings.Compare(a.ID, b.ID) })
	for _, e := range all {
		f(e)
	}
}

// NextDue returns the earliest due time in the queues, which may be over, also of entries that Lag holds back; zero when
// they are empty.
func (s *Store) NextDue(queues ...core.Queue) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	for _, q := range queues {
		x := s.indexes[q]
		for _, e := range slices.Concat(x.seen[:min(1, len(x.seen))], x.lagging) {
			if next.IsZero() || e.due.Before(next) {
				next = e.due
			}
		}
	}
	return next
}

// Settle makes every change of the index visible that Lag has held back.
func (s *Store) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.indexes {
		x.settle()
	}
	for _, r := range s.records {
		r.settleList()
	}
}

// Insert implements core.Store.
func (s *Store) Insert(_ context.Context, executions []*core.Execution) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(executions))
	for i, e := range executions {
		errs[i] = s.insert(e)
	}
	return errs
}

func (s *Store) insert(e *core.Execution) error {
	if err := core.CheckRecord(e); err != nil {
		return err
	}
	if r := s.records[e.ID]; r != nil {
		if written(r.Execution, e) {
			refer(e, r.Execution)
			return nil
		}
		if !s.expired(r.Execution, e.UpdatedAt) {
			return core.ErrAlreadyExists
		}
		s.reindex(r, &core.Execution{})
	}
	if e.Parent != nil && !core.DerivedID(e.ID) && !slices.Contains(s.inserted[e.Parent.ID], e.ID) {
		s.inserted[e.Parent.ID] = append(s.inserted[e.Parent.ID], e.ID)
	}
	s.put(&record{}, s.store(e))
	return nil
}

// written reports whether the stored record is what the write of e made, its answer having been lost.
func written(stored, e *core.Execution) bool {
	return e.Nonce != "" && stored.Nonce == e.Nonce && stored.Rev == e.Rev
}

// childRetention is added to the retention of children.
const childRetention = 365 * 24 * time.Hour

// expired reports whether a record's retention is over: that of a kept wake-up to the millisecond, that of an execution to
// the second.
func (s *Store) expired(e *core.Execution, now time.Time) bool {
	switch {
	case e.Kept:
		return !e.ExpiresAt.After(now)
	case e.ClosedAt.IsZero() || s.options.Retention < 0:
		return false
	}
	end := e.ClosedAt.Add(s.options.Retention)
	if e.Parent != nil {
		end = end.Add(childRetention)
	}
	return end.Unix() <= now.Unix()
}

// Get implements core.Store.
func (s *Store) Get(_ context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	if err := core.CheckIDs(ids...); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]*core.Execution, len(ids))
	for i, id := range ids {
		r := s.records[id]
		if r == nil || !filter.UnexpiredAt.IsZero() && s.expired(r.Execution, filter.UnexpiredAt) {
			continue
		}
		if filter.Match(r.Execution) {
			found[i] = clone(r.Execution)
		}
	}
	return found, nil
}

// GetBySleepKey implements core.Store.
func (s *Store) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = core.SleepID(key)
	}
	found, err := s.Get(ctx, ids, core.Filter{})
	return core.WithoutKept(found), err
}

// Update implements core.Store.
func (s *Store) Update(_ context.Context, updates []core.Update) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(updates))
	for i, u := range updates {
		errs[i] = s.update(u)
	}
	return errs
}

func (s *Store) update(u core.Update) error {
	if err := core.CheckUpdate(u); err != nil {
		return err
	}
	r := s.records[u.After.ID]
	switch {
	case r == nil:
		return core.ErrNotFound
	case written(r.Execution, u.After):
		refer(u.After, r.Execution)
		return nil
	case r.Rev != u.Before.Rev:
		return &core.ConflictError{Current: clone(r.Execution)}
	}
	after := s.store(u.After)
	if !withUnions(after, r.Execution) {
		return &core.ConflictError{Current: clone(r.Execution)}
	}
	s.put(r, after)
	return nil
}

// UpdateAndInsertChildren implements core.Store.
func (s *Store) UpdateAndInsertChildren(_ context.Context, spawns []core.Spawn) []core.SpawnResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]core.SpawnResult, len(spawns))
	for i, spawn := range spawns {
		if results[i].Err = s.update(spawn.Update); results[i].Err != nil {
			continue
		}
		results[i].Children = make([]error, len(spawn.Children))
		for n, child := range spawn.Children {
			results[i].Children[n] = s.insert(child)
		}
	}
	return results
}

// Delete implements core.TestStore.
func (s *Store) Delete(_ context.Context, id string) error {
	if err := core.CheckIDs(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[id]
	if r == nil {
		return nil
	}
	s.reindex(r, &core.Execution{})
	for _, p := range payloads(r.Execution) {
		delete(s.parts, p.Ref)
	}
	delete(s.inserted, id)
	delete(s.records, id)
	return nil
}

// DeleteAll implements core.TestStore.
func (s *Store) DeleteAll(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	return nil
}

// apply writes what ev makes of a record. It reports false when the state does not allow the event.
func (s *Store) apply(r *record, ev core.Event, now time.Time) bool {
	after, err := core.Transition(r.Execution, ev, now)
	if err != nil {
		return false // a sweep skips what is not in the state that its entry promised
	}
	after.Nonce = core.NewNonce()
	s.put(r, after)
	return true
}

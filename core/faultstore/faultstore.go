// Package faultstore makes the operations of a store fail on demand, to prove that nothing depends on any one of
// them: an operation may be lost, may take effect and lose its answer, or may be the last that a process does.
//
// Operations on several records are taken apart, since a store may lose any of their writes by itself; NewWhole leaves
// them in one piece, which makes large families bearable.
package faultstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Fault is what becomes of an operation.
type Fault int

// The faults.
const (
	None       Fault = iota
	Lost             // it does not take effect; the error matches core.ErrUnknownOutcome
	Unanswered       // it takes effect; the error matches core.ErrUnknownOutcome
	Refused          // it does not take effect; the error says so, as when a table throttles
	Dies             // it takes effect, and the process ends: it and whatever follows returns ErrDead
	Retried          // it takes effect, and again, since whoever lost its answer repeats it by itself; the second answers
)

// Faults returns every fault but None.
func Faults() []Fault { return []Fault{Lost, Unanswered, Refused, Dies, Retried} }

// String returns the fault's name.
func (f Fault) String() string {
	return [...]string{"none", "lost", "unanswered", "refused", "dies", "retried"}[f]
}

var (
	// ErrDead is the error of every operation of a process that has died.
	ErrDead = errors.New("faultstore: the process is dead")
	// ErrRefused is the error of a refused operation.
	ErrRefused = errors.New("faultstore: refused")
)

// Op is an operation that is about to happen.
type Op struct {
	Number int    // from 1
	Name   string // the method's, such as Insert
	ID     string // of the record, or its parent; empty for a sweep
}

// Store is a core.Store that fails as its hook says.
type Store struct {
	store core.Store
	hook  func(Op) Fault
	whole bool

	mu   sync.Mutex
	ops  int
	dead bool
	died chan struct{}
}

var _ core.Store = (*Store)(nil)

// New returns a store whose operations the hook decides on. It is called for one operation at a time.
func New(store core.Store, hook func(Op) Fault) *Store {
	return &Store{store: store, hook: hook, died: make(chan struct{})}
}

// NewWhole is New for a store whose operations on several records happen or fail in one piece. Their Op names the first
// record.
func NewWhole(store core.Store, hook func(Op) Fault) *Store {
	s := New(store, hook)
	s.whole = true
	return s
}

// Ops returns how many operations there were.
func (s *Store) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops
}

// Died returns a channel that is closed when the process dies.
func (s *Store) Died() <-chan struct{} { return s.died }

// Kill makes the process die now, between two operations.
func (s *Store) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dead {
		s.dead = true
		close(s.died)
	}
}

// do does one operation as its fault says; apply returns its error.
func (s *Store) do(name, id string, apply func() error) error {
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return ErrDead
	}
	s.ops++
	fault := s.hook(Op{Number: s.ops, Name: name, ID: id})
	if fault == Dies {
		s.dead = true
		close(s.died)
	}
	s.mu.Unlock()
	unknown := fmt.Errorf("faultstore: %s of %s %s: %w", name, id, fault, core.ErrUnknownOutcome)
	switch fault {
	case Lost:
		return unknown
	case Refused:
		return fmt.Errorf("%s of %s: %w", name, id, ErrRefused)
	case Unanswered:
		_ = apply() // nobody learns what it came to
		return unknown
	case Dies:
		_ = apply()
		return ErrDead
	case Retried:
		_ = apply()
	case None:
	}
	return apply()
}

// batch does an operation on several records, whose answers are apply's: whole, or one by one.
func batch[In, Out any](s *Store, name string, items []In, id func(In) string, apply func([]In) []Out, failed func(error) Out) []Out {
	size := 1
	if s.whole {
		size = len(items)
	}
	var answers []Out
	for part := range slices.Chunk(items, max(1, size)) {
		var got []Out
		err := s.do(name, id(part[0]), func() error {
			got = apply(part)
			return nil
		})
		if err != nil {
			got = slices.Repeat([]Out{failed(err)}, len(part))
		}
		answers = append(answers, got...)
	}
	return answers
}

func same(err error) error { return err }

// idOf returns the id of a record; empty for none, which stores refuse.
func idOf(e *core.Execution) string {
	if e == nil {
		return ""
	}
	return e.ID
}

// Insert implements core.Store.
func (s *Store) Insert(ctx context.Context, executions []*core.Execution) []error {
	return batch(s, "Insert", executions, idOf,
		func(part []*core.Execution) []error { return s.store.Insert(ctx, part) }, same)
}

// Update implements core.Store.
func (s *Store) Update(ctx context.Context, updates []core.Update) []error {
	return batch(s, "Update", updates, func(u core.Update) string { return idOf(u.After) },
		func(part []core.Update) []error { return s.store.Update(ctx, part) }, same)
}

// UpdateAndInsertChildren implements core.Store.
func (s *Store) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	results := make([]core.SpawnResult, len(spawns))
	for i, spawn := range spawns {
		if results[i].Err = s.Update(ctx, []core.Update{spawn.Update})[0]; results[i].Err == nil {
			results[i].Children = s.Insert(ctx, spawn.Children)
		}
	}
	return results
}

// CountFinished implements core.Store.
func (s *Store) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	return batch(s, "CountFinished", counts, func(c core.Count) string { return c.ParentID },
		func(part []core.Count) []core.CountResult { return s.store.CountFinished(ctx, now, part) },
		func(err error) core.CountResult { return core.CountResult{Err: err} })
}

// UpdateChildren implements core.Store.
func (s *Store) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) (changed []*core.Execution, err error) {
	return changed, s.do("UpdateChildren", parentID, func() error {
		changed, err = s.store.UpdateChildren(ctx, parentID, finished, ev, now)
		return err
	})
}

// get does an operation that returns something, which is dropped when there is an error.
func get[T any](s *Store, name, id string, read func() (T, error)) (T, error) {
	var out T
	err := s.do(name, id, func() (err error) {
		out, err = read()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// Get implements core.Store.
func (s *Store) Get(ctx context.Context, ids []string, filter core.Filter) ([]*core.Execution, error) {
	return get(s, "Get", first(ids), func() ([]*core.Execution, error) { return s.store.Get(ctx, ids, filter) })
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

// GetBySleepKey implements core.Store.
func (s *Store) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	return get(s, "GetBySleepKey", first(keys), func() ([]*core.Execution, error) { return s.store.GetBySleepKey(ctx, keys) })
}

// Load implements core.Store. A call that has nothing to load is no operation.
func (s *Store) Load(ctx context.Context, payloads ...*core.Payload) error {
	for _, p := range payloads {
		if !p.Loaded() {
			return s.do("Load", p.Ref, func() error { return s.store.Load(ctx, payloads...) })
		}
	}
	return nil
}

// CheckSpawn implements core.Store.
func (s *Store) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	return get(s, "CheckSpawn", parent.ID, func() ([]int, error) { return s.store.CheckSpawn(ctx, parent) })
}

// Children implements core.Store.
func (s *Store) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	return get(s, "Children", first(parentIDs), func() ([][]*core.Execution, error) { return s.store.Children(ctx, parentIDs) })
}

// ClaimReady implements core.Store.
func (s *Store) ClaimReady(ctx context.Context, claim core.ReadyClaim) (core.Swept, error) {
	return get(s, "ClaimReady", first(claim.IDs), func() (core.Swept, error) { return s.store.ClaimReady(ctx, claim) })
}

// ClaimChildrenFinished implements core.Store.
func (s *Store) ClaimChildrenFinished(ctx context.Context, claim core.Claim) (core.Swept, error) {
	return get(s, "ClaimChildrenFinished", "", func() (core.Swept, error) { return s.store.ClaimChildrenFinished(ctx, claim) })
}

// MarkClosable implements core.Store.
func (s *Store) MarkClosable(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "MarkClosable", "", func() (core.Swept, error) { return s.store.MarkClosable(ctx, sweep) })
}

// ClaimClosable implements core.Store.
func (s *Store) ClaimClosable(ctx context.Context, claim core.Claim) (core.Swept, error) {
	return get(s, "ClaimClosable", "", func() (core.Swept, error) { return s.store.ClaimClosable(ctx, claim) })
}

// ExpireRunning implements core.Store.
func (s *Store) ExpireRunning(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "ExpireRunning", "", func() (core.Swept, error) { return s.store.ExpireRunning(ctx, sweep) })
}

// ExpireSleeping implements core.Store.
func (s *Store) ExpireSleeping(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "ExpireSleeping", "", func() (core.Swept, error) { return s.store.ExpireSleeping(ctx, sweep) })
}

// ExpireChildrenFinished implements core.Store.
func (s *Store) ExpireChildrenFinished(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "ExpireChildrenFinished", "", func() (core.Swept, error) { return s.store.ExpireChildrenFinished(ctx, sweep) })
}

// ExpireClosing implements core.Store.
func (s *Store) ExpireClosing(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "ExpireClosing", "", func() (core.Swept, error) { return s.store.ExpireClosing(ctx, sweep) })
}

// ClaimCancelled implements core.Store.
func (s *Store) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	return get(s, "ClaimCancelled", executorID, func() ([]*core.Execution, error) {
		return s.store.ClaimCancelled(ctx, executorID, now, limit)
	})
}

// ExpireCancelled implements core.Store.
func (s *Store) ExpireCancelled(ctx context.Context, sweep core.Sweep) (core.Swept, error) {
	return get(s, "ExpireCancelled", "", func() (core.Swept, error) { return s.store.ExpireCancelled(ctx, sweep) })
}

// List implements core.Store.
func (s *Store) List(ctx context.Context, now time.Time, l core.Listing) (core.Page, error) {
	return get(s, "List", "", func() (core.Page, error) { return s.store.List(ctx, now, l) })
}

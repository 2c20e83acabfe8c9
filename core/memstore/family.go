package memstore

import (
	"context"
	"math/bits"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// bucket is a set of core.CountBucket children.
type bucket [core.CountBucket / 64]uint64

func (b *bucket) add(i int) { b[i/64] |= 1 << (i % 64) }

func (b *bucket) size() int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}

// CountFinished implements core.Store.
func (s *Store) CountFinished(_ context.Context, now time.Time, counts []core.Count) []core.CountResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]core.CountResult, len(counts))
	for i, c := range counts {
		if results[i].Err = core.CheckIDs(c.ParentID); results[i].Err != nil {
			continue
		}
		if r := s.count(c, now); r != nil {
			results[i].Parent = clone(r.Execution)
		}
	}
	return results
}

// count adds children to the set of their parent and returns its record; nil when there is none.
func (s *Store) count(c core.Count, now time.Time) *record {
	r := s.records[c.ParentID]
	if r == nil || r.Family == nil {
		return r
	}
	after, err := core.Transition(r.Execution, r.union(c.Indexes), now)
	if err != nil {
		return r // it does not wait for its children any more
	}
	if !r.AllCounted() && after.AllCounted() {
		after.Nonce = core.NewNonce()
		s.put(r, after)
		return r
	}
	after.Rev, after.UpdatedAt = r.Rev, r.UpdatedAt
	r.Execution = after
	return r
}

// union returns the event that counts the children with the given indexes; those that the family does not have
// count for nothing. It notes in the buckets what is not told by the event.
func (r *record) union(indexes []int) core.CountChildren {
	var ev core.CountChildren
	size := r.Family.Size
	for _, i := range indexes {
		switch {
		case i == core.FinalizeIndex:
			ev.Finalize = true
		case i < 0 || i >= size:
		case size <= core.CountDirect, r.Family.Sequential:
			ev.Units = append(ev.Units, i)
		default:
			if n := i / core.CountBucket; r.addToBucket(n, i%core.CountBucket) == core.BucketSize(size, n) {
				ev.Units = append(ev.Units, n)
			}
		}
	}
	return ev
}

// addToBucket adds a child to the n-th bucket and returns how many are in it then.
func (r *record) addToBucket(n, i int) int {
	if r.buckets == nil {
		r.buckets = map[int]*bucket{}
	}
	b := r.buckets[n]
	if b == nil {
		b = &bucket{}
		r.buckets[n] = b
	}
	b.add(i)
	return b.size()
}

// withUnions adds to after, which is about to replace stored, the children that were counted without raising
// the revision. It reports false when that completes the set behind the back of whoever made after: it has to
// decide again.
func withUnions(after, stored *core.Execution) bool {
	f, old := after.Family, stored.Family
	if f == nil || old == nil || f.Nonce != old.Nonce {
		return true
	}
	complete := after.AllCounted()
	f.Counted = append(f.Counted, old.Counted...)
	slices.Sort(f.Counted)
	f.Counted = slices.Compact(f.Counted)
	return complete || !after.AllCounted()
}

// CheckSpawn implements core.Store.
func (s *Store) CheckSpawn(ctx context.Context, parent *core.Execution) ([]int, error) {
	return core.MissingChildren(ctx, s, parent)
}

// Children implements core.Store.
func (s *Store) Children(ctx context.Context, parentIDs []string) ([][]*core.Execution, error) {
	if err := core.CheckIDs(parentIDs...); err != nil {
		return nil, err
	}
	families := make([][]*core.Execution, len(parentIDs))
	for i, id := range parentIDs {
		var err error
		if families[i], err = s.children(ctx, id); err != nil {
			return nil, err
		}
	}
	return families, nil
}

// UpdateChildren implements core.Store.
func (s *Store) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) ([]*core.Execution, error) {
	if err := core.CheckChildrenUpdate(parentID, ev); err != nil {
		return nil, err
	}
	children, err := s.children(ctx, parentID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var updated []*core.Execution
	for _, child := range children {
		if r := s.records[child.ID]; r != nil && r.Status.Finished() == finished && s.apply(r, ev, now) {
			updated = append(updated, clone(r.Execution))
		}
	}
	return updated, nil
}

// children returns the existing children of a parent by index, of those with the same one the derived first.
func (s *Store) children(ctx context.Context, parentID string) ([]*core.Execution, error) {
	s.mu.Lock()
	var parent *core.Execution
	if r := s.records[parentID]; r != nil {
		parent = clone(r.Execution)
	}
	inserted := slices.Sorted(slices.Values(s.inserted[parentID]))
	s.mu.Unlock()
	var children []*core.Execution
	if parent != nil {
		var err error
		if children, err = core.ReadChildren(ctx, s, parent, parent.ChildIndexes()); err != nil {
			return nil, err
		}
	}
	others, err := s.Get(ctx, inserted, core.Filter{})
	if err != nil {
		return nil, err
	}
	children = slices.DeleteFunc(append(children, others...), func(e *core.Execution) bool {
		// An id whose retention was over may be another parent's by now.
		return e == nil || e.Parent == nil || e.Parent.ID != parentID
	})
	slices.SortStableFunc(children, core.CompareChildren)
	return children, nil
}

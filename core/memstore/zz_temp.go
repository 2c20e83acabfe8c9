// Package memstore: temporary.
package memstore

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
)

type Options struct{}

type Store struct {
	mu      sync.Mutex
	m       map[string]*core.Execution
	buckets map[string]map[int][]int
}

func New(Options) *Store {
	return &Store{m: map[string]*core.Execution{}, buckets: map[string]map[int][]int{}}
}
func (s *Store) Len() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.m) }
func (s *Store) Each(f func(*core.Execution)) {
	s.mu.Lock()
	var all []*core.Execution
	for _, e := range s.m {
		all = append(all, e.Clone())
	}
	s.mu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	for _, e := range all {
		f(e)
	}
}
func (s *Store) insert(es []*core.Execution) []error {
	errs := make([]error, len(es))
	for i, e := range es {
		if old := s.m[e.ID]; old != nil {
			if old.Nonce != e.Nonce || e.Nonce == "" {
				errs[i] = core.ErrAlreadyExists
			}
			continue
		}
		s.m[e.ID] = e.Clone()
	}
	return errs
}
func (s *Store) Insert(_ context.Context, es []*core.Execution) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.insert(es)
}
func (s *Store) Get(_ context.Context, ids []string, f core.Filter) ([]*core.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*core.Execution, len(ids))
	for i, id := range ids {
		if e := s.m[id]; e != nil && f.Match(e) {
			out[i] = e.Clone()
		}
	}
	return out, nil
}
func (s *Store) GetBySleepKey(ctx context.Context, keys []string) ([]*core.Execution, error) {
	ids := []string{}
	for _, k := range keys {
		ids = append(ids, core.SleepID(k))
	}
	return s.Get(ctx, ids, core.Filter{})
}
func (s *Store) Load(context.Context, ...*core.Payload) error { return nil }
func (s *Store) update(u core.Update) error {
	old := s.m[u.After.ID]
	switch {
	case old == nil:
		return core.ErrNotFound
	case old.Nonce == u.After.Nonce && old.Rev == u.After.Rev:
		return nil
	case old.Rev != u.Before.Rev:
		return &core.ConflictError{Current: old.Clone()}
	}
	c := u.After.Clone()
	if c.Family != nil && old.Family != nil {
		c.Family.Counted = union(old.Family.Counted, c.Family.Counted)
	}
	s.m[c.ID] = c
	return nil
}
func union(a, b []int) []int {
	c := append(slices.Clone(a), b...)
	slices.Sort(c)
	return slices.Compact(c)
}
func (s *Store) Update(_ context.Context, us []core.Update) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(us))
	for i, u := range us {
		errs[i] = s.update(u)
	}
	return errs
}
func (s *Store) UpdateAndInsertChildren(_ context.Context, us []core.Spawn) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(us))
	for i, u := range us {
		if errs[i] = s.update(u.Update); errs[i] == nil {
			s.insert(u.Children)
		}
	}
	return errs
}
func (s *Store) sweep(q core.Queue, now time.Time, limit int, ev core.Event) (core.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []*core.Execution
	var r core.Swept
	for _, e := range s.m {
		if e.Queue != q {
			continue
		}
		if e.DueAt.After(now) {
			if r.NextDue.IsZero() || e.DueAt.Before(r.NextDue) {
				r.NextDue = e.DueAt
			}
			continue
		}
		due = append(due, e)
	}
	sort.Slice(due, func(i, j int) bool { return due[i].DueAt.Before(due[j].DueAt) })
	for _, e := range due {
		if len(r.Executions) == limit {
			break
		}
		if a := s.tr(e, ev, now); a != nil {
			r.Executions = append(r.Executions, a.Clone())
		}
	}
	return r, nil
}
func (s *Store) tr(e *core.Execution, ev core.Event, now time.Time) *core.Execution {
	a, err := core.Transition(e, ev, now)
	if err != nil {
		return nil
	}
	a.Nonce = core.NewNonce()
	s.m[e.ID] = a
	return a
}
func (s *Store) ClaimReady(_ context.Context, c core.ReadyClaim) (core.Swept, error) {
	ev := core.StartAttempt{ExecutorID: c.ExecutorID, Left: c.Left, Leeway: c.Leeway}
	if len(c.IDs) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		var r core.Swept
		for _, id := range c.IDs {
			if e := s.m[id]; e != nil && len(r.Executions) < c.Limit {
				if a := s.tr(e, ev, c.Now); a != nil {
					r.Executions = append(r.Executions, a.Clone())
				}
			}
		}
		return r, nil
	}
	return s.sweep(core.QueueReady, c.Now, c.Limit, ev)
}
func (s *Store) ClaimChildrenFinished(_ context.Context, c core.Claim) (core.Swept, error) {
	return s.sweep(core.QueueParent, c.Now, c.Limit, core.ClaimChildren{ExecutorID: c.ExecutorID, ExpiresAt: c.ExpiresAt})
}
func (s *Store) CheckSpawn(_ context.Context, p *core.Execution) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []int
	if p.Family == nil {
		return nil, nil
	}
	if p.Family.FinalizeTaskID != "" && s.m[p.ChildID(-1)] == nil {
		missing = append(missing, -1)
	}
	for i, id := range p.ChildIDs() {
		if s.m[id] == nil {
			missing = append(missing, i)
		}
	}
	return missing, nil
}
func (s *Store) CountFinished(_ context.Context, now time.Time, cs []core.Count) []core.CountResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]core.CountResult, len(cs))
	for i, c := range cs {
		out[i].Parent = s.count(now, c)
	}
	return out
}
func (s *Store) count(now time.Time, c core.Count) *core.Execution {
	p := s.m[c.ParentID]
	if p == nil {
		return nil
	}
	if p.Family == nil || p.Status.Finished() {
		return p.Clone()
	}
	ev := core.CountChildren{}
	for _, i := range c.Indexes {
		switch {
		case i == -1:
			ev.Finalize = true
		case p.Family.Size <= core.CountDirect:
			ev.Units = append(ev.Units, i)
		default:
			b := i / core.CountBucket
			if s.buckets[p.ID] == nil {
				s.buckets[p.ID] = map[int][]int{}
			}
			s.buckets[p.ID][b] = union(s.buckets[p.ID][b], []int{i})
			if len(s.buckets[p.ID][b]) == core.BucketSize(p.Family.Size, b) {
				ev.Units = append(ev.Units, b)
			}
		}
	}
	a, err := core.Transition(p, ev, now)
	if err != nil {
		return p.Clone()
	}
	if !a.AllCounted() {
		a.Rev = p.Rev
	} else {
		a.Nonce = core.NewNonce()
	}
	s.m[p.ID] = a
	return a.Clone()
}
func (s *Store) MarkClosable(_ context.Context, w core.Sweep) (core.Swept, error) {
	r, err := s.sweep(core.QueueFinished, w.Now, w.Limit, core.MarkClosable{})
	for _, e := range r.Executions {
		if e.Parent != nil {
			s.mu.Lock()
			s.count(w.Now, core.Count{ParentID: e.Parent.ID, Indexes: []int{e.Parent.Index}})
			s.mu.Unlock()
		}
	}
	return r, err
}
func (s *Store) ClaimClosable(_ context.Context, c core.Claim) (core.Swept, error) {
	return s.sweep(core.QueueClose, c.Now, c.Limit, core.ClaimClose{ExpiresAt: c.ExpiresAt})
}
func (s *Store) ExpireRunning(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(core.QueueRunning, w.Now, w.Limit, core.ExpireLease{MaxRecoveries: w.MaxRecoveries})
}
func (s *Store) ExpireSleeping(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(core.QueueSleeping, w.Now, w.Limit, core.ExpireSleep{})
}
func (s *Store) ExpireChildrenFinished(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(core.QueueParentClaimed, w.Now, w.Limit, core.ExpireChildren{MaxRecoveries: w.MaxRecoveries})
}
func (s *Store) ExpireClosing(_ context.Context, w core.Sweep) (core.Swept, error) {
	return s.sweep(core.QueueClosing, w.Now, w.Limit, core.ExpireClose{})
}
func (s *Store) ClaimCancelled(_ context.Context, x string, now time.Time, limit int) ([]*core.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*core.Execution
	for _, e := range s.m {
		if e.NeedsCancellation && e.ExecutorID == x && len(out) < limit {
			out = append(out, s.tr(e, core.ClearCancellation{}, now).Clone())
		}
	}
	return out, nil
}
func (s *Store) ExpireCancelled(_ context.Context, w core.Sweep) (core.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r core.Swept
	for _, e := range s.m {
		end := e.ExpiresAt
		if e.Family != nil && !e.Family.ProcessingExpiresAt.IsZero() {
			end = e.Family.ProcessingExpiresAt
		}
		if e.NeedsCancellation && !end.After(w.Now) && len(r.Executions) < w.Limit {
			r.Executions = append(r.Executions, s.tr(e, core.ClearCancellation{}, w.Now).Clone())
		}
	}
	return r, nil
}
func (s *Store) Children(_ context.Context, ids []string) ([][]*core.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([][]*core.Execution, len(ids))
	for i, id := range ids {
		for _, e := range s.m {
			if e.Parent != nil && e.Parent.ID == id {
				out[i] = append(out[i], e.Clone())
			}
		}
		sort.Slice(out[i], func(a, b int) bool {
			x, y := out[i][a].Parent.Index, out[i][b].Parent.Index
			if x < 0 || y < 0 {
				return x >= 0
			}
			if x != y {
				return x < y
			}
			return strings.Compare(out[i][a].ID, out[i][b].ID) < 0
		})
	}
	return out, nil
}
func (s *Store) UpdateChildren(ctx context.Context, id string, finished bool, ev core.Event, now time.Time) ([]*core.Execution, error) {
	c, _ := s.Children(ctx, []string{id})
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*core.Execution
	for _, e := range c[0] {
		if e.Status.Finished() == finished {
			if a := s.tr(s.m[e.ID], ev, now); a != nil {
				out = append(out, a.Clone())
			}
		}
	}
	return out, nil
}

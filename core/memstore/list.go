package memstore

import (
	"context"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// QueueList names the list of root executions in a Change, whose sweeps are the calls of List. Its entries are due
// when the execution was created.
const QueueList core.Queue = "list"

// listed is an entry of the list. It stands under the status of a finished execution, and under none for an
// unfinished one, so that only the end of an execution changes it.
type listed struct {
	under   core.Status
	from    int // the first call of List that sees it
	until   int // once it is removed, the first that does not
	removed bool
}

// seen reports whether the n-th call of List sees the entry.
func (l *listed) seen(n int) bool { return l.from <= n && (!l.removed || l.until > n) }

// under returns what an execution is listed under; false when it is not.
func under(e *core.Execution) (core.Status, bool) {
	switch {
	case e.ID == "" || e.Parent != nil || e.Kept:
		return "", false
	case e.Status.Finished():
		return e.Status, true
	}
	return "", true
}

// relist changes the list's entry of a record to that of after.
func (s *Store) relist(r *record, after *core.Execution) {
	status, is := under(after)
	if n := len(r.listed); n > 0 && !r.listed[n-1].removed {
		last := &r.listed[n-1]
		if is && last.under == status {
			return
		}
		last.removed = true
		last.until = s.afterLag(s.lists+1, Change{ID: r.ID, Queue: QueueList, DueAt: r.CreatedAt, Removed: true})
	}
	r.listed = slices.DeleteFunc(r.listed, func(l listed) bool { return l.removed && l.until <= max(l.from, s.lists+1) })
	if is {
		from := s.afterLag(s.lists+1, Change{ID: after.ID, Queue: QueueList, DueAt: after.CreatedAt})
		r.listed = append(r.listed, listed{under: status, from: from})
	}
}

// settleList makes every change of the record's entries visible.
func (r *record) settleList() {
	r.listed = slices.DeleteFunc(r.listed, func(l listed) bool { return l.removed })
	for i := range r.listed {
		r.listed[i].from = 0
	}
}

// List implements core.Store. It looks at every execution.
func (s *Store) List(_ context.Context, now time.Time, l core.Listing) (core.Page, error) {
	l, after, err := l.Resolve()
	if err != nil {
		return core.Page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	var found []*core.Execution
	for _, r := range s.records {
		if l.Match(r.Execution) && !s.expired(r.Execution, now) && after.Compare(core.PlaceOf(r.Execution)) < 0 && s.isListed(r, l.Status) {
			found = append(found, r.Execution)
		}
	}
	slices.SortFunc(found, func(a, b *core.Execution) int { return core.PlaceOf(a).Compare(core.PlaceOf(b)) })
	var page core.Page
	if len(found) > l.Limit {
		found = found[:l.Limit]
		page.Next = core.PlaceOf(found[l.Limit-1]).Cursor()
	}
	for _, e := range found {
		page.Executions = append(page.Executions, clone(e))
	}
	return page, nil
}

// isListed reports whether this call of List sees the record where executions with a status are listed.
func (s *Store) isListed(r *record, status core.Status) bool {
	return slices.ContainsFunc(r.listed, func(l listed) bool {
		return l.seen(s.lists) && (status == "" || l.under == status || l.under == "" && !status.Finished())
	})
}

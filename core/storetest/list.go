package storetest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perdure-dev/perdure/core"
)

// listTests are for stores that keep a list; one that keeps none passes them by saying so (core.ErrNotListed).
func listTests() []test {
	return []test{
		{"the list begins with the newest, of the same time with the greater id", listInOrder},
		{"the list has the executions with a status", listByStatus},
		{"the list has the executions of a task", listByTask},
		{"the list has the executions of a time", listByTime},
		{"the list has roots only", listRoots},
		{"an execution is listed under the status that it has", listMoves},
		{"pages split executions of the same time", listPages},
		{"pages go on where the one before ended, whatever happens meanwhile", listMeanwhile},
		{"a page has 100 executions unless it is told otherwise", listDefault},
		{"a listing that breaks a rule is refused", listRefused},
		{"what is deleted is not listed", listDeleted},
	}
}

// page returns a page, all of which matches the listing; false when the store keeps no list.
func (s *suite) page(l core.Listing) (core.Page, bool) {
	s.Helper()
	page, err := s.store.List(s.ctx, at(0), l)
	if errors.Is(err, core.ErrNotListed) && !s.lists {
		return page, false
	}
	if err != nil {
		s.Fatalf("list %+v: %v", l, err)
	}
	if most := max(l.Limit, 1); l.Limit > 0 && len(page.Executions) > most {
		s.Fatalf("list %+v: %d executions", l, len(page.Executions))
	}
	for _, e := range page.Executions {
		if !l.Match(e) {
			s.Errorf("list %+v: it has %s of task %s, which is %s", l, e.ID, e.TaskID, e.Status)
		}
	}
	return page, true
}

// pages returns the ids of a listing, page after page; false when the store keeps no list.
func (s *suite) pages(l core.Listing) ([]string, bool) {
	s.Helper()
	var all []string
	var last core.Place
	for {
		page, kept := s.page(l)
		if !kept {
			return nil, false
		}
		for _, e := range page.Executions {
			if last.Compare(core.PlaceOf(e)) >= 0 {
				s.Fatalf("list %+v: %s of %s comes behind %s of %s", l, e.ID, e.CreatedAt, last.ID, last.CreatedAt)
			}
			all, last = append(all, e.ID), core.PlaceOf(e)
		}
		switch page.Next {
		case "":
			return all, true
		case l.After:
			s.Fatalf("list %+v: the next page is the same", l)
		}
		l.After = page.Next
	}
}

// listed fails the test when the listing never has the executions that are wanted.
func (s *suite) listed(l core.Listing, want ...string) {
	s.Helper()
	s.eventually(func() string {
		got, kept := s.pages(l)
		if !kept {
			return ""
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Sprintf("list %+v (-want +got):\n%s", l, diff)
		}
		return ""
	})
}

func listInOrder(s *suite) {
	s.listed(core.Listing{})
	old, far := ready("old", time.Date(1969, 12, 31, 23, 59, 59, 999_000_000, time.UTC)), ready("far", base.AddDate(700, 0, 0))
	older := ready("older", old.CreatedAt.AddDate(-100, 0, 0))
	s.insert(ready("b", at(1)), old, ready("d", at(0.001)), far, ready("a", at(1)), ready("B", at(1)), older,
		ready("bb", at(1)), ready("e", at(2)))
	for _, limit := range []int{0, 1, 2, 1000} {
		s.listed(core.Listing{Limit: limit}, "far", "e", "bb", "b", "a", "B", "d", "old", "older")
	}
}

func listByTime(s *suite) {
	ms := func(n float64) time.Time { return base.Add(time.Duration(n * float64(time.Millisecond))) }
	for i := range 5 {
		s.insert(ready(fmt.Sprintf("e%d", i), ms(float64(i))))
	}
	for _, limit := range []int{1, 2, 1000} {
		s.listed(core.Listing{Limit: limit, Since: ms(1)}, "e4", "e3", "e2", "e1")
		s.listed(core.Listing{Limit: limit, Since: ms(1), Until: ms(3)}, "e2", "e1")
		s.listed(core.Listing{Limit: limit, Since: ms(1.5), Until: ms(3.5)}, "e3", "e2")
		s.listed(core.Listing{Limit: limit, Until: ms(3.5)}, "e3", "e2", "e1", "e0")
		s.listed(core.Listing{Limit: limit, Until: ms(2), Status: core.StatusReady, TaskID: "task"}, "e1", "e0")
		s.listed(core.Listing{Limit: limit, Since: ms(2), After: core.Place{CreatedAt: ms(1), ID: "e1"}.Cursor()})
		s.listed(core.Listing{Limit: limit, Since: ms(4.5)})
	}
}

// ofEachStatus puts an execution with each status, whose id is the status, and returns the ids, newest first.
func (s *suite) ofEachStatus() []string {
	s.Helper()
	var all []string
	for i, status := range core.Statuses() {
		e := ready(string(status), at(float64(-i)))
		created := e.CreatedAt
		switch status {
		case core.StatusReady:
		case core.StatusRunning:
			e = s.apply(e, start(executor), at(1))
		case core.StatusWaitingForChildren:
			e = s.waiting(e.ID, 2)
		case core.StatusWaitingForFinalize:
			e = s.finalizing(e.ID, at(10))
		default:
			e = s.apply(e, core.Cancel{Reason: "why"}, at(1))
			e.Status = status
		}
		e.CreatedAt = created
		s.insert(e)
		all = append(all, e.ID)
	}
	return all
}

func listByStatus(s *suite) {
	all := s.ofEachStatus()
	s.listed(core.Listing{}, all...)
	s.listed(core.Listing{Limit: 2}, all...)
	for _, status := range core.Statuses() {
		s.listed(core.Listing{Status: status}, string(status))
	}
}

func listByTask(s *suite) {
	var odd, even, cancelled []string
	for i := range 30 {
		e := ready(fmt.Sprintf("e%02d", 30-i), at(float64(-i)))
		e.TaskID = "even"
		if i%2 == 1 {
			e.TaskID = "odd"
		}
		if i%5 == 0 {
			e = s.apply(e, core.Cancel{Reason: "why"}, at(1))
		}
		s.insert(e)
		switch {
		case i%2 == 1:
			odd = append(odd, e.ID)
		case i%5 == 0:
			cancelled = append(cancelled, e.ID)
			fallthrough
		default:
			even = append(even, e.ID)
		}
	}
	for _, limit := range []int{0, 4, 15} {
		s.listed(core.Listing{TaskID: "odd", Limit: limit}, odd...)
		s.listed(core.Listing{TaskID: "even", Limit: limit}, even...)
		s.listed(core.Listing{TaskID: "even", Status: core.StatusCancelled, Limit: limit}, cancelled...)
	}
	s.listed(core.Listing{TaskID: "odd", Status: core.StatusCompleted})
	s.listed(core.Listing{TaskID: "eve"})
}

func listRoots(s *suite) {
	parent, children := s.spawned("parent", 2)
	kept := s.apply(sleeper("kept", at(9)), core.Wake{Output: core.Payload{Data: []byte("1")}}, base)
	kept.Kept, kept.ExpiresAt = true, at(60)
	s.insert(child("own", "parent", 2, 0, at(4)), sleeper("key", at(9)), kept)
	s.update(children[0], core.Cancel{Reason: "why"}, at(5))
	s.listed(core.Listing{}, parent.ID, core.SleepID("key"))
	s.listed(core.Listing{Status: core.StatusCancelled})
	s.listed(core.Listing{Status: core.StatusCompleted})
	s.update(kept, core.Adopt{Sleeper: sleeper("kept", at(10))}, at(5))
	s.listed(core.Listing{Status: core.StatusCompleted}, core.SleepID("kept"))
}

func listMoves(s *suite) {
	e := ready("a", base)
	s.insert(e, ready("b", at(-1)))
	s.listed(core.Listing{Status: core.StatusReady}, "a", "b")
	e = s.swept(1, func() (core.Swept, error) { return s.claim(base, 1) })[0]
	s.listed(core.Listing{Status: core.StatusRunning}, e.ID)
	s.listed(core.Listing{}, "a", "b")
	e = s.update(e, commit(1, at(10)), at(1))
	s.listed(core.Listing{Status: core.StatusRunning})
	s.listed(core.Listing{Status: core.StatusWaitingForChildren}, e.ID)
	e = s.update(e, core.Cancel{Reason: "why"}, at(2))
	s.listed(core.Listing{Status: core.StatusWaitingForChildren})
	s.listed(core.Listing{Status: core.StatusCancelled}, e.ID)
	s.update(e, core.MarkClosable{}, at(3))
	s.listed(core.Listing{Status: core.StatusCancelled}, e.ID)
	s.listed(core.Listing{}, "a", "b")
}

func listPages(s *suite) {
	var all []*core.Execution
	for i := range 50 {
		all = append(all, ready(fmt.Sprintf("e%d", i), at(float64(i/40))))
	}
	s.insert(all...)
	slices.SortFunc(all, func(a, b *core.Execution) int { return core.PlaceOf(a).Compare(core.PlaceOf(b)) })
	for _, limit := range []int{4, 10, 49, 50, 51} {
		s.listed(core.Listing{Limit: limit}, ids(all)...)
		s.listed(core.Listing{Limit: limit, Status: core.StatusReady, TaskID: "task"}, ids(all)...)
	}
}

func listMeanwhile(s *suite) {
	var all []*core.Execution
	for i := range 10 {
		all = append(all, ready(fmt.Sprintf("e%d", i), at(float64(-i))))
	}
	s.insert(all...)
	s.listed(core.Listing{}, ids(all)...)
	page, kept := s.page(core.Listing{Limit: 5})
	if !kept {
		return
	}
	seen := len(page.Executions)
	s.ids(page.Executions, ids(all[:seen])...)
	s.insert(ready("new", at(1)))
	s.update(all[0], core.Cancel{Reason: "why"}, at(1))
	s.update(all[7], core.Cancel{Reason: "why"}, at(1))
	s.listed(core.Listing{After: page.Next, Limit: 2}, ids(all[seen:])...)
	s.listed(core.Listing{After: page.Next, Status: core.StatusCancelled}, "e7")
	s.listed(core.Listing{After: core.PlaceOf(all[8]).Cursor()}, "e9")
	s.listed(core.Listing{After: core.PlaceOf(all[9]).Cursor()})
}

func listDefault(s *suite) {
	var all []*core.Execution
	for i := range 105 {
		all = append(all, ready(fmt.Sprintf("e%03d", i), at(float64(-i))))
	}
	s.insert(all...)
	s.listed(core.Listing{}, ids(all)...)
	if page, kept := s.page(core.Listing{}); kept && (len(page.Executions) > 100 || page.Next == "") {
		s.Errorf("a page has %d executions, its Next is %q", len(page.Executions), page.Next)
	}
}

func listRefused(s *suite) {
	good := core.PlaceOf(ready("a", base)).Cursor()
	encode := base64.RawURLEncoding.EncodeToString
	for name, l := range map[string]core.Listing{
		"a negative limit":          {Limit: -1},
		"too large a limit":         {Limit: 1001},
		"an unknown status":         {Status: "done"},
		"no time at all":            {Since: at(2), Until: at(2)},
		"a cursor that is no text":  {After: "\x00"},
		"a cursor without an id":    {After: good[:len(good)-2]},
		"a cursor with padding":     {After: good + "=="},
		"a cursor of one byte":      {After: encode([]byte{1})},
		"a later version's cursor":  {After: encode([]byte{2, 2, 'a'})},
		"a cursor of no time":       {After: encode([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffa"))},
		"a cursor of too far a day": {After: core.Place{CreatedAt: time.UnixMilli(1 << 47), ID: "a"}.Cursor()},
	} {
		page, err := s.store.List(s.ctx, at(0), l)
		if !errors.Is(err, core.ErrInvalid) {
			s.Errorf("%s: %+v, error %v", name, page, err)
		}
	}
	s.listed(core.Listing{After: good, Limit: 1000})
}

func listDeleted(s *suite) {
	s.insert(ready("a", at(1)), ready("b", at(2)), ready("c", at(3)))
	s.listed(core.Listing{}, "c", "b", "a")
	if err := s.store.Delete(s.ctx, "b"); err != nil {
		s.Fatal(err)
	}
	s.listed(core.Listing{}, "c", "a")
	if err := s.store.DeleteAll(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.listed(core.Listing{})
}

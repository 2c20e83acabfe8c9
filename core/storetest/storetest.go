// Package storetest is what every core.Store must pass. A store runs it as a test of its own:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) core.TestStore { return memstore.New(memstore.Options{}) })
//	}
//
// The suite passes times as arguments, never sleeps, and looks several times where an index may lag. It makes
// about 6,000 writes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perdure-dev/perdure/core"
)

// Run runs the suite. factory is called once for each of its tests, some of which run at the same time, and returns
// a store that is empty and shared with nobody; it cleans up by t.Cleanup.
func Run(t *testing.T, factory func(t *testing.T) core.TestStore) {
	t.Helper()
	run(t, suite{}, factory,
		insertTests(), updateTests(), roundTripTests(), sweepTests(), readyTests(), expiryTests(), countTests(),
		closeTests(), cancellationTests(), childrenTests(), kindTests(), listTests(), retentionTests(), argumentTests(), raceTests())
}

// RunList runs the part of the suite that is about List, for a store that keeps a list when it is told to: here it
// must. Run passes a store that keeps none.
func RunList(t *testing.T, factory func(t *testing.T) core.TestStore) {
	t.Helper()
	run(t, suite{lists: true}, factory, listTests(), retentionTests())
}

func run(t *testing.T, s suite, factory func(t *testing.T) core.TestStore, groups ...[]test) {
	t.Helper()
	for _, group := range groups {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := s
				s.T, s.ctx, s.store = t, t.Context(), factory(t)
				c.run(&s)
			})
		}
	}
}

type test struct {
	name string
	run  func(*suite)
}

// suite is one test with its store.
type suite struct {
	*testing.T
	ctx   context.Context
	store core.TestStore
	lists bool // the store must keep a list
}

// base is the time at which the tests begin. It is far ahead so that no store takes what it closes for expired.
var base = time.Date(2099, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// at returns the time some seconds after base.
func at(seconds float64) time.Time {
	return base.Add(time.Duration(seconds * float64(time.Second)))
}

// tries is how often a test looks for what an index may show late.
const tries = 20

// eventually fails the test when look finds something wrong however often it is called.
func (s *suite) eventually(look func() (wrong string)) {
	s.Helper()
	var wrong string
	for range tries {
		if wrong = look(); wrong == "" {
			return
		}
	}
	s.Fatal(wrong)
}

// swept calls sweep until it has returned n executions in all, and returns them.
func (s *suite) swept(n int, sweep func() (core.Swept, error)) []*core.Execution {
	s.Helper()
	var all []*core.Execution
	for range tries {
		got, err := sweep()
		if err != nil {
			s.Fatal(err)
		}
		if all = append(all, got.Executions...); len(all) >= n {
			break
		}
	}
	if len(all) != n {
		s.Fatalf("swept %d executions %v, want %d", len(all), ids(all), n)
	}
	return all
}

// none fails the test when sweep returns an execution.
func (s *suite) none(sweep func() (core.Swept, error)) {
	s.Helper()
	for range 2 {
		got, err := sweep()
		if err != nil || len(got.Executions) != 0 {
			s.Fatalf("swept %v, error %v; want none", ids(got.Executions), err)
		}
	}
}

// insert puts executions that do not exist yet.
func (s *suite) insert(executions ...*core.Execution) {
	s.Helper()
	errs := s.store.Insert(s.ctx, executions)
	if err := errors.Join(errs...); err != nil || len(errs) != len(executions) {
		s.Fatalf("insert %d executions: %d results, error %v", len(executions), len(errs), err)
	}
}

// update writes what ev makes of e and returns it.
func (s *suite) update(e *core.Execution, ev core.Event, now time.Time) *core.Execution {
	s.Helper()
	after := s.apply(e, ev, now)
	if err := s.store.Update(s.ctx, []core.Update{{Before: e, After: after}})[0]; err != nil {
		s.Fatalf("update %s with %T: %v", e.ID, ev, err)
	}
	return after
}

// apply returns what events make of e at now, with a new nonce for each; nothing is written.
func (s *suite) apply(e *core.Execution, ev core.Event, now time.Time) *core.Execution {
	s.Helper()
	after, err := core.Transition(e, ev, now)
	if err != nil {
		s.Fatal(err)
	}
	after.Nonce = core.NewNonce()
	return after
}

// get returns the record of an execution with all its payloads; nil when there is none.
func (s *suite) get(id string) *core.Execution {
	s.Helper()
	got, err := s.store.Get(s.ctx, []string{id}, core.Filter{})
	if err != nil || len(got) != 1 {
		s.Fatalf("get %s: %d results, error %v", id, len(got), err)
	}
	if got[0] != nil {
		s.load(got[0])
	}
	return got[0]
}

func (s *suite) load(e *core.Execution) {
	s.Helper()
	payloads := []*core.Payload{&e.Input, &e.RunOutput, &e.Output}
	if e.Failure != nil {
		payloads = append(payloads, e.Failure.Payloads()...)
	}
	if e.Family != nil {
		payloads = append(payloads, &e.Family.Manifest)
	}
	if err := s.store.Load(s.ctx, payloads...); err != nil {
		s.Fatalf("load payloads of %s: %v", e.ID, err)
	}
	for _, p := range payloads {
		if !p.Loaded() {
			s.Fatalf("payload %q of %s is not loaded", p.Ref, e.ID)
		}
	}
}

// stored fails the test when the record is not want.
func (s *suite) stored(want *core.Execution) {
	s.Helper()
	got := s.get(want.ID)
	if got == nil {
		s.Fatalf("%s is gone", want.ID)
	}
	s.same(want, got)
}

// same fails the test when the records differ in more than where their payloads are kept.
func (s *suite) same(want, got *core.Execution, but ...cmp.Option) {
	s.Helper()
	if diff := cmp.Diff(want, got, append(but, anyRef, emptySet, sameBytes, anyUnits)...); diff != "" {
		s.Errorf("record %s differs (-want +got):\n%s", want.ID, diff)
	}
}

var (
	anyRef   = cmpopts.IgnoreFields(core.Payload{}, "Ref")
	anyUnits = cmpopts.IgnoreFields(core.Execution{}, "WriteUnits") // they are the store's
	anyNonce = cmpopts.IgnoreFields(core.Execution{}, "Nonce")
	// sameBytes spares cmp the element by element difference of payloads, which takes half a minute for 1 MB.
	sameBytes = cmp.Comparer(func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })
	emptySet  = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Counted" }, cmpopts.EquateEmpty())
)

// changed fails the test when got is not what ev makes of before, under a nonce of its own, or not what the store
// holds.
func (s *suite) changed(before, got *core.Execution, ev core.Event, now time.Time) {
	s.Helper()
	want := s.apply(before, ev, now)
	s.load(got)
	s.same(want, got, anyNonce)
	if got.Nonce == "" || got.Nonce == before.Nonce {
		s.Errorf("execution %s: nonce %q after %q", got.ID, got.Nonce, before.Nonce)
	}
	s.stored(got)
}

// conflict fails the test when err is not a conflict that brings the stored record.
func (s *suite) conflict(err error, current *core.Execution) {
	s.Helper()
	var conflict *core.ConflictError
	if !errors.As(err, &conflict) || !errors.Is(err, core.ErrConflict) {
		s.Fatalf("error %v, want a conflict", err)
	}
	s.load(conflict.Current)
	s.same(current, conflict.Current)
}

func (s *suite) ids(got []*core.Execution, want ...string) {
	s.Helper()
	if diff := cmp.Diff(want, ids(got), cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("executions differ (-want +got):\n%s", diff)
	}
}

func ids(executions []*core.Execution) []string {
	all := make([]string, len(executions))
	for i, e := range executions {
		if e == nil {
			all[i] = "nil"
			continue
		}
		all[i] = e.ID
	}
	return all
}

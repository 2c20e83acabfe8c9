package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// Random sequences of operations give the same answers from the store in memory, which is the model, and from this one.
func TestTheStoreAnswersAsTheModelDoes(t *testing.T) {
	t.Parallel()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		for name, value := range map[string]string{"rapid.checks": "25", "rapid.seed": "1"} { // `make model` makes others, and more
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	table, compared, kinds := testTable(t), 0, map[string]int{}
	api := testClient(endpoint, nil)
	rapid.Check(t, func(rt *rapid.T) {
		tested, err := NewForTest(api, table, Options{Shards: rapid.IntRange(1, 3).Draw(rt, "shards")})
		if err != nil {
			rt.Fatal(err)
		}
		if err := tested.DeleteAll(t.Context()); err != nil {
			rt.Fatal(err)
		}
		p := &pair{
			T: rt, ctx: t.Context(), inline: rapid.SampledFrom([]int{0, 40}).Draw(rt, "inline"),
			now: time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC), tested: tested, seen: map[string][]version{},
		}
		p.model = memstore.New(memstore.Options{Inline: p.inline})
		for n := range rapid.IntRange(20, 120).Draw(rt, "operations") {
			p.now = p.now.Add(time.Duration(rapid.IntRange(1, 100_000).Draw(rt, "later")) * time.Millisecond)
			op := rapid.SampledFrom(operations).Draw(rt, "operation")
			if n < 5 { // something to begin with
				op = operations[n/4]
			}
			op.do(p)
			compared++
			kinds[op.name]++
		}
		p.compareAll()
	})
	t.Logf("%d operations compared: %v", compared, kinds)
}

// pair is the two stores that are given the same operations.
type pair struct {
	*rapid.T
	ctx           context.Context
	now           time.Time
	inline        int
	model, tested core.TestStore
	seen          map[string][]version // every version of each record that was read, by id
	ids           []string             // in the order of their inserts
}

// version is a record as both stores returned it.
type version struct{ model, tested *core.Execution }

// bare is a record without what is a store's own, with its payloads loaded.
func (p *pair) bare(s core.Store, e *core.Execution) *core.Execution {
	if e == nil {
		return nil
	}
	e = e.Clone()
	all := []*core.Payload{&e.Input, &e.RunOutput, &e.Output}
	if e.Family != nil {
		all = append(all, &e.Family.Manifest)
	}
	if e.Failure != nil {
		all = append(all, &e.Failure.Detail)
	}
	if err := s.Load(p.ctx, all...); err != nil {
		p.Fatalf("load payloads of %s: %v", e.ID, err)
	}
	for _, payload := range all {
		payload.Ref = ""
	}
	e.Nonce, e.WriteUnits = "", 0
	return e
}

// same fails the test when two lists of records differ, and notes them. Records that are due, or were, at the same time
// may come in any order.
func (p *pair) same(what string, model, tested []*core.Execution) {
	p.Helper()
	a, b := make([]*core.Execution, len(model)), make([]*core.Execution, len(tested))
	for i, e := range model {
		a[i] = p.bare(p.model, e)
	}
	for i, e := range tested {
		b[i] = p.bare(p.tested, e)
	}
	if diff := gocmp.Diff(a, b, cmpopts.EquateEmpty()); diff != "" {
		p.Fatalf("%s (-model +store):\n%s", what, diff)
	}
	for i, e := range model {
		if e != nil {
			p.seen[e.ID] = append(p.seen[e.ID], version{e, tested[i]})
		}
	}
}

func (p *pair) sameErrors(what string, model, tested error) {
	p.Helper()
	for _, kind := range []error{core.ErrAlreadyExists, core.ErrConflict, core.ErrNotFound, core.ErrNotAllowed} {
		if errors.Is(model, kind) != errors.Is(tested, kind) {
			p.Fatalf("%s: the model's error is %v, the store's %v", what, model, tested)
		}
	}
	if (model == nil) != (tested == nil) {
		p.Fatalf("%s: the model's error is %v, the store's %v", what, model, tested)
	}
	var a, b *core.ConflictError
	if errors.As(model, &a) && errors.As(tested, &b) {
		p.same(what, []*core.Execution{a.Current}, []*core.Execution{b.Current})
	}
}

// some draws an id that was inserted, as often as not a parent's, or one that was not.
func (p *pair) some() string {
	if len(p.ids) == 0 || rapid.IntRange(0, 30).Draw(p.T, "absent") == 0 {
		return "absent"
	}
	if parents := p.those(func(e *core.Execution) bool { return e.Family != nil && !e.Status.Finished() }); len(parents) > 0 && rapid.Bool().Draw(p.T, "parent") {
		return rapid.SampledFrom(parents).Draw(p.T, "id")
	}
	return rapid.SampledFrom(p.ids).Draw(p.T, "id")
}

// those returns the ids of the records that were last seen as what is asked for.
func (p *pair) those(are func(*core.Execution) bool) []string {
	return slices.DeleteFunc(slices.Clone(p.ids), func(id string) bool {
		seen := p.seen[id]
		return len(seen) == 0 || !are(seen[len(seen)-1].model)
	})
}

// read reads a record from both stores; false when there is none.
func (p *pair) read(id string) (version, bool) {
	a, err1 := p.model.Get(p.ctx, []string{id}, core.Filter{})
	b, err2 := p.tested.Get(p.ctx, []string{id}, core.Filter{})
	p.sameErrors("get", err1, err2)
	p.same("get "+id, a, b)
	return version{a[0], b[0]}, a[0] != nil
}

// payload draws a payload that may fit the record and may not.
func (p *pair) payload(what string) []byte {
	n := rapid.SampledFrom([]int{0, 3, 50, 900, 3000}).Draw(p.T, what)
	return fmt.Appendf(nil, "%q", make([]byte, n))[:n+2]
}

// users returns the records that are not gone for users.
func (p *pair) users(s core.Store) []*core.Execution {
	found, err := s.Get(p.ctx, p.ids, core.Filter{UnexpiredAt: p.now})
	if err != nil {
		p.Fatal(err)
	}
	return found
}

func (p *pair) insert(e *core.Execution) {
	e.Nonce = core.NewNonce()
	mine := e.Clone()
	err := p.model.Insert(p.ctx, []*core.Execution{e})[0]
	p.sameErrors("insert "+e.ID, err, p.tested.Insert(p.ctx, []*core.Execution{mine})[0])
	if err == nil {
		p.seen[e.ID] = nil // what had the id before is over
	}
	if !slices.Contains(p.ids, e.ID) {
		p.ids = append(p.ids, e.ID)
	}
	if rapid.Bool().Draw(p.T, "again") { // as whoever lost the answer
		p.sameErrors("insert again "+e.ID, p.model.Insert(p.ctx, []*core.Execution{e})[0], p.tested.Insert(p.ctx, []*core.Execution{mine})[0])
	}
}

func (p *pair) spec() core.Spec {
	return core.Spec{
		TaskID: rapid.SampledFrom([]string{"a", "b"}).Draw(p.T, "task"), Timeout: 30 * time.Second, Input: p.payload("input"),
		Retry: core.RetryPolicy{MaxAttempts: rapid.IntRange(1, 3).Draw(p.T, "attempts")},
		Delay: rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(p.T, "delay"),
	}
}

const modelExecutor = "executor"

// event draws something that happens to a record.
func (p *pair) event(e *core.Execution) core.Event {
	failure := &core.Failure{Code: core.CodeFailed, Message: "why", Detail: core.Payload{Data: p.payload("detail")}}
	output := core.Payload{Data: p.payload("output")}
	later := p.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(p.T, "check")) * time.Second)
	executor := cmp.Or(e.ExecutorID, modelExecutor)
	var units []int
	if f := e.Family; f != nil && !f.Sequential {
		for unit := range core.Units(f.Size) {
			units = append(units, unit)
		}
	}
	events := []core.Event{
		core.StartAttempt{ExecutorID: modelExecutor, Left: time.Hour, Leeway: 5 * time.Second},
		core.Succeed{ExecutorID: executor, Output: output},
		core.FailAttempt{ExecutorID: executor, Failure: *failure, Delay: time.Second},
		core.GiveBack{ExecutorID: executor, Delay: time.Second, Unknown: true},
		core.Cancel{Reason: "no"}, core.Cancel{Reason: "no", ByParent: true}, core.ClearCancellation{},
		core.MarkClosable{}, core.Close{}, core.Wake{Output: output}, core.Wake{Failure: failure},
		core.ChildrenSpawned{}, core.ChildrenSpawned{Units: units[:min(len(units), 1)]}, core.PostponeCheck{CheckAt: later},
		core.ClaimChildren{ExecutorID: modelExecutor, ExpiresAt: later}, core.ReleaseChildren{ExecutorID: executor, Delay: time.Second},
		core.CompleteFamily{ExecutorID: executor}, core.CompleteFamily{ExecutorID: executor, Units: units},
		core.FinishFamily{ExecutorID: executor, Output: output}, core.EndFinalize{}, core.EndFinalize{Failure: failure},
		core.CommitFinalize{ExecutorID: executor, TaskID: "finalize", CheckAt: later, KeepUntil: p.now},
		core.CommitStep{ExecutorID: executor, Finished: 0, CheckAt: later, KeepUntil: p.now, Manifest: core.Payload{Data: p.payload("manifest")}},
		core.EndSequence{ExecutorID: executor, Finished: 0, Output: output}, core.ExpireFamily{ExecutorID: executor},
	}
	allowed := slices.DeleteFunc(events, func(ev core.Event) bool {
		_, err := core.Transition(e, ev, p.now)
		return err != nil
	})
	if len(allowed) == 0 {
		return nil
	}
	return rapid.SampledFrom(allowed).Draw(p.T, "event")
}

// updates returns the same update for both stores.
func (p *pair) updates(v version, ev core.Event) (model, tested core.Update) {
	make := func(e *core.Execution) core.Update {
		after, err := core.Transition(e, ev, p.now)
		if err != nil {
			p.Fatal(err)
		}
		return core.Update{Before: e, After: after}
	}
	model, tested = make(v.model), make(v.tested)
	model.After.Nonce = core.NewNonce()
	tested.After.Nonce = model.After.Nonce
	return model, tested
}

// old draws a version of a record that may be out of date.
func (p *pair) old(id string) (version, bool) {
	v, found := p.read(id)
	if found && rapid.IntRange(0, 3).Draw(p.T, "stale") == 0 {
		v = rapid.SampledFrom(p.seen[v.model.ID]).Draw(p.T, "version")
	}
	return v, found
}

// swept compares what a sweep did.
func (p *pair) swept(what string, sweep func(core.Store) (core.Swept, error)) {
	a, err1 := sweep(p.model)
	b, err2 := sweep(p.tested)
	p.sameErrors(what, err1, err2)
	for _, s := range []core.Swept{a, b} {
		slices.SortFunc(s.Executions, func(a, b *core.Execution) int { return cmp.Compare(a.ID, b.ID) })
	}
	p.same(what, a.Executions, b.Executions)
}

func (p *pair) compareAll() {
	for _, id := range p.ids {
		p.read(id)
	}
}

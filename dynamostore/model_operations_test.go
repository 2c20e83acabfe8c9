package dynamostore

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/perdure-dev/perdure/core"
)

// operation is one that both stores are given.
type operation struct {
	name string
	do   func(p *pair)
}

// sweepOf is a sweep as an operation. Entries that came to nothing are passed over for a while, so time passes before it.
func sweepOf(name string, do func(p *pair, s core.Store) (core.Swept, error)) operation {
	return operation{name, func(p *pair) {
		p.now = p.now.Add(2 * time.Minute)
		p.swept(name, func(s core.Store) (core.Swept, error) { return do(p, s) })
	}}
}

func (p *pair) sweep() core.Sweep { return core.Sweep{Now: p.now, Limit: 5000, MaxRecoveries: 2} }

func (p *pair) claim() core.Claim {
	return core.Claim{Sweep: p.sweep(), ExecutorID: modelExecutor, ExpiresAt: p.now.Add(time.Minute)}
}

// indexes draws indexes of children that a family may have and may not.
func (p *pair) indexes(e *core.Execution) []int {
	top := 4
	if e.Family != nil {
		top = e.Family.Size
	}
	if e.Family != nil && rapid.IntRange(0, 2).Draw(p.T, "all") == 0 {
		return e.ChildIndexes()
	}
	return rapid.SliceOfNDistinct(rapid.IntRange(core.FinalizeIndex, top), 1, 4, rapid.ID).Draw(p.T, "indexes")
}

var operations = []operation{
	{"insert", func(p *pair) {
		p.insert(core.NewExecution(fmt.Sprintf("id%d", rapid.IntRange(0, 9).Draw(p.T, "number")), p.spec(), p.now))
	}},
	{"insert sleeper", func(p *pair) {
		spec := p.spec()
		spec.SleepKey = rapid.SampledFrom([]string{"k", "l"}).Draw(p.T, "key")
		p.insert(core.NewExecution(core.SleepID(spec.SleepKey), spec, p.now))
	}},
	{"insert child", func(p *pair) {
		parent, found := p.read(p.some())
		if !found {
			return
		}
		i := rapid.IntRange(0, 4).Draw(p.T, "index")
		id := fmt.Sprintf("own%d", i)
		if parent.model.Family != nil && rapid.Bool().Draw(p.T, "derived") {
			id = parent.model.ChildID(i)
		}
		e := core.NewExecution(id, p.spec(), p.now)
		e.RootID, e.Parent = parent.model.RootID, &core.Parent{ID: parent.model.ID, TaskID: parent.model.TaskID, Index: i}
		p.insert(e)
	}},
	{"get", func(p *pair) {
		ids := []string{p.some(), p.some(), p.some()}
		filter := core.Filter{Status: rapid.SampledFrom(append(core.Statuses(), "")).Draw(p.T, "status")}
		if rapid.Bool().Draw(p.T, "by end") {
			finished := rapid.Bool().Draw(p.T, "finished")
			filter = core.Filter{Finished: &finished}
		}
		if rapid.Bool().Draw(p.T, "as a user") {
			filter.Status, filter.UnexpiredAt = "", p.now
		}
		a, err1 := p.model.Get(p.ctx, ids, filter)
		b, err2 := p.tested.Get(p.ctx, ids, filter)
		p.sameErrors("get", err1, err2)
		p.same("get", a, b)
	}},
	{"much later", func(p *pair) {
		p.now = p.now.AddDate(0, 0, rapid.SampledFrom([]int{1, 29, 30, 31, 396}).Draw(p.T, "days"))
		p.same("all as a user", p.users(p.model), p.users(p.tested))
	}},
	{"insert wake-up", func(p *pair) {
		spec := p.spec()
		spec.SleepKey = rapid.SampledFrom([]string{"k", "l"}).Draw(p.T, "key")
		e := core.NewExecution(core.SleepID(spec.SleepKey), spec, p.now)
		e.Kept, e.Status, e.CloseStatus, e.Queue, e.DueAt = true, core.StatusCompleted, core.CloseClosed, core.QueueNone, time.Time{}
		e.FinishedAt, e.ClosedAt, e.Output = e.CreatedAt, e.CreatedAt, core.Payload{Data: p.payload("output")}
		e.ExpiresAt = e.CreatedAt.Add(time.Duration(rapid.IntRange(1, 300_000).Draw(p.T, "kept")) * time.Millisecond)
		p.insert(e)
	}},
	{"get by key", func(p *pair) {
		a, err1 := p.model.GetBySleepKey(p.ctx, []string{"k", "l", "m"})
		b, err2 := p.tested.GetBySleepKey(p.ctx, []string{"k", "l", "m"})
		p.sameErrors("get by key", err1, err2)
		p.same("get by key", a, b)
	}},
	{"update", update}, {"update", update}, {"update", update}, {"update", update}, {"update", update}, {"update", update},
	{"commit", commit}, {"commit", commit}, {"commit", commit},
	{"count", func(p *pair) {
		v, found := p.read(p.some())
		if !found {
			return
		}
		c := core.Count{ParentID: v.model.ID, Indexes: p.indexes(v.model)}
		if f := v.model.Family; f != nil && !f.Sequential && rapid.Bool().Draw(p.T, "told") {
			c.Siblings = f.Size
		}
		a := p.model.CountFinished(p.ctx, p.now, []core.Count{c})[0]
		b := p.tested.CountFinished(p.ctx, p.now, []core.Count{c})[0]
		p.sameErrors("count", a.Err, b.Err)
		if a.Parent != nil && b.Parent != nil {
			p.same("count", []*core.Execution{a.Parent}, []*core.Execution{b.Parent})
		}
		p.read(v.model.ID)
	}},
	{"check spawn", func(p *pair) {
		v, found := p.read(p.some())
		if !found {
			return
		}
		a, err1 := p.model.CheckSpawn(p.ctx, v.model)
		b, err2 := p.tested.CheckSpawn(p.ctx, v.tested)
		p.sameErrors("check spawn", err1, err2)
		if !slices.Equal(a, b) {
			p.Fatalf("missing children: the model says %v, the store %v", a, b)
		}
	}},
	{"children", func(p *pair) {
		ids := []string{p.some(), p.some()}
		a, err1 := p.model.Children(p.ctx, ids)
		b, err2 := p.tested.Children(p.ctx, ids)
		p.sameErrors("children", err1, err2)
		for i := range a {
			p.same("children of "+ids[i], a[i], b[i])
		}
	}},
	{"update children", func(p *pair) {
		id, finished := p.some(), rapid.Bool().Draw(p.T, "finished")
		ev := rapid.SampledFrom([]core.Event{core.Cancel{Reason: "no", ByParent: true}, core.Close{}, core.MarkClosable{}}).Draw(p.T, "event")
		a, err1 := p.model.UpdateChildren(p.ctx, id, finished, ev, p.now)
		b, err2 := p.tested.UpdateChildren(p.ctx, id, finished, ev, p.now)
		p.sameErrors("update children", err1, err2)
		p.same("update children of "+id, a, b)
	}},
	{"claim by id", func(p *pair) {
		ids := []string{p.some(), p.some()}
		p.swept("claim by id", func(s core.Store) (core.Swept, error) {
			return s.ClaimReady(p.ctx, core.ReadyClaim{Now: p.now, Limit: 5, ExecutorID: modelExecutor, Left: time.Hour, Leeway: 5 * time.Second, IDs: ids})
		})
	}},
	{"claim cancelled", func(p *pair) {
		limit := rapid.IntRange(1, 3).Draw(p.T, "limit")
		a, err1 := p.model.ClaimCancelled(p.ctx, modelExecutor, p.now, limit)
		b, err2 := p.tested.ClaimCancelled(p.ctx, modelExecutor, p.now, limit)
		p.sameErrors("claim cancelled", err1, err2)
		p.same("claim cancelled", a, b)
	}},
	sweepOf("claim ready", func(p *pair, s core.Store) (core.Swept, error) {
		return s.ClaimReady(p.ctx, core.ReadyClaim{Now: p.now, Limit: 5000, ExecutorID: modelExecutor, Left: time.Hour, Leeway: 5 * time.Second})
	}),
	sweepOf("claim children finished", func(p *pair, s core.Store) (core.Swept, error) { return s.ClaimChildrenFinished(p.ctx, p.claim()) }),
	sweepOf("mark closable", func(p *pair, s core.Store) (core.Swept, error) { return s.MarkClosable(p.ctx, p.sweep()) }),
	sweepOf("claim closable", func(p *pair, s core.Store) (core.Swept, error) { return s.ClaimClosable(p.ctx, p.claim()) }),
	sweepOf("expire running", func(p *pair, s core.Store) (core.Swept, error) { return s.ExpireRunning(p.ctx, p.sweep()) }),
	sweepOf("expire sleeping", func(p *pair, s core.Store) (core.Swept, error) { return s.ExpireSleeping(p.ctx, p.sweep()) }),
	sweepOf("expire children", func(p *pair, s core.Store) (core.Swept, error) { return s.ExpireChildrenFinished(p.ctx, p.sweep()) }),
	sweepOf("expire closing", func(p *pair, s core.Store) (core.Swept, error) { return s.ExpireClosing(p.ctx, p.sweep()) }),
	sweepOf("expire cancelled", func(p *pair, s core.Store) (core.Swept, error) { return s.ExpireCancelled(p.ctx, p.sweep()) }),
}

func update(p *pair) {
	v, found := p.old(p.some())
	if !found {
		return
	}
	ev := p.event(v.model)
	if ev == nil {
		return
	}
	a, b := p.updates(v, ev)
	for range rapid.IntRange(1, 2).Draw(p.T, "times") { // twice as by whoever lost the answer
		p.sameErrors(fmt.Sprintf("update %s: %T", v.model.ID, ev), p.model.Update(p.ctx, []core.Update{a})[0], p.tested.Update(p.ctx, []core.Update{b})[0])
	}
}

func commit(p *pair) {
	running := func(e *core.Execution) bool { return e.Status == core.StatusRunning && !e.Sleeping() }
	candidates := p.those(running)
	if len(candidates) == 0 {
		return
	}
	v, found := p.old(rapid.SampledFrom(candidates).Draw(p.T, "running"))
	if !found || !running(v.model) {
		return
	}
	size := rapid.SampledFrom([]int{1, 2, 3, core.CountDirect + 1}).Draw(p.T, "size")
	ev := core.CommitChildren{
		ExecutorID: v.model.ExecutorID, RunOutput: core.Payload{Data: p.payload("run output")}, Nonce: core.NewNonce(), Size: size,
		Manifest: core.Payload{Data: p.payload("manifest")}, CheckAt: p.now.Add(10 * time.Second),
		Sequential: size == 2 && rapid.Bool().Draw(p.T, "sequential"),
	}
	a, b := p.updates(v, ev)
	var ours, theirs []*core.Execution
	for _, i := range a.After.ChildIndexes() {
		if rapid.IntRange(0, 4).Draw(p.T, "left out") == 0 {
			continue
		}
		e := core.NewExecution(a.After.ChildID(i), core.Spec{TaskID: "c", Timeout: 10 * time.Second}, p.now)
		e.RootID, e.Nonce = a.After.RootID, core.NewNonce()
		e.Parent = &core.Parent{ID: a.After.ID, TaskID: a.After.TaskID, Index: i}
		if !ev.Sequential {
			e.Parent.Siblings = size
		}
		ours, theirs = append(ours, e), append(theirs, e.Clone())
	}
	x := p.model.UpdateAndInsertChildren(p.ctx, []core.Spawn{{Update: a, Children: ours}})[0]
	y := p.tested.UpdateAndInsertChildren(p.ctx, []core.Spawn{{Update: b, Children: theirs}})[0]
	p.sameErrors("commit", x.Err, y.Err)
	for i := range x.Children {
		p.sameErrors("commit a child", x.Children[i], y.Children[i])
		if i < 5 && !slices.Contains(p.ids, ours[i].ID) {
			p.ids = append(p.ids, ours[i].ID)
		}
	}
}

package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/perdure-dev/perdure/core"
)

// benchBatch is how many executions a benchmark treats in one call.
const benchBatch = 100

// Bench measures a store: inserts, claims, finishes and counts, in batches of 100. One iteration is one batch; the
// executions per second are reported besides. factory is called once for each benchmark.
func Bench(b *testing.B, factory func(b *testing.B) core.TestStore) {
	b.Helper()
	for _, c := range []struct {
		name string
		run  func(*bench)
	}{
		{"Insert", benchInsert}, {"Claim", benchClaim}, {"Finish", benchFinish}, {"Count", benchCount},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.run(&bench{B: b, store: factory(b)})
			b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "executions/s")
		})
	}
}

type bench struct {
	*testing.B
	store core.TestStore
	made  int
}

func (b *bench) ready() []*core.Execution {
	batch := make([]*core.Execution, benchBatch)
	for i := range batch {
		b.made++
		batch[i] = ready(fmt.Sprintf("e%d", b.made), base)
	}
	return batch
}

func (b *bench) insert(batch []*core.Execution) {
	if err := errors.Join(b.store.Insert(b.Context(), batch)...); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) claim() []*core.Execution {
	var all []*core.Execution
	for len(all) < benchBatch {
		got, err := b.store.ClaimReady(b.Context(), core.ReadyClaim{
			Now: base, Limit: benchBatch - len(all), ExecutorID: executor, Left: left, Leeway: leeway,
		})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, got.Executions...)
	}
	return all
}

func benchInsert(b *bench) {
	for b.Loop() {
		b.insert(b.ready())
	}
}

func benchClaim(b *bench) {
	for b.Loop() {
		b.StopTimer()
		b.insert(b.ready())
		b.StartTimer()
		b.claim()
	}
}

func benchFinish(b *bench) {
	for b.Loop() {
		b.StopTimer()
		b.insert(b.ready())
		claimed := b.claim()
		b.StartTimer()
		updates := make([]core.Update, len(claimed))
		for i, e := range claimed {
			after, err := core.Transition(e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: []byte("1")}}, at(1))
			if err != nil {
				b.Fatal(err)
			}
			after.Nonce = core.NewNonce()
			updates[i] = core.Update{Before: e, After: after}
		}
		if err := errors.Join(b.store.Update(b.Context(), updates)...); err != nil {
			b.Fatal(err)
		}
	}
}

// benchCount counts families of benchBatch children in groups of 10.
func benchCount(b *bench) {
	for b.Loop() {
		b.StopTimer()
		b.made++
		parent := ready(fmt.Sprintf("parent%d", b.made), base)
		parent.Status, parent.Queue, parent.DueAt = core.StatusWaitingForChildren, core.QueueParent, at(600)
		parent.Family = &core.Family{Nonce: "n", Size: benchBatch, Processing: core.ProcessingIdle}
		b.insert([]*core.Execution{parent})
		b.StartTimer()
		for i := 0; i < benchBatch; i += 10 {
			group := []int{i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7, i + 8, i + 9}
			got := b.store.CountFinished(b.Context(), at(1), []core.Count{{
				ParentID: parent.ID, Siblings: benchBatch, Indexes: group,
			}})
			if got[0].Err != nil {
				b.Fatal(got[0].Err)
			}
		}
	}
}

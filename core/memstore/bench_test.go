package memstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/core/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(*testing.B) core.TestStore { return memstore.New(memstore.Options{}) })
}

// BenchmarkLife takes no-op executions through their whole life, in batches of 100, in front of a backlog that
// stays as it is.
func BenchmarkLife(b *testing.B) {
	for _, backlog := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			s := memstore.New(memstore.Options{})
			fill(b, s, "backlog", backlog)
			b.ReportAllocs()
			var claiming time.Duration
			n := 0
			for b.Loop() {
				n++
				fill(b, s, fmt.Sprint("batch", n, "-"), 100)
				begun := time.Now()
				got, err := s.ClaimReady(b.Context(), core.ReadyClaim{
					Now: now, Limit: 100, ExecutorID: "x", Left: time.Hour, Leeway: time.Second,
				})
				claiming += time.Since(begun)
				if err != nil || len(got.Executions) != 100 {
					b.Fatal(len(got.Executions), err)
				}
				updates := make([]core.Update, 100)
				for i, e := range got.Executions {
					after, err := core.Transition(e, core.Succeed{ExecutorID: "x"}, now)
					if err != nil {
						b.Fatal(err)
					}
					after.Nonce = core.NewNonce()
					updates[i] = core.Update{Before: e, After: after}
				}
				for _, err := range s.Update(b.Context(), updates) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(n)*100/claiming.Seconds(), "claims/s")
			b.ReportMetric(float64(n)*100/b.Elapsed().Seconds(), "lives/s")
		})
	}
}

func fill(b *testing.B, s *memstore.Store, name string, n int) {
	b.Helper()
	batch := make([]*core.Execution, n)
	for i := range batch {
		batch[i] = ready(fmt.Sprint(name, i))
	}
	for _, err := range s.Insert(b.Context(), batch) {
		if err != nil {
			b.Fatal(err)
		}
	}
}

package simtest

import (
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core/faultstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryOperationMayFail(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	t.Cleanup(func() { t.Logf("all scenarios: %d cut points", cuts.Load()) })
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r := Matrix(t, s, MatrixOptions{})
			cuts.Add(int64(r.Cuts))
			t.Logf("%s: %s", s.Name, r)
		})
	}
}

// family is the size of the large family. `make crash-matrix` takes 10,000.
var family = flag.Int("family", 200, "children of the family whose spawn is cut at every call of the store")

func TestTheSpawnOfALargeFamilyMayBeCutAnywhere(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	began := time.Now()
	t.Cleanup(func() {
		t.Logf("%d children: %d cut points", *family, cuts.Load())
		if least := int64(len(faultstore.Faults()) * (*family / 100)); cuts.Load() < least && !t.Failed() {
			t.Errorf("only %d cut points, want %d or more", cuts.Load(), least)
		}
	})
	for _, fault := range faultstore.Faults() {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			r := Matrix(t, LargeFamily(fmt.Sprint(*family)), MatrixOptions{
				Whole: true, Faults: []faultstore.Fault{fault}, Progress: func(done, of int) {
					if *family >= 1000 && done%25 == 0 {
						fmt.Fprintf(os.Stderr, "%s: %d of %d cut points, %s\n", fault, done, of, time.Since(began).Round(time.Second))
					}
				},
			})
			cuts.Add(int64(r.Cuts))
			t.Logf("%s", r)
		})
	}
}

package storewrap

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// Recorder counts the calls of a store's operations and how long they take, in a fixed amount of memory. The zero
// value works. It is safe for concurrent use; one may serve several stores.
type Recorder struct {
	mu  sync.Mutex
	ops map[string]*histogram
}

// Metrics returns the store with its operations recorded.
func Metrics(store core.Store, r *Recorder) core.Store {
	return around{store, func(operation string, call func() error) error {
		began := time.Now()
		err := call()
		r.record(operation, time.Since(began), err)
		return err
	}}
}

func (r *Recorder) record(operation string, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ops == nil {
		r.ops = map[string]*histogram{}
	}
	h := r.ops[operation]
	if h == nil {
		h = &histogram{}
		r.ops[operation] = h
	}
	h.add(took)
	switch {
	case err == nil:
	case errors.Is(err, core.ErrConflict), errors.Is(err, core.ErrAlreadyExists), errors.Is(err, core.ErrNotFound):
		h.refused++
	default:
		h.failed++
	}
}

// Operation is what was recorded of one operation. A quantile is at most an eighth above the true value.
type Operation struct {
	Calls int `json:"calls"`
	// Refused calls met a record that was not as it had to be; Failed calls went wrong.
	Refused int           `json:"refused"`
	Failed  int           `json:"failed"`
	P50     time.Duration `json:"p50_ns"`
	P95     time.Duration `json:"p95_ns"`
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
}

// Snapshot is what was recorded so far, by operation.
type Snapshot map[string]Operation

// Snapshot returns what was recorded so far.
func (r *Recorder) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := make(Snapshot, len(r.ops))
	for name, h := range r.ops {
		s[name] = Operation{
			Calls: h.calls, Refused: h.refused, Failed: h.failed,
			P50: h.quantile(0.5), P95: h.quantile(0.95), P99: h.quantile(0.99), Max: h.most,
		}
	}
	return s
}

// String returns a table, a line for each operation.
func (s Snapshot) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "operation\tcalls\trefused\tfailed\tp50\tp95\tp99\tmax")
	for _, name := range slices.Sorted(maps.Keys(s)) {
		o := s[name]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", name, o.Calls, o.Refused, o.Failed, o.P50, o.P95, o.P99, o.Max)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// steps is into how many buckets each power of two is divided.
const steps = 8

// histogram counts durations in buckets whose bounds grow by an eighth of a power of two.
type histogram struct {
	calls, refused, failed int
	most                   time.Duration
	buckets                [64 * steps]int
}

func (h *histogram) add(d time.Duration) {
	h.calls++
	h.most = max(h.most, d)
	h.buckets[bucketOf(d)]++
}

// bucketOf returns the bucket of a duration: the place of its highest bit, and the three bits behind that.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0)) //nolint:gosec // not negative
	if n < steps {
		return int(n) //nolint:gosec // below 8
	}
	exponent := bits.Len64(n) - 1
	return (exponent-2)*steps + int(n>>(exponent-3))&(steps-1) //nolint:gosec // below 16
}

// upper returns the end of a bucket.
func upper(bucket int) time.Duration {
	if bucket < steps {
		return time.Duration(bucket)
	}
	exponent := bucket/steps + 2
	return time.Duration((uint64(steps)+uint64(bucket%steps)+1)<<(exponent-3)) - 1 //nolint:gosec // of a duration
}

// quantile returns the duration that a share of q of all calls did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	left := int(q * float64(h.calls))
	for bucket, n := range h.buckets {
		if left -= n; left < 0 {
			return min(upper(bucket), h.most)
		}
	}
	return h.most
}

// Package metrics gathers what an engine does and writes it as CloudWatch metrics, in the embedded metric format: a line of
// JSON on standard output, from which CloudWatch Logs makes the metrics by itself. So nothing has to be sent and nothing
// waits for it. All that happened since the line before is in one line; there is none for each execution.
//
// CloudWatch bills a metric by the hours in which it got values, so one that is zero is left out, but for OldestAge, by
// which the alarms know that the loops are alive. docs/observability.md tells what each metric means and what they cost.
package metrics

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// Namespace is that of all metrics here.
const Namespace = "perdure"

// Names of dimensions.
const (
	DimensionTable = "Table" // the table's name: all that one application does
	DimensionLoop  = "Loop"  // one of core.Loops
)

// Definition is a metric.
type Definition struct {
	Name string
	Unit string // as CloudWatch names it
	// Dimensions are the sets of dimensions that it has.
	Dimensions [][]string
}

// What a metric is told by.
var (
	ofTable  = []string{DimensionTable}
	ofLoop   = []string{DimensionTable, DimensionLoop}
	perTable = [][]string{ofTable}
)

// The metrics. Counts are sums over all that happened.
var (
	started        = Definition{"Started", "Count", perTable}
	completed      = Definition{"Completed", "Count", perTable}
	failed         = Definition{"Failed", "Count", perTable}
	timedOut       = Definition{"TimedOut", "Count", perTable}
	finalizeFailed = Definition{"FinalizeFailed", "Count", perTable}
	cancelled      = Definition{"Cancelled", "Count", perTable}
	retries        = Definition{"Retries", "Count", perTable}
	givenBack      = Definition{"GivenBack", "Count", perTable}
	recoveries     = Definition{"Recoveries", "Count", perTable}
	stuck          = Definition{"Stuck", "Count", perTable}
	corrupt        = Definition{"Corrupt", "Count", perTable}
	lostClaims     = Definition{"LostClaims", "Count", perTable}
	failedPasses   = Definition{"FailedPasses", "Count", perTable}
	throttles      = Definition{"Throttles", "Count", perTable}
	writeUnits     = Definition{"WriteUnits", "Count", perTable}
	readUnits      = Definition{"ReadUnits", "Count", perTable}
	startLatency   = Definition{"StartLatency", "Milliseconds", perTable}
	latency        = Definition{"Latency", "Milliseconds", perTable}
	oldestAge      = Definition{"OldestAge", "Milliseconds", [][]string{ofTable, ofLoop}}
	due            = Definition{"Due", "Count", [][]string{ofLoop}}
)

// Definitions returns all metrics.
func Definitions() []Definition {
	return append(counts(), startLatency, latency, oldestAge, due)
}

// counts returns the metrics that are sums, in the order in which they are written.
func counts() []Definition {
	return []Definition{
		started, completed, failed, timedOut, finalizeFailed, cancelled, retries, givenBack, recoveries, stuck, corrupt,
		lostClaims, failedPasses, throttles, writeUnits, readUnits,
	}
}

// Options are the options of a Gatherer.
type Options struct {
	// Table is the table's name. Required.
	Table string
	// Level is the level of the lines. Lambda drops lines below the function's own, so it should be that.
	Level string
}

// Gatherer adds up what happens until Flush writes it. It is safe for concurrent use.
type Gatherer struct {
	opts Options
	out  io.Writer

	mu     sync.Mutex
	loop   core.Loop // whose queues are watched; empty for none
	sums   map[string]float64
	waits  samples // of StartLatency
	ends   samples // of Latency
	looks  int     // at the queues of the watched loop
	due    int
	oldest time.Duration
}

// New returns a gatherer that writes to out.
func New(out io.Writer, opts Options) *Gatherer {
	return &Gatherer{opts: opts, out: out, sums: map[string]float64{}}
}

// Watch makes the gatherer write the metrics of a loop's queues, as its passes see them. A gatherer watches one loop.
func (g *Gatherer) Watch(loop core.Loop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loop = loop
}

func (g *Gatherer) count(m Definition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sums[m.Name]++
}

// Observer returns the observer for an engine and for clients.
func (g *Gatherer) Observer() core.Observer {
	return core.Observer{
		AttemptStarted: func(ctx context.Context, a core.AttemptStarted) context.Context {
			if !a.Finalize {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.sums[started.Name]++
				g.waits.add(a.Waited)
			}
			return ctx
		},
		AttemptEnded: func(_ context.Context, a core.AttemptEnded) {
			switch a.Outcome {
			case core.AttemptRetried:
				g.count(retries)
			case core.AttemptGivenBack:
				g.count(givenBack)
			case core.AttemptSucceeded, core.AttemptFailed, core.AttemptCancelled, core.AttemptDropped, core.AttemptUnwritten:
			}
		},
		Finished: func(_ context.Context, e *core.Execution) { g.finished(e) },
		Recovered: func(_ context.Context, r core.Recovered) {
			g.count(recoveries)
			if r.Stuck {
				g.count(stuck)
			}
		},
		PassDone: func(_ context.Context, p core.PassDone) { g.passDone(p) },
	}
}

func (g *Gatherer) finished(e *core.Execution) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e.Status {
	case core.StatusCompleted:
		g.sums[completed.Name]++
	case core.StatusFailed:
		g.sums[failed.Name]++
	case core.StatusTimedOut:
		g.sums[timedOut.Name]++
	case core.StatusFinalizeFailed:
		g.sums[finalizeFailed.Name]++
	case core.StatusCancelled:
		g.sums[cancelled.Name]++
	case core.StatusReady, core.StatusRunning, core.StatusWaitingForChildren, core.StatusWaitingForFinalize:
	}
	if e.Parent == nil {
		g.ends.add(max(0, e.FinishedAt.Sub(e.CreatedAt.Add(e.Delay))))
	}
}

func (g *Gatherer) passDone(p core.PassDone) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sums[corrupt.Name] += float64(p.Result.Corrupt)
	g.sums[lostClaims.Name] += float64(p.Result.Lost)
	if p.Err != nil {
		g.sums[failedPasses.Name]++
		return
	}
	if p.Loop != g.loop || p.Result.Unseen {
		return
	}
	g.looks++
	g.due = max(g.due, p.Result.Due)
	if !p.Result.OldestDue.IsZero() {
		g.oldest = max(g.oldest, now.Sub(p.Result.OldestDue))
	}
}

// Usage takes in what a request of the store consumed: see dynamostore.Options.
func (g *Gatherer) Usage(u dynamostore.Usage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sums[writeUnits.Name] += u.Write
	g.sums[readUnits.Name] += u.Read
	g.sums[throttles.Name] += float64(u.Throttled)
}

// Flush writes what was gathered since the last time, as one line, and nothing when that is nothing. What could not be
// written is lost.
func (g *Gatherer) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	line := g.document(time.Now())
	g.sums = map[string]float64{}
	g.waits, g.ends = samples{}, samples{}
	g.looks, g.due, g.oldest = 0, 0, 0
	if line == nil {
		return nil
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = g.out.Write(append(data, '\n'))
	return err
}

// directive is what tells CloudWatch which members of a document are metrics.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []reference
}

type reference struct{ Name, Unit string }

// document returns a line's members; nil when there is nothing to say.
func (g *Gatherer) document(now time.Time) map[string]any {
	doc := map[string]any{
		"level": g.opts.Level, "timestamp": now.UTC().Format(time.RFC3339Nano), "message": "metrics", DimensionTable: g.opts.Table,
	}
	var directives []directive
	add := func(dimensions [][]string, told map[string]any, order ...Definition) {
		d := directive{Namespace: Namespace, Dimensions: dimensions}
		for _, m := range order {
			if v, ok := told[m.Name]; ok {
				doc[m.Name] = v
				d.Metrics = append(d.Metrics, reference{m.Name, m.Unit})
			}
		}
		if len(d.Metrics) > 0 {
			directives = append(directives, d)
		}
	}
	told := map[string]any{}
	for _, m := range counts() {
		if n := g.sums[m.Name]; n != 0 {
			told[m.Name] = n
		}
	}
	if v := g.waits.values(); v != nil {
		told[startLatency.Name] = v
	}
	if v := g.ends.values(); v != nil {
		told[latency.Name] = v
	}
	add(perTable, told, append(counts(), startLatency, latency)...)
	if g.looks > 0 {
		doc[DimensionLoop], told[oldestAge.Name] = g.loop, milliseconds(g.oldest)
		add(oldestAge.Dimensions, told, oldestAge)
	}
	if g.due > 0 {
		told[due.Name] = g.due
		add(due.Dimensions, told, due)
	}
	if directives == nil {
		return nil
	}
	doc["_aws"] = map[string]any{"Timestamp": now.UnixMilli(), "CloudWatchMetrics": directives}
	return doc
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// samples are durations of which a document holds at most mostValues.
type samples struct {
	all    []float64 // ms
	stride int       // one of so many is kept
	seen   int
	most   float64
}

const (
	// mostValues is how many values a metric may have in one document (AWS documentation, "Specification: Embedded metric
	// format").
	mostValues = 100
	// mostSamples bounds the memory that they take before that.
	mostSamples = 4096
)

func (s *samples) add(d time.Duration) {
	ms := milliseconds(d)
	s.most = max(s.most, ms)
	if s.stride == 0 {
		s.stride = 1
	}
	if s.seen%s.stride == 0 {
		s.all = append(s.all, ms)
	}
	if s.seen++; len(s.all) < mostSamples {
		return
	}
	for i := range len(s.all) / 2 {
		s.all[i] = s.all[2*i]
	}
	s.all, s.stride = s.all[:len(s.all)/2], 2*s.stride
}

// values returns the samples when they are few; of many it returns so many that are spread like them, the largest among
// them. It is nil when there are none.
func (s *samples) values() []float64 {
	if len(s.all) == 0 {
		return nil
	}
	slices.Sort(s.all)
	values := s.all
	if n := len(s.all); n > mostValues {
		values = make([]float64, mostValues)
		for i := range values {
			values[i] = s.all[i*(n-1)/(mostValues-1)]
		}
	}
	values[len(values)-1] = s.most
	return values
}

package storewrap_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/core/storetest"
	"github.com/perdure-dev/perdure/core/storewrap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tested is an adapter over a store that tests may empty.
type tested struct {
	core.Store
	below *memstore.Store
}

func (s tested) Delete(ctx context.Context, id string) error { return s.below.Delete(ctx, id) }
func (s tested) DeleteAll(ctx context.Context) error         { return s.below.DeleteAll(ctx) }

// single is a memstore that works on one record at a time.
type single struct{ *memstore.Store }

func (s single) InsertOne(ctx context.Context, e *core.Execution) error {
	return s.Insert(ctx, []*core.Execution{e})[0]
}

func (s single) GetOne(ctx context.Context, id string) (*core.Execution, error) {
	found, err := s.Get(ctx, []string{id}, core.Filter{})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

func (s single) LoadOne(ctx context.Context, p *core.Payload) error { return s.Load(ctx, p) }

func (s single) UpdateOne(ctx context.Context, u core.Update) error {
	return s.Update(ctx, []core.Update{u})[0]
}

func (s single) CountOne(ctx context.Context, now time.Time, c core.Count) (*core.Execution, error) {
	result := s.CountFinished(ctx, now, []core.Count{c})[0]
	return result.Parent, result.Err
}

func (s single) ChildrenOf(ctx context.Context, parentID string) ([]*core.Execution, error) {
	families, err := s.Children(ctx, []string{parentID})
	if err != nil {
		return nil, err
	}
	return families[0], nil
}

func TestEveryAdapterConforms(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(*memstore.Store) core.Store{
		"mutex":                func(s *memstore.Store) core.Store { return storewrap.Mutex(s) },
		"batching one by one":  func(s *memstore.Store) core.Store { return storewrap.Batching(single{s}, 1) },
		"batching in parallel": func(s *memstore.Store) core.Store { return storewrap.Batching(single{s}, 8) },
		"coalescing":           func(s *memstore.Store) core.Store { return storewrap.Coalescing(s, storewrap.CoalescingOptions{}) },
		"coalescing, few": func(s *memstore.Store) core.Store {
			return storewrap.Coalescing(s, storewrap.CoalescingOptions{Batch: 3, InFlight: 2})
		},
		"metrics": func(s *memstore.Store) core.Store { return storewrap.Metrics(s, &storewrap.Recorder{}) },
		"all around each other": func(s *memstore.Store) core.Store {
			return storewrap.Metrics(storewrap.Coalescing(storewrap.Mutex(storewrap.Batching(single{s}, 4)), storewrap.CoalescingOptions{}), &storewrap.Recorder{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(*testing.T) core.TestStore {
				below := memstore.New(memstore.Options{})
				return tested{wrap(below), below}
			})
		})
	}
}

// torn is a store whose update reads, lets others in, and then writes what it made of that.
type torn struct {
	core.Store
	read    chan struct{} // gets an element when an update has read
	write   chan struct{} // an element lets one write
	mu      sync.Mutex
	inside  int
	torn    bool // two were between reading and writing
	updates int
}

func (s *torn) Update(context.Context, []core.Update) []error {
	s.mu.Lock()
	s.inside++
	s.torn = s.torn || s.inside > 1
	s.mu.Unlock()
	s.read <- struct{}{}
	<-s.write
	s.mu.Lock()
	s.inside--
	s.updates++
	s.mu.Unlock()
	return []error{nil}
}

func TestMutexKeepsOthersOutBetweenTheStepsOfAnOperation(t *testing.T) {
	t.Parallel()
	run := func(wrap func(core.Store) core.Store, steps func(s *torn)) *torn {
		below := &torn{read: make(chan struct{}), write: make(chan struct{})}
		store := wrap(below)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { store.Update(t.Context(), nil) })
		}
		steps(below)
		group.Wait()
		return below
	}
	if s := run(func(s core.Store) core.Store { return s }, func(s *torn) {
		<-s.read
		<-s.read
		s.write <- struct{}{}
		s.write <- struct{}{}
	}); !s.torn {
		t.Error("without the mutex nothing is torn: this store shows nothing")
	}
	if s := run(storewrap.Mutex, func(s *torn) {
		for range 2 {
			<-s.read
			s.write <- struct{}{}
		}
	}); s.torn || s.updates != 2 {
		t.Errorf("with the mutex: torn %t after %d of 2 updates", s.torn, s.updates)
	}
}

// slow takes a second for a call, and counts calls and records.
type slow struct {
	core.Store
	mu      sync.Mutex
	calls   int
	records int
}

func (s *slow) Get(_ context.Context, ids []string, _ core.Filter) ([]*core.Execution, error) {
	s.mu.Lock()
	s.calls++
	s.records += len(ids)
	s.mu.Unlock()
	time.Sleep(time.Second)
	found := make([]*core.Execution, len(ids))
	for i, id := range ids {
		if id == "broken" {
			return nil, errors.New("broken")
		}
		found[i] = &core.Execution{ID: id}
	}
	return found, nil
}

func TestCoalescingGathersWhatComesWhileACallIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := &slow{}
		store := storewrap.Coalescing(below, storewrap.CoalescingOptions{Batch: 10})
		began := time.Now()
		var group sync.WaitGroup
		for i := range 31 {
			group.Go(func() {
				id := fmt.Sprint(i)
				found, err := store.Get(t.Context(), []string{id}, core.Filter{})
				if err != nil || len(found) != 1 || found[0].ID != id {
					t.Errorf("Get(%s) = %v, %v", id, found, err)
				}
			})
			if i == 0 {
				synctest.Wait() // the first is under way, alone
			}
		}
		group.Wait()
		if took := time.Since(began); below.calls != 4 || below.records != 31 || took != 4*time.Second {
			t.Errorf("%d calls of %d records took %s, want 4 calls of 31: one alone, then 10 at a time", below.calls, below.records, took)
		}
	})
}

func TestACancelledCallerDoesNotHarmTheOthersOfItsCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := storewrap.Coalescing(&slow{}, storewrap.CoalescingOptions{})
		ctx, cancel := context.WithCancelCause(t.Context())
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				mine := t.Context()
				if i != 2 {
					mine = ctx // of the one that leads the call, and of one that follows
				}
				_, err := store.Get(mine, []string{"a"}, core.Filter{})
				if want := i != 2; errors.Is(err, errGone) != want {
					t.Errorf("caller %d got %v", i, err)
				}
			})
			synctest.Wait()
		}
		cancel(errGone)
		group.Wait()
	})
}

var errGone = errors.New("gone")

func TestAWriteWhoseCallerDoesNotWaitHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := storewrap.Coalescing(memstore.New(memstore.Options{}), storewrap.CoalescingOptions{})
	for _, err := range store.Insert(ctx, []*core.Execution{core.NewExecution("a", core.Spec{TaskID: "t", Timeout: time.Second}, time.Now())}) {
		if !errors.Is(err, core.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("Insert = %v, want an unknown outcome", err)
		}
	}
}

func TestMetricsTellCountsAndQuantiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var recorder storewrap.Recorder
		store := storewrap.Metrics(&slow{}, &recorder)
		for i := range 100 {
			id := fmt.Sprint(i)
			if i == 7 {
				id = "broken"
			}
			_, _ = store.Get(t.Context(), []string{id}, core.Filter{})
		}
		snapshot := recorder.Snapshot()
		get := snapshot["Get"]
		if get.Calls != 100 || get.Failed != 1 || get.Refused != 0 || get.Max != time.Second || get.P50 != time.Second {
			t.Errorf("Get: %+v", get)
		}
		data, err := json.Marshal(snapshot)
		if err != nil || !strings.Contains(string(data), `"calls":100`) {
			t.Errorf("as JSON: %s, %v", data, err)
		}
	})
}

// A quantile is at most an eighth above the true value, and never below.
func TestQuantilesAreAtMostAnEighthTooHigh(t *testing.T) {
	t.Parallel()
	for d := time.Duration(1); d < time.Hour; d = d*5/4 + 1 {
		synctest.Test(t, func(t *testing.T) {
			var recorder storewrap.Recorder
			below := &sleeper{d: d}
			store := storewrap.Metrics(below, &recorder)
			for range 3 {
				_ = store.Load(t.Context())
			}
			below.d = 2 * time.Hour
			_ = store.Load(t.Context())
			if p := recorder.Snapshot()["Load"].P50; p < d || p > d+d/8 {
				t.Errorf("of %s: %s", d, p)
			}
		})
	}
}

type sleeper struct {
	core.Store
	d time.Duration
}

func (s *sleeper) Load(context.Context, ...*core.Payload) error {
	time.Sleep(s.d)
	return nil
}

func ExampleMetrics() {
	var recorder storewrap.Recorder
	store := storewrap.Metrics(memstore.New(memstore.Options{}), &recorder)
	_, _ = store.Get(context.Background(), []string{"a"}, core.Filter{})
	_, _ = store.Get(context.Background(), []string{"b"}, core.Filter{})
	fmt.Println(recorder.Snapshot()["Get"].Calls, "calls of Get")
	// Output: 2 calls of Get
}

func ExampleMutex() {
	store := storewrap.Mutex(memstore.New(memstore.Options{}))
	_, err := store.Get(context.Background(), []string{"a"}, core.Filter{})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleBatching() {
	// single has InsertOne, GetOne and so on; up to 8 of them are under way at once.
	store := storewrap.Batching(single{memstore.New(memstore.Options{})}, 8)
	found, err := store.Get(context.Background(), []string{"a", "b"}, core.Filter{})
	fmt.Println(len(found), err)
	// Output: 2 <nil>
}

func ExampleCoalescing() {
	store := storewrap.Coalescing(memstore.New(memstore.Options{}), storewrap.CoalescingOptions{Batch: 25})
	client, err := core.NewClient(store, core.ClientOptions{})
	fmt.Println(client != nil, err)
	// Output: true <nil>
}

package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/meter"
)

// listed returns the ids of one page.
func listed(t *testing.T, s core.Store, l core.Listing) []string {
	t.Helper()
	page, err := s.List(t.Context(), now, l)
	if err != nil {
		t.Fatal(err)
	}
	return idsOf(page.Executions)
}

func idsOf(executions []*core.Execution) []string {
	ids := []string{}
	for _, e := range executions {
		ids = append(ids, e.ID)
	}
	return ids
}

func expectListed(t *testing.T, s core.Store, l core.Listing, want ...string) {
	t.Helper()
	if got := listed(t, s, l); !slices.Equal(got, want) {
		t.Errorf("%+v lists %v, want %v", l, got, want)
	}
}

func succeed() core.Event {
	return core.Succeed{ExecutorID: executor, Output: core.Payload{Data: jsonOf(250)}}
}

// TestWhatTheListConsumes pins what it adds to the life of a root and of a child, and what reading it takes.
func TestWhatTheListConsumes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list                             bool
		inserted, claimed, retried, done float64
	}{
		"without a list": {false, 2, 3, 3, 2},
		"with a list":    {true, 3, 3, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := meter.Start(t.Context(), endpoint, meter.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			s := testStoreWith(t, testClient(m.Endpoint(), nil), Options{List: c.list})
			insert(t, s, ready("warm", 1)) // reads and writes the settings once
			before := m.Total()
			step := func(what string, want float64) {
				t.Helper()
				total := m.Total()
				if got := total.Write - before.Write; got != want || total.Requests != before.Requests+1 {
					t.Errorf("%s: %v write units in %d requests, want %v in one", what, got, total.Requests-before.Requests, want)
				}
				before = total
			}
			insert(t, s, ready("root", 250))
			step("insert", c.inserted)
			e := claimed(t, s, "root")
			step("claim", c.claimed)
			e.Retry.MaxAttempts = 2
			next(t, s, e, core.FailAttempt{ExecutorID: executor, Failure: core.Failure{Code: core.CodeFailed, Message: "no"}})
			step("fail for a retry", c.retried)
			e = claimed(t, s, "root")
			step("claim", c.claimed)
			next(t, s, e, succeed())
			step("finish and close", c.done)
			child := ready("child", 250)
			child.ID = waitingParent(t, "parent", "f", 3, now).ChildID(0)
			child.RootID, child.Parent = "parent", &core.Parent{ID: "parent", TaskID: "parent_task", Siblings: 3}
			before = m.Total()
			insert(t, s, child)
			step("insert a child", 2)
			e = claimed(t, s, child.ID)
			step("claim a child", 3)
			next(t, s, e, succeed())
			step("finish a child", 1)
			if !c.list {
				return
			}
			before = m.Total()
			expectListed(t, s, core.Listing{Status: core.StatusCompleted}, "root")
			total, operations := m.Total(), m.Usage().ByOperation
			// Half a unit for each of the 4 shards, and one to read the record; once, half a one to learn of the shards.
			if got := total.Read - before.Read; got != 4*0.5+1+0.5 || total.Write != before.Write {
				t.Errorf("a page of one execution: %v read units and %v write units", got, total.Write-before.Write)
			}
			if operations["Scan"].Requests != 0 || operations["Query"].Requests != 4 {
				t.Errorf("requests: %+v", operations)
			}
		})
	}
}

func TestWhatAPageOfTheListConsumes(t *testing.T) {
	t.Parallel()
	m, err := meter.Start(t.Context(), endpoint, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := testStoreWith(t, testClient(m.Endpoint(), nil), Options{List: true})
	all := make([]*core.Execution, 200)
	for i := range all {
		all[i] = ready(core.NewID(), 250)
		if i%50 == 0 {
			all[i].TaskID = "rare"
		}
	}
	insert(t, s, all...)
	listed(t, s, core.Listing{}) // learns of the shards
	for name, c := range map[string]struct {
		listing  core.Listing
		found    int
		read     float64
		requests int
	}{
		"of one status":    {core.Listing{Status: core.StatusReady, Limit: 50}, 50, 4*1 + 50, 4 + 1},
		"of any status":    {core.Listing{Limit: 50}, 50, 4*1 + 20*0.5 + 50, 24 + 1},
		"of a rare task":   {core.Listing{Status: core.StatusReady, TaskID: "rare"}, 4, 4*1 + 4, 4 + 1},
		"of another class": {core.Listing{Status: core.StatusFailed}, 0, 4 * 0.5, 4},
	} {
		before := m.Total()
		found := len(listed(t, s, c.listing))
		total := m.Total()
		read, requests := total.Read-before.Read, total.Requests-before.Requests
		if found != c.found || read > c.read || read < c.read-2 || requests != c.requests {
			t.Errorf("%s: %d executions, %v read units in %d requests; want %d, %v at most, %d", name, found, read, requests, c.found, c.read, c.requests)
		}
		t.Logf("%s: %d executions, %v read units in %d requests", name, found, read, requests)
	}
}

func TestAStoreWithoutAListSaysHowToGetOne(t *testing.T) {
	t.Parallel()
	off := testStore(t)
	_, err := off.List(t.Context(), now, core.Listing{})
	for _, says := range []string{off.table, "Options.List", "ListIndex", "PERDURE_LIST"} {
		if !errors.Is(err, core.ErrNotListed) || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %s", err, says)
		}
	}
	on, err := New(testClient(endpoint, nil), off.table, Options{List: true})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, on, ready("a", 10)) // no harm is done by an index that is not there
	_, err = on.List(t.Context(), now, core.Listing{})
	if !errors.Is(err, core.ErrNotListed) || !strings.Contains(err.Error(), "its index list is missing") {
		t.Errorf("error %v", err)
	}
	missing, err := New(testClient(endpoint, nil), "no-such-table", Options{List: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.List(t.Context(), now, core.Listing{}); !errors.Is(err, ErrTableNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestTheListMayBeSwitchedOnForATableInUse(t *testing.T) {
	t.Parallel()
	on := testStoreWith(t, testClient(endpoint, nil), Options{List: true})
	off, err := New(testClient(endpoint, nil), on.table, Options{})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, off, ready("begun without", 250), ready("ended without", 250))
	insert(t, on, ready("begun with", 250))
	next(t, off, claimed(t, off, "ended without"), succeed())
	expectListed(t, on, core.Listing{}, "begun with")
	next(t, on, claimed(t, on, "begun without"), succeed())
	expectListed(t, on, core.Listing{}, "begun without", "begun with")
	expectListed(t, on, core.Listing{Status: core.StatusCompleted}, "begun without")
	// One that ended while the list was off is listed among all, not under its status.
	next(t, off, claimed(t, off, "begun with"), succeed())
	expectListed(t, on, core.Listing{}, "begun without", "begun with")
	expectListed(t, on, core.Listing{Status: core.StatusCompleted}, "begun without")
	expectListed(t, on, core.Listing{Status: core.StatusReady})
}

func TestTheListIsReadFromAllShards(t *testing.T) {
	t.Parallel()
	wide := testStoreWith(t, testClient(endpoint, nil), Options{List: true, Shards: 16})
	narrow, err := New(testClient(endpoint, nil), wide.table, Options{List: true, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		insert(t, []core.Store{wide, narrow}[i%2], ready(fmt.Sprintf("e%d", i), 10))
	}
	if got := listed(t, narrow, core.Listing{}); len(got) != 20 {
		t.Errorf("listed %v", got)
	}
}

// TTL deletes items days after their retention is over.
func TestWhatIsOnlyNotDeletedYetIsNotListed(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{List: true, Retention: 24 * time.Hour})
	insert(t, s, ready("closed", 10), ready("unfinished", 10))
	next(t, s, claimed(t, s, "closed"), succeed())
	for after, want := range map[time.Duration][]string{
		23 * time.Hour: {"unfinished", "closed"},
		25 * time.Hour: {"unfinished"},
	} {
		page, err := s.List(t.Context(), now.Add(after), core.Listing{})
		if err != nil || page.Next != "" || !slices.Equal(idsOf(page.Executions), want) {
			t.Errorf("after %s: %v, next %q, error %v; want %v", after, idsOf(page.Executions), page.Next, err, want)
		}
	}
}

func TestAListedRootOf500BytesStaysWithinOneUnit(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{List: true})
	id := strings.Repeat("i", 64)
	insert(t, s, ready(id, 250))
	next(t, s, claimed(t, s, id), succeed())
	e := one(t, s, id)
	if size := itemSize(s.encode(e)); size > unit || e.Input.Ref != "" || e.Output.Ref != "" {
		t.Errorf("%d bytes, %+v %+v", size, e.Input.Ref, e.Output.Ref)
	} else {
		t.Logf("%d bytes", size)
	}
}

// change sets attributes of an execution's item behind the store's back.
func change(t *testing.T, s *TestStore, id string, attributes item) {
	t.Helper()
	x := newExpression()
	for name, v := range attributes {
		x.assign(name, v)
	}
	in := x.input(s.table, primaryKey(id, sortExecution), "")
	in.ConditionExpression = nil
	if _, err := testClient(endpoint, nil).UpdateItem(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// lagging is a table whose list index still shows, beside what it shows now, what it showed to the first calls.
type lagging struct {
	*dynamodb.Client
	frozen atomic.Bool
	before chan map[string][]item // the entries by partition
}

func (l *lagging) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	out, err := l.Client.Query(ctx, in, opts...)
	if err != nil || aws.ToString(in.IndexName) != listIndex {
		return out, err
	}
	d := decoder{item: in.ExpressionAttributeValues}
	partition := d.text(":l")
	before := <-l.before
	defer func() { l.before <- before }()
	if !l.frozen.Load() {
		before[partition] = out.Items
		return out, nil
	}
	seen := map[string]bool{}
	var both []item
	for _, it := range append(slices.Clone(out.Items), before[partition]...) {
		if id := itemID(it); !seen[id] {
			seen[id] = true
			both = append(both, it)
		}
	}
	slices.SortFunc(both, func(a, b item) int {
		p, err1 := placeOf(a)
		q, err2 := placeOf(b)
		if err := errors.Join(err1, err2); err != nil {
			panic(err)
		}
		return p.Compare(q)
	})
	out.Items = both
	return out, nil
}

func TestAnIndexThatLagsShowsNothingFalseOrTwice(t *testing.T) {
	t.Parallel()
	api := &lagging{Client: testClient(endpoint, nil), before: make(chan map[string][]item, 1)}
	api.before <- map[string][]item{}
	s := testStoreWith(t, api, Options{List: true})
	var ids []string
	for i := range 12 {
		ids = append(ids, fmt.Sprintf("e%02d", 11-i))
		insert(t, s, ready(ids[i], 10))
	}
	expectListed(t, s, core.Listing{}, ids...)
	api.frozen.Store(true)
	for _, id := range ids[:6] {
		next(t, s, claimed(t, s, id), succeed())
	}
	if err := s.Delete(t.Context(), ids[11]); err != nil {
		t.Fatal(err)
	}
	expectListed(t, s, core.Listing{}, ids[:11]...)
	expectListed(t, s, core.Listing{Status: core.StatusReady}, ids[6:11]...)
	expectListed(t, s, core.Listing{Status: core.StatusCompleted}, ids[:6]...)
	expectListed(t, s, core.Listing{Status: core.StatusRunning})
}

func TestABadItemIsLeftOutOfTheList(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{List: true})
	insert(t, s, ready("a", 10), ready("b", 10), ready("c", 10), ready("d", 10))
	change(t, s, "b", item{aStatus: text("nope")})
	change(t, s, "c", item{aCreated: number(1)}) // as if the id were used again and the index behind
	expectListed(t, s, core.Listing{}, "d", "a")
	change(t, s, "a", item{indexListAt: listAt([]byte("short"))})
	if _, err := s.List(t.Context(), now, core.Listing{}); err == nil || !strings.Contains(err.Error(), "must have a time's 6") {
		t.Errorf("error %v", err)
	}
}

// TestAPageMayBeShort reads with so few requests a page that most pages are: a task or a status is rare among what the
// index keeps together.
func TestAPageMayBeShort(t *testing.T) {
	t.Parallel()
	s := testStoreWith(t, testClient(endpoint, nil), Options{List: true, Shards: 2})
	var rare, running []string
	for i := range 40 {
		e := ready(fmt.Sprintf("e%02d", 39-i), 10)
		if i%13 == 7 {
			e.TaskID = "rare"
			rare = append(rare, e.ID)
		}
		insert(t, s, e)
		if i%11 == 10 {
			claimed(t, s, e.ID)
			running = append(running, e.ID)
		}
	}
	for _, c := range []struct {
		listing      core.Listing
		scan, rounds int
		want         []string
	}{
		{core.Listing{TaskID: "rare", Limit: 2}, 1, 1, rare},
		{core.Listing{TaskID: "rare", Limit: 2}, 3, 2, rare},
		{core.Listing{TaskID: "rare", Limit: 1}, 1000, 1, rare},
		{core.Listing{TaskID: "rare", Status: core.StatusReady, Limit: 2}, 2, 1, rare},
		{core.Listing{Status: core.StatusRunning, Limit: 1}, 0, 1, running},
		{core.Listing{Status: core.StatusRunning, Limit: 3}, 0, 2, running},
		{core.Listing{Status: core.StatusRunning, Limit: 1}, 0, listRounds, running},
	} {
		var got []string
		pages, after := 0, core.Place{}
		for {
			pages++
			m := s.newListMerge(c.listing, after, 2)
			m.scan, m.rounds = c.scan, c.rounds
			page, err := s.listPage(t.Context(), now, c.listing, m)
			if err != nil || len(page.Executions) > c.listing.Limit || pages > 50 {
				t.Fatalf("%+v, page %d: %d executions, error %v", c, pages, len(page.Executions), err)
			}
			got = append(got, idsOf(page.Executions)...)
			if page.Next == "" {
				break
			}
			if _, after, err = (core.Listing{After: page.Next}).Resolve(); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
		t.Logf("%+v: %d pages", c.listing, pages)
	}
}

func TestPlacesOfTheListAscendWithTime(t *testing.T) {
	t.Parallel()
	places := []core.Place{
		{CreatedAt: time.UnixMilli(-listEpoch), ID: "z"}, {CreatedAt: time.UnixMilli(-1), ID: "z"}, {CreatedAt: time.UnixMilli(0), ID: "a"},
		{CreatedAt: now, ID: "a"}, {CreatedAt: now, ID: "b"}, {CreatedAt: time.UnixMilli(listEpoch - 1), ID: "a"},
	}
	var last []byte
	for _, p := range places {
		key := listPlace(p)
		if slices.Compare(last, key) >= 0 {
			t.Errorf("%v: %x is not behind %x", p, key, last)
		}
		if got, err := parseListPlace(key); err != nil || !got.CreatedAt.Equal(p.CreatedAt) || got.ID != p.ID {
			t.Errorf("%v is read as %v, error %v", p, got, err)
		}
		last = key
	}
}

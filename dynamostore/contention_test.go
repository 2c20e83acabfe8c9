package dynamostore

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// entriesAt returns n entries, one due each step before now.
func entriesAt(n int, step time.Duration) []entry {
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{fmt.Sprintf("e%04d", i), now.Add(-step * time.Duration(n-i)).UnixMilli(), core.QueueReady}
	}
	return entries
}

// lookOf returns the look of one of several executors, who knows of the others.
func lookOf(executor, of, limit int) look {
	l := look{now: now, limit: limit}
	for i := range of {
		if id := fmt.Sprintf("executor-%d", i); i == executor {
			l.executor = id
		} else {
			l.rivals = append(l.rivals, id)
		}
	}
	return l
}

func TestExecutorsThatKnowOfEachOtherChooseDifferentEntries(t *testing.T) {
	t.Parallel()
	found := entriesAt(800, time.Second)
	chosenBy := map[entry]int{}
	for executor := range 16 {
		chosen, _, held := new(Store).choose(lookOf(executor, 16, 25), slices.Clone(found))
		if len(chosen) != 25 || held.IsZero() || !slices.IsSortedFunc(chosen, compareEntries) {
			t.Errorf("executor %d takes %d entries, held until %s", executor, len(chosen), held)
		}
		for _, e := range chosen {
			if by, taken := chosenBy[e]; taken {
				t.Errorf("%s is chosen by executors %d and %d", e.id, by, executor)
			}
			chosenBy[e] = executor
		}
	}
	for i, e := range found[:100] { // an executor's oldest come first: 25 of 50 that it has
		if _, taken := chosenBy[e]; !taken {
			t.Errorf("%s, number %d by age, is chosen by nobody", e.id, i)
		}
	}
}

func TestExecutorsThatKnowNothingChooseDifferentEntries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ found, each, least int }{{800, 25, 280}, {20, 1, 7}} {
		found := entriesAt(c.found, time.Millisecond)
		chosenBy := map[entry]int{}
		for executor := range 16 {
			l := look{now: now, limit: 25, spread: 32, executor: fmt.Sprintf("executor-%d", executor)}
			chosen, _, held := new(Store).choose(l, slices.Clone(found))
			if len(chosen) != c.each || !held.IsZero() {
				t.Errorf("executor %d takes %d of %d entries, held until %s", executor, len(chosen), c.found, held)
			}
			for _, e := range chosen {
				chosenBy[e]++
			}
		}
		// 16 draws of 25 of 800 give 318 different ones, 16 of 1 of 20 give 11, each give or take a few.
		if len(chosenBy) < c.least {
			t.Errorf("of %d entries 16 executors chose %d", c.found, len(chosenBy))
		}
	}
}

func TestAnExecutorThatIsAloneTakesTheOldest(t *testing.T) {
	t.Parallel()
	found := entriesAt(50, time.Second)
	for _, spread := range []int{0, 1} {
		chosen, _, held := new(Store).choose(look{now: now, limit: 25, spread: spread, executor: executor}, slices.Clone(found))
		if !slices.Equal(chosen, found[:25]) || !held.IsZero() {
			t.Errorf("chose %v, held until %s", chosen, held)
		}
	}
}

func TestWhatItsOwnerLeavesIsTakenByOthersInTurn(t *testing.T) {
	t.Parallel()
	found := entriesAt(1, time.Millisecond)
	turns := map[time.Duration]int{}
	for executor := range 16 {
		s, l := new(Store), lookOf(executor, 16, 25)
		chosen, _, held := s.choose(l, slices.Clone(found))
		if len(chosen) == 1 {
			turns[0]++
			continue
		}
		wait := held.Sub(now)
		if wait < patience || wait > patience+morePatience {
			t.Errorf("executor %d leaves it alone for %s", executor, wait)
		}
		turns[wait]++
		l.now = held.Add(-time.Millisecond)
		if early, _, _ := s.choose(l, slices.Clone(found)); len(early) != 0 {
			t.Errorf("executor %d takes it before its turn", executor)
		}
		l.now = held
		if late, _, _ := s.choose(l, slices.Clone(found)); len(late) != 1 {
			t.Errorf("executor %d does not take it at its turn", executor)
		}
	}
	if turns[0] != 1 || len(turns) != 16 {
		t.Errorf("the turns are %v", turns)
	}
}

// stale answers queries of the index as they were answered first.
type stale struct {
	API
	answer atomic.Pointer[dynamodb.QueryOutput]
	claims atomic.Int32
}

func (s *stale) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if old := s.answer.Load(); old != nil {
		return old, nil
	}
	out, err := s.API.Query(ctx, in, opts...)
	if err == nil && len(out.Items) > 0 {
		s.answer.Store(out)
	}
	return out, err
}

func (s *stale) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	s.claims.Add(1)
	return s.API.UpdateItem(ctx, in, opts...)
}

func TestAnExecutorDoesNotClaimAgainWhatTheIndexStillShows(t *testing.T) {
	t.Parallel()
	api := &stale{API: testClient(endpoint, nil)}
	s, err := New(api, testTable(t), Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("a", 10))
	api.claims.Store(0)
	for want := range 2 {
		if got := claim(t, s, now.Add(time.Duration(want)*time.Second), time.Hour); len(got) != 1-want {
			t.Errorf("look %d claimed %v", want+1, got)
		}
	}
	if n := api.claims.Load(); n != 1 {
		t.Errorf("%d claims, want 1", n)
	}
}

func TestAnExecutorThatLosesClaimsMeetsTheOthers(t *testing.T) {
	t.Parallel()
	table := testTable(t)
	stores := make([]*Store, 3)
	apis := make([]*stale, 3)
	for i := range stores {
		apis[i] = &stale{API: testClient(endpoint, nil)}
		var err error
		if stores[i], err = New(apis[i], table, Options{Shards: 1}); err != nil {
			t.Fatal(err)
		}
	}
	at := now
	// race lets one executor after the other look at the queue as it was before all of them, and returns how many
	// claims all of them made of n executions.
	race := func(n int) int {
		t.Helper()
		for i := range n {
			insert(t, stores[0], ready(fmt.Sprintf("e%d-%d", at.UnixMilli(), i), 10))
		}
		before := 0
		for i, s := range stores {
			apis[i].answer.Store(nil)
			if _, err := s.due(t.Context(), look{queue: core.QueueReady, now: at, dueBy: at, limit: n}); err != nil {
				t.Fatal(err)
			}
			before += int(apis[i].claims.Load())
		}
		after := 0
		for i, s := range stores {
			if _, err := s.ClaimReady(t.Context(), core.ReadyClaim{
				Now: at, Limit: n, ExecutorID: fmt.Sprintf("executor-%d", i), Left: time.Hour, Leeway: time.Second, Shared: true,
			}); err != nil {
				t.Fatal(err)
			}
			after += int(apis[i].claims.Load())
		}
		at = at.Add(announceEvery)
		return after - before
	}
	for _, s := range stores {
		s.others.spread = 1 // each takes itself to be alone
	}
	if n := race(12); n < 36 {
		t.Errorf("%d claims of 12 executions by executors that know nothing of each other", n)
	}
	race(12) // the one that lost nothing meets them now at the latest
	if n := race(30); n > 33 {
		t.Errorf("%d claims of 30 executions by executors that know of each other", n)
	}
	at = at.Add(announceFor)
	for i, s := range stores {
		if rivals, spread := s.others.bounds(fmt.Sprintf("executor-%d", i), at); len(rivals) > 0 || spread != mostSpread {
			t.Errorf("later executor %d still knows %v, its spread is %d", i, rivals, spread)
		}
	}
}

func TestExecutorsThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	for i := range 5 {
		s.meet(t.Context(), fmt.Sprintf("executor-%d", i), now.Add(time.Duration(i)*announceFor))
	}
	out, err := s.api.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(s.table), Key: primaryKey(settingsKey, sortExecutors)})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.Item); n > 2+2 { // the keys, and at most one that is gone
		t.Errorf("the item has %d attributes: %v", n, out.Item)
	}
	s.meet(t.Context(), "executor-4", now) // an earlier look, which comes late, does not shorten it
	rivals, _ := s.others.bounds("other", now.Add(4*announceFor))
	if !slices.Equal(rivals, []string{"executor-4"}) {
		t.Errorf("at work are %v", rivals)
	}
}

// The expression that removed all of them at once went beyond 4 KB at some 680, and no write to the item succeeded again.
func TestMeet_ForgetsThousandsThatAreGoneInWritesThatStayWithinTheirLimit(t *testing.T) {
	t.Parallel()
	const longest = 4 << 10 // bytes of an expression (AWS documentation, "Service, account, and table quotas")
	gone := item{}
	for i := range 3000 {
		gone[fmt.Sprintf("%sexecutor-%04d", executorPrefix, i)] = number(now.Add(-time.Hour).UnixMilli())
	}
	s := &Store{}
	for writes := 0; len(gone) > 0; writes++ {
		s.others.met(gone, now)
		in := s.meeting(executor, now).input("jobs", primaryKey(settingsKey, sortExecutors), "")
		if n := len(aws.ToString(in.UpdateExpression)); n > longest {
			t.Fatalf("the expression has %d bytes, at most %d are taken", n, longest)
		}
		before := len(gone)
		for _, name := range in.ExpressionAttributeNames {
			delete(gone, name)
		}
		if len(gone) == before || writes > 3000/forgetAtOnce {
			t.Fatalf("after %d writes %d are left", writes, len(gone))
		}
	}
}

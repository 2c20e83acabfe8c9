package dynamostore

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

func claim(t *testing.T, s core.Store, at time.Time, left time.Duration, ids ...string) []string {
	t.Helper()
	swept, err := s.ClaimReady(t.Context(), core.ReadyClaim{
		Now: at, Limit: 10, ExecutorID: executor, Left: left, Leeway: 5 * time.Second, IDs: ids,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range swept.Executions {
		got = append(got, e.ID)
	}
	return got
}

// A claim that came to nothing is no reason to pass over what the execution's entry becomes later: a retry is due
// when it is due, not at the next tick.
func TestALostClaimDoesNotDelayTheNextAttempt(t *testing.T) {
	t.Parallel()
	winner := testStore(t)
	loser, err := New(testClient(endpoint, nil), winner.table, Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := ready("a", 10)
	e.Retry.MaxAttempts = 2
	insert(t, winner, e)
	e = claimed(t, winner, "a")
	if got := claim(t, loser, now, time.Hour, "a"); len(got) != 0 {
		t.Fatalf("claimed %v by id, which somebody else holds", got)
	}
	next(t, winner, e, core.FailAttempt{ExecutorID: executor, Failure: core.Failure{Code: core.CodeFailed, Message: "no"}, Delay: time.Second})
	if got := claim(t, loser, now.Add(time.Second), time.Hour); len(got) != 1 {
		t.Errorf("claimed %v at the time of the second attempt, want a", got)
	}
}

// An executor near its end passes over a long task; the next one, in the same process, has time for it at once.
func TestATaskThatDidNotFitIsClaimedByAnExecutorWithMoreTime(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	insert(t, s, ready("a", 10)) // its timeout is a minute
	if got := claim(t, s, now, time.Second); len(got) != 0 {
		t.Fatalf("claimed %v with a second left", got)
	}
	if got := claim(t, s, now.Add(10*time.Millisecond), time.Hour); len(got) != 1 {
		t.Errorf("claimed %v with an hour left, want a", got)
	}
}

// spoil makes an execution's item one that this version cannot read.
func spoil(t *testing.T, s *TestStore, id, attribute string) {
	t.Helper()
	_, err := testClient(endpoint, nil).UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName: aws.String(s.table), Key: primaryKey(id, sortExecution),
		UpdateExpression:          aws.String("SET #a = :n"),
		ExpressionAttributeNames:  map[string]string{"#a": attribute},
		ExpressionAttributeValues: item{":n": number(schemaVersion + 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnItemThatDoesNotDecodeStopsNoQueue(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	var log strings.Builder
	s.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for i := range 3 {
		id := fmt.Sprintf("e%d", i)
		insert(t, s, ready(id, 10))
		claimed(t, s, id)
	}
	spoil(t, s, "e0", aStatus)
	w := core.Sweep{Now: now.Add(time.Hour), Limit: 10, MaxRecoveries: 5}
	swept, err := s.ExpireRunning(t.Context(), w)
	if err != nil || len(swept.Executions) != 2 || swept.Lost != 1 {
		t.Errorf("swept %d, lost %d, error %v; want 2, 1, none", len(swept.Executions), swept.Lost, err)
	}
	if !strings.Contains(log.String(), "e0") {
		t.Errorf("the log does not name the item: %q", log.String())
	}
}

// A program of an earlier version must not take what it cannot read, and does not change it.
func TestAnItemOfALaterVersionIsNotClaimed(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	insert(t, s, ready("a", 10), ready("b", 10))
	spoil(t, s, "a", aVersion)
	if got := claim(t, s, now, time.Hour); len(got) != 1 || got[0] != "b" {
		t.Errorf("claimed %v, want b", got)
	}
	out, err := testClient(endpoint, nil).GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(s.table), Key: primaryKey("a", sortExecution), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{item: out.Item}
	if q := d.text(indexQueue); parseQueue(q) != core.QueueReady {
		t.Errorf("it is in queue %s", q)
	}
}

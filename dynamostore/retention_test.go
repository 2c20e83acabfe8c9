package dynamostore

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// DynamoDB deletes an item within days of its time. Until then the engine finds it, and whoever asks by a client does not.
func TestWhatIsExpiredIsGoneForUsersBeforeItIsDeleted(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	client, err := core.NewClient(s, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("e", 0))
	damage(t, s, "e", attributeTTL, number(time.Now().Add(-time.Hour).Unix()))
	if _, err := client.Get(t.Context(), "e"); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if found, err := client.GetMany(t.Context(), []string{"e"}); err != nil || found[0] != nil {
		t.Errorf("get many: %v, %v", found, err)
	}
	if one(t, s, "e") == nil {
		t.Error("the engine does not find it")
	}
	damage(t, s, "e", attributeTTL, number(time.Now().Add(time.Hour).Unix()))
	if _, err := client.Get(t.Context(), "e"); err != nil {
		t.Error(err)
	}
}

// A wake-up was lost that came after the retention of the key's last sleeper, while that was not deleted yet, and before the
// next one slept.
func TestAWakeupIsKeptThoughAnExpiredSleeperIsNotDeletedYet(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	sleeper := core.NewSleepingTask[string]("sleeper", core.TaskOptions{})
	client, err := core.NewClient(s, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"first", "second"} {
		if _, err := core.Wakeup(t.Context(), client, sleeper, "key", output); err != nil {
			t.Fatal(err)
		}
		h, err := sleeper.Enqueue(t.Context(), client, "key")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.Wait(t.Context()); err != nil || got != output {
			t.Errorf("it came to %q, %v, want %q", got, err, output)
		}
		damage(t, s, h.ID(), attributeTTL, number(time.Now().Add(-time.Hour).Unix()))
	}
}

// The input of a loop that goes on for years was deleted under it, a year after it was written.
func TestAPayloadThatIsReadLateIsKeptOn(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	e := ready("e", 0)
	e.Input = core.Payload{Data: []byte(large)}
	insert(t, s, e)
	part := func() item {
		out, err := s.api.Query(t.Context(), &dynamodb.QueryInput{
			TableName: aws.String(s.table), KeyConditionExpression: aws.String("pk = :pk AND begins_with(sk, :p)"),
			ExpressionAttributeValues: item{":pk": text("e"), ":p": text("p#")},
		})
		if err != nil || len(out.Items) != 1 {
			t.Fatalf("%d parts, error %v", len(out.Items), err)
		}
		return out.Items[0]
	}
	for left, want := range map[time.Duration]time.Duration{
		300 * 24 * time.Hour: 300 * 24 * time.Hour, // it is early
		100 * 24 * time.Hour: s.opts.Retention + siblingSlack,
	} {
		it := part()
		it[attributeTTL] = number(time.Now().Add(left).Unix())
		if _, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.table), Item: it}); err != nil {
			t.Fatal(err)
		}
		input := one(t, s, "e").Input
		if err := s.Load(t.Context(), &input); err != nil || string(input.Data) != large {
			t.Fatalf("%d bytes, error %v", len(input.Data), err)
		}
		d := decoder{item: part()}
		if kept := time.Until(time.Unix(d.int64(attributeTTL), 0)); (kept - want).Abs() > time.Hour {
			t.Errorf("with %s left it is kept for %s, want %s", left, kept, want)
		}
	}
}

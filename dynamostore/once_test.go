package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// add adds cents to an account's balance, in any table of one's own.
func add(table, account string, cents int64) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{
		TableName: aws.String(table), Key: primaryKey(account, "account"),
		UpdateExpression:          aws.String("ADD balance :cents"),
		ExpressionAttributeValues: item{":cents": number(cents)},
	}}
}

func balance(t testing.TB, table, account string) int64 {
	t.Helper()
	out, err := testClient(endpoint, nil).GetItem(context.Background(), &dynamodb.GetItemInput{
		TableName: aws.String(table), Key: primaryKey(account, "account"), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{item: out.Item}
	return d.int64("balance")
}

// runTask runs one execution of a task to its end and returns its record.
func runTask(t *testing.T, s *TestStore, task *core.Task[string, string], attempts func()) *core.Execution {
	t.Helper()
	registry, err := core.NewRegistry(task)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: s, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(s, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.EnqueueWith(t.Context(), client, "in", core.EnqueueOptions{ID: "e"}); err != nil {
		t.Fatal(err)
	}
	for {
		x := engine.NewExecutor(core.ExecutorOptions{})
		if _, err := x.StartReady(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		attempts()
		if e := one(t, s, "e"); e.Status.Finished() {
			return e
		}
	}
}

// Attempts that die after their effect, attempts at the same time, and attempts that are not alone in what they write: the
// effect is had once, and every attempt learns what it came to.
func TestAnEffectIsHadOnceHoweverOftenTheCodeRuns(t *testing.T) {
	t.Parallel()
	s, accounts := testStore(t), testTable(t)
	runs := 0
	task := core.NewTask("pay", func(ctx context.Context, _ string) (string, error) {
		runs++
		var group sync.WaitGroup
		outs := make([]string, 4)
		errs := make([]error, 4)
		for i := range outs {
			group.Go(func() {
				outs[i], errs[i] = Once(ctx, s.Store, "pay", fmt.Sprintf("receipt %d of run %d", i, runs), add(accounts, "shop", 100))
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil && !strings.Contains(err.Error(), "TransactionConflict") {
			return "", err
		}
		for _, out := range outs {
			if out != "" && out != outs[0] && outs[0] != "" {
				return "", core.NonRetryable(fmt.Errorf("attempts differ: %q", outs))
			}
		}
		if runs < 3 {
			return "", core.RetryAfter(errors.New("it dies here"), 0)
		}
		return Once(ctx, s.Store, "pay", "another receipt", add(accounts, "shop", 100))
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 5, BaseDelay: time.Millisecond}})
	e := runTask(t, s, task, func() {})
	if e.Status != core.StatusCompleted || !strings.Contains(string(e.Output.Data), "receipt") || strings.Contains(string(e.Output.Data), "another") {
		t.Errorf("%s: %s, %+v", e.Status, e.Output.Data, e.Failure)
	}
	if got := balance(t, accounts, "shop"); got != 100 || runs != 3 {
		t.Errorf("after %d runs the balance is %d, want 100 after 3", runs, got)
	}
}

// When a condition of the effect's own fails, nothing is noted: the next attempt may have it.
// The completion of an effect outlives its root, whose id may be used again: the effect of the next execution was once
// taken for had.
func TestTheNextExecutionOfAnIDHasAnEffectOfItsOwn(t *testing.T) {
	t.Parallel()
	s, accounts := testStore(t), testTable(t)
	task := core.NewTask("pay", func(ctx context.Context, _ string) (string, error) {
		return Once(ctx, s.Store, "pay", core.InfoOf(ctx).CreatedAt.String(), add(accounts, "shop", 5))
	}, core.TaskOptions{})
	first := runTask(t, s, task, func() {})
	damage(t, s, first.ID, attributeTTL, number(1))
	second := runTask(t, s, task, func() {})
	if got := balance(t, accounts, "shop"); got != 10 {
		t.Errorf("the balance is %d, want 10", got)
	}
	if bytes.Equal(first.Output.Data, second.Output.Data) {
		t.Errorf("both came to %s", first.Output.Data)
	}
}

func TestAnEffectWhoseConditionFailsIsNotNoted(t *testing.T) {
	t.Parallel()
	s, accounts := testStore(t), testTable(t)
	runs := 0
	task := core.NewTask("pay", func(ctx context.Context, _ string) (string, error) {
		runs++
		write := add(accounts, "shop", -10)
		write.Update.ConditionExpression = aws.String("balance >= :ten")
		write.Update.ExpressionAttributeValues[":ten"] = number(10)
		out, err := Once(ctx, s.Store, "pay", "paid", write)
		var cancelled *types.TransactionCanceledException
		if err != nil && (!errors.As(err, &cancelled) || aws.ToString(cancelled.CancellationReasons[1].Code) != "ConditionalCheckFailed") {
			return "", core.NonRetryable(err)
		}
		return out, err
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3, BaseDelay: time.Millisecond}})
	e := runTask(t, s, task, func() {
		if runs == 1 {
			write := add(accounts, "shop", 15).Update
			_, err := testClient(endpoint, nil).UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
				TableName: write.TableName, Key: write.Key, UpdateExpression: write.UpdateExpression, ExpressionAttributeValues: write.ExpressionAttributeValues,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := balance(t, accounts, "shop"); e.Status != core.StatusCompleted || got != 5 {
		t.Errorf("%s, balance %d, %+v", e.Status, got, e.Failure)
	}
}

func TestABadEffectIsRefused(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	if _, err := Once(t.Context(), s.Store, "pay", 1); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "not called from a task's code") {
		t.Errorf("outside of a task: %v", err)
	}
	var errs []error
	task := core.NewTask("pay", func(ctx context.Context, _ string) (string, error) {
		_, badName := Once(ctx, s.Store, "a b", 1)
		_, badOutput := Once(ctx, s.Store, "pay", make(chan int))
		_, tooLarge := Once(ctx, s.Store, "pay", strings.Repeat("x", maxOnceOutput))
		_, tooMany := Once(ctx, s.Store, "pay", 1, make([]types.TransactWriteItem, 100)...)
		errs = []error{badName, badOutput, tooLarge, tooMany}
		return "", nil
	}, core.TaskOptions{})
	runTask(t, s, task, func() {})
	for i, want := range []error{core.ErrInvalid, core.ErrInvalid, core.ErrTooLarge, core.ErrTooLarge} {
		if !errors.Is(errs[i], want) {
			t.Errorf("error %v, want one that matches %v", errs[i], want)
		}
	}
}

// A payment is booked and noted as booked in one transaction. The first attempt dies right behind it; the second finds it
// booked, and returns the receipt of the first.
func ExampleOnce() {
	ctx := context.Background()
	dynamo := testClient(endpoint, nil) // dynamostore.LoadClient(ctx) elsewhere
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(CreateTable(ctx, dynamo, "example-once", TableOptions{}))
	check(CreateTable(ctx, dynamo, "example-accounts", TableOptions{})) // any table of your own
	store, err := New(dynamo, "example-once", Options{})
	check(err)

	book := core.NewTask("book", func(ctx context.Context, account string) (string, error) {
		info := core.InfoOf(ctx)
		receipt, err := Once(ctx, store, "book", fmt.Sprintf("booked by attempt %d", info.Attempt),
			types.TransactWriteItem{Update: &types.Update{
				TableName: aws.String("example-accounts"),
				Key: map[string]types.AttributeValue{
					"pk": &types.AttributeValueMemberS{Value: account}, "sk": &types.AttributeValueMemberS{Value: "account"},
				},
				UpdateExpression:          aws.String("ADD balance :cents"),
				ExpressionAttributeValues: map[string]types.AttributeValue{":cents": &types.AttributeValueMemberN{Value: "100"}},
			}})
		if err == nil && info.Attempt == 1 {
			return "", core.RetryAfter(errors.New("the process dies here"), time.Millisecond)
		}
		return receipt, err
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})

	registry, err := core.NewRegistry(book)
	check(err)
	engine, err := core.NewEngine(core.Config{Store: store, Registry: registry})
	check(err)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- engine.Run(running) }()
	client, err := engine.NewClient(core.ClientOptions{})
	check(err)
	handle, err := book.Enqueue(ctx, client, "shop")
	check(err)
	receipt, err := handle.Wait(ctx)
	check(err)
	execution, err := handle.Get(ctx)
	check(err)
	stop()
	<-ended
	out, err := dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("example-accounts"), Key: primaryKey("shop", "account")})
	check(err)
	fmt.Printf("%s; %d attempts; balance %s\n", receipt, execution.Attempts, out.Item["balance"].(*types.AttributeValueMemberN).Value)
	// Output: booked by attempt 1; 2 attempts; balance 100
}

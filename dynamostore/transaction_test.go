package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

var charge = core.NewTask("charge", func(_ context.Context, order string) (string, error) {
	return "charged " + order, nil
}, core.TaskOptions{})

// transactor is a store with a client of it and a table of the caller's own.
type transactor struct {
	*testing.T
	store  *TestStore
	client *core.Client
	dynamo *dynamodb.Client
	orders string
}

func newTransactor(t *testing.T) *transactor {
	t.Helper()
	s := testStore(t)
	client, err := core.NewClient(s, core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &transactor{t, s, client, testClient(endpoint, nil), testTable(t)}
}

// order puts an order and its task in one transaction.
func (x *transactor) order(id, input string, opts core.EnqueueOptions) (*core.Handle[string], error) {
	x.Helper()
	h, entries, err := EnqueueTx(x.Context(), x.store.Store, x.client, charge, input, opts)
	if err != nil {
		return nil, err
	}
	_, err = x.dynamo.TransactWriteItems(x.Context(), &dynamodb.TransactWriteItemsInput{
		TransactItems: append(entries, types.TransactWriteItem{Put: &types.Put{
			TableName: aws.String(x.orders), Item: primaryKey(id, "order"),
			ConditionExpression: aws.String("attribute_not_exists(pk)"),
		}}),
	})
	return h, err
}

func (x *transactor) orderExists(id string) bool {
	x.Helper()
	out, err := x.dynamo.GetItem(x.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(x.orders), Key: primaryKey(id, "order"), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		x.Fatal(err)
	}
	return len(out.Item) > 0
}

// runAll runs an engine until the handle's execution is over.
func (x *transactor) run(h *core.Handle[string]) (string, error) {
	x.Helper()
	registry, err := core.NewRegistry(charge)
	if err != nil {
		x.Fatal(err)
	}
	engine, err := core.NewEngine(core.Config{Store: x.store, Registry: registry})
	if err != nil {
		x.Fatal(err)
	}
	ctx, stop := context.WithCancel(x.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	defer func() {
		stop()
		<-ended
	}()
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.Wait(waiting)
}

func TestAnOrderAndItsTaskAreWrittenTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	x := newTransactor(t)
	h, err := x.order("17", "order 17", core.EnqueueOptions{ID: "charge-17"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := x.run(h); out != "charged order 17" || err != nil || !x.orderExists("17") {
		t.Errorf("output %q, error %v", out, err)
	}

	// The order is there already: no second task.
	_, err = x.order("17", "order 17", core.EnqueueOptions{ID: "charge-17-again"})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		t.Fatalf("error %v", err)
	}
	if _, err := x.client.Get(t.Context(), "charge-17-again"); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("the task of a refused order: error %v", err)
	}

	// The execution is there already: no second order.
	_, err = x.order("18", "order 18", core.EnqueueOptions{ID: "charge-17"})
	if !errors.As(err, &cancelled) || aws.ToString(cancelled.CancellationReasons[0].Code) != "ConditionalCheckFailed" {
		t.Fatalf("error %v", err)
	}
	if x.orderExists("18") {
		t.Error("the order of a refused task exists")
	}
}

func TestALargeInputGoesIntoTheTransactionInParts(t *testing.T) {
	t.Parallel()
	x := newTransactor(t)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the test wants bytes that do not compress
	incompressible := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[random.IntN(64)]
		}
		return string(b)
	}
	input := incompressible(900_000)
	h, err := x.order("17", input, core.EnqueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := x.run(h); out != "charged "+input || err != nil {
		t.Errorf("output of %d bytes, error %v", len(out), err)
	}
	if x.client, err = core.NewClient(x.store, core.ClientOptions{Limits: core.Limits{Payload: 10 << 20}}); err != nil {
		t.Fatal(err)
	}
	_, err = x.order("18", incompressible(8<<20), core.EnqueueOptions{})
	if !errors.Is(err, core.ErrTooLarge) || x.orderExists("18") {
		t.Errorf("8 MB: error %v", err)
	}
}

func TestABadTransactionalEnqueueMakesNoEntries(t *testing.T) {
	t.Parallel()
	x := newTransactor(t)
	for _, opts := range []core.EnqueueOptions{{ID: "bad id"}, {Delay: -1}, {ID: "a", Key: "b"}} {
		if h, entries, err := EnqueueTx(t.Context(), x.store.Store, x.client, charge, "", opts); !errors.Is(err, core.ErrInvalid) || h != nil || entries != nil {
			t.Errorf("%+v: handle %v, %d entries, error %v", opts, h, len(entries), err)
		}
	}
}

// An order and the task that charges it are written in one transaction: together or not at all.
func ExampleEnqueueTx() {
	ctx := context.Background()
	dynamo := testClient(endpoint, nil) // dynamostore.LoadClient(ctx) elsewhere
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(CreateTable(ctx, dynamo, "example-perdure", TableOptions{}))
	check(CreateTable(ctx, dynamo, "example-orders", TableOptions{})) // any table of your own
	store, err := New(dynamo, "example-perdure", Options{})
	check(err)
	client, err := core.NewClient(store, core.ClientOptions{})
	check(err)

	handle, entries, err := EnqueueTx(ctx, store, client, charge, "order 17", core.EnqueueOptions{ID: "charge-order-17"})
	check(err)
	_, err = dynamo.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: append(entries, types.TransactWriteItem{Put: &types.Put{
			TableName: aws.String("example-orders"),
			Item: map[string]types.AttributeValue{
				"pk": &types.AttributeValueMemberS{Value: "order 17"},
				"sk": &types.AttributeValueMemberS{Value: "order"},
			},
			ConditionExpression: aws.String("attribute_not_exists(pk)"),
		}}),
	})
	check(err)
	execution, err := handle.Get(ctx)
	check(err)
	fmt.Println(handle.ID(), execution.Status)
	// Output: charge-order-17 ready
}

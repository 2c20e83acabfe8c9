package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
)

// ErrTaken means that another order has the same id.
var ErrTaken = errors.New("another order has this id")

// ErrInvalid means that an order breaks a rule, which the message names.
var ErrInvalid = errors.New("invalid order")

// Submit puts an order into the shop's table and enqueues what sees to it, in one transaction: there is never the one
// without the other. The same order again changes nothing. An error that matches neither ErrInvalid nor ErrTaken means
// that submitting again is right.
func (w *Workflow) Submit(ctx context.Context, c *handler.Client, o Order, now time.Time) (Record, error) {
	if err := o.Validate(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	data, err := json.Marshal(o)
	if err != nil {
		return Record{}, err
	}
	_, entries, err := dynamostore.EnqueueTx(ctx, c.Store, c.Client, w.Place, o, core.EnqueueOptions{ID: ExecutionID(o.ID)})
	if err != nil {
		return Record{}, err
	}
	order := orderKey(o.ID)
	order["order"], order["status"] = text(string(data)), text(string(Received))
	err = dynamostore.TransactWrite(ctx, c.DynamoDB, &dynamodb.TransactWriteItemsInput{TransactItems: append(entries,
		types.TransactWriteItem{Put: &types.Put{
			TableName: &w.Shop.table, Item: order, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		}},
		types.TransactWriteItem{Put: &types.Put{TableName: &w.Shop.table, Item: key("day#"+day(now), o.ID)}},
	)})
	if err == nil {
		return Record{ID: o.ID, Status: Received, order: string(data)}, nil
	}
	if failedConditions(err) == nil {
		return Record{}, fmt.Errorf("submit order %s: %w", o.ID, err)
	}
	there, err := w.Shop.Get(ctx, o.ID)
	if err == nil && there.order != string(data) {
		err = fmt.Errorf("order %s: %w", o.ID, ErrTaken)
	}
	return there, err
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

package orders

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// OrderLine is one line of an order.
type OrderLine struct {
	Order string `json:"order"`
	Index int    `json:"index"`
	Line
}

const (
	reserved = "reserved"
	released = "released"
)

// Stock puts goods on the shelf.
func (s *Shop) Stock(ctx context.Context, sku string, available, cents int) error {
	put := stockKey(sku)
	put["available"], put["cents"] = number(available), number(cents)
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.table, Item: put})
	return err
}

// Available returns how many of a kind are on the shelf.
func (s *Shop) Available(ctx context.Context, sku string) (int, error) {
	found, err := s.get(ctx, stockKey(sku))
	return numberOf(found, "available"), err
}

// reserveLine takes a line's goods off the shelf and returns what they cost in cents. It may run more than once for
// one line, as any task may: the item that says "reserved" goes into the same transaction as the goods' number, so the
// second time takes nothing.
func (s *Shop) reserveLine(ctx context.Context, l OrderLine) (int, error) {
	stock, err := s.get(ctx, stockKey(l.SKU))
	if err != nil {
		return 0, err
	}
	if stock == nil {
		return 0, Refuse(Reason(fmt.Sprintf("the shop does not have %q", l.SKU)), nil)
	}
	cents := l.Quantity * numberOf(stock, "cents")
	line := lineKey(l.Order, l.Index)
	line["state"] = text(reserved)
	err = dynamostore.TransactWrite(ctx, s.db, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: &s.table, Item: line, ConditionExpression: aws.String("attribute_not_exists(pk)")}},
		{Update: s.move(l, "available - :n", "available >= :n")},
	}})
	switch failed := failedConditions(err); {
	case err == nil:
		return cents, nil
	case failed == nil:
		return 0, err
	case failed[0]:
		return cents, s.checkReserved(ctx, l)
	}
	return 0, Refuse(Reason(fmt.Sprintf("%d of %q are not in stock", l.Quantity, l.SKU)), nil)
}

// checkReserved returns an error when a line was released already: an attempt that was given up as lost and is still
// running must not take goods for an order that is cancelled.
func (s *Shop) checkReserved(ctx context.Context, l OrderLine) error {
	line, err := s.get(ctx, lineKey(l.Order, l.Index))
	if err == nil && textOf(line, "state") != reserved {
		err = core.NonRetryable(errors.New("the order was cancelled meanwhile"))
	}
	return err
}

// releaseLine puts a line's goods back on the shelf, if they were taken, and sees to it that nobody takes them later.
// It returns whether they had been taken.
func (s *Shop) releaseLine(ctx context.Context, l OrderLine) (bool, error) {
	line := lineKey(l.Order, l.Index)
	line["state"] = text(released)
	_, err := s.db.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.table, Item: line, ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	var exists *types.ConditionalCheckFailedException
	if !errors.As(err, &exists) {
		return false, err
	}
	err = dynamostore.TransactWrite(ctx, s.db, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Update: &types.Update{
			TableName: &s.table, Key: lineKey(l.Order, l.Index),
			UpdateExpression: aws.String("SET #state = :released"), ConditionExpression: aws.String("#state = :reserved"),
			ExpressionAttributeNames:  map[string]string{"#state": "state"},
			ExpressionAttributeValues: item{":released": text(released), ":reserved": text(reserved)},
		}},
		{Update: s.move(l, "available + :n", "attribute_exists(pk)")},
	}})
	if failed := failedConditions(err); failed != nil && failed[0] {
		return true, nil // an attempt before this one did it
	}
	return err == nil, err
}

// move changes the number of a line's goods on the shelf.
func (s *Shop) move(l OrderLine, change, condition string) *types.Update {
	return &types.Update{
		TableName: &s.table, Key: stockKey(l.SKU),
		UpdateExpression: aws.String("SET available = " + change), ConditionExpression: &condition,
		ExpressionAttributeValues: item{":n": number(l.Quantity)},
	}
}

// failedConditions tells for each entry of a transaction whether its condition failed; nil when none did.
func failedConditions(err error) []bool {
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		return nil
	}
	failed := make([]bool, len(cancelled.CancellationReasons))
	any := false
	for i, r := range cancelled.CancellationReasons {
		failed[i] = aws.ToString(r.Code) == "ConditionalCheckFailed"
		any = any || failed[i]
	}
	if !any {
		return nil
	}
	return failed
}

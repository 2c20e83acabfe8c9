package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// What one transaction holds at most (AWS documentation, TransactWriteItems: 100 actions, 4 MB together), less
// what is left to the caller's own entries.
const (
	transactEntries = 90
	transactBytes   = 3 << 20
)

// EnqueueTx enqueues a task within a transaction of the caller's: it returns the entries that put the execution into
// the store's table, for the caller's own TransactWriteItems request, and the handle of the execution, which exists
// once that request has succeeded, together with all else that it wrote, or not at all. The entries cost twice what
// an enqueue costs; the table may be another than that of the caller's items, in the same account and region.
//
// Where the request fails because an entry's condition does, its TransactionCanceledException gives the reason
// ConditionalCheckFailed at the entry's place: for the execution, whose entry is the last, that means that its id,
// key or unique key is taken; a key (EnqueueOptions.Key) is not compared with an earlier one's input here.
//
// The SDK does not try a transaction again that was cancelled, also not one that was cancelled because another
// transaction holds an item (TransactionConflict) or because a table is throttled (ThrottlingError,
// ProvisionedThroughputExceeded). Nothing was written then, and the same request may be sent again: send it by
// TransactWrite, which does that.
//
// An error means that nothing was written but, perhaps, the store's own settings. It matches core.ErrTooLarge when the
// input takes more than 3 MB, compressed: such an input does not fit a transaction.
func EnqueueTx[In, Out any](
	ctx context.Context, s *Store, c *core.Client, t *core.Task[In, Out], in In, opts core.EnqueueOptions,
) (*core.Handle[Out], []types.TransactWriteItem, error) {
	e, err := t.Prepare(c, in, opts)
	if err != nil {
		return nil, nil, err
	}
	entries, err := s.entries(ctx, e)
	if err != nil {
		return nil, nil, fmt.Errorf("enqueue task %s in a transaction: %w", e.TaskID, err)
	}
	return t.HandleOf(c, e.ID), entries, nil
}

// passing are the reasons for which DynamoDB cancels a transaction that say nothing about its entries (AWS
// documentation, TransactionCanceledException).
var passing = map[string]bool{"TransactionConflict": true, "ThrottlingError": true, "ProvisionedThroughputExceeded": true}

// passes reports whether the reasons of a cancelled transaction are all of the kind that passes by itself.
func passes(reasons []types.CancellationReason) bool {
	some := false
	for _, r := range reasons {
		switch code := aws.ToString(r.Code); {
		case passing[code]:
			some = true
		case code != "" && code != "None":
			return false
		}
	}
	return some
}

// TransactWrite sends a transaction, and sends it again, with growing pauses and within 20 s, as long as DynamoDB cancels
// it for reasons that pass: an item that another transaction holds (TransactionConflict), a throttled table
// (ThrottlingError, ProvisionedThroughputExceeded). The SDK does not. Its error is that of the last try: a
// *types.TransactionCanceledException means that nothing was written, and so does an error by which DynamoDB refused the
// request itself. Any other error leaves open whether it was written.
func TransactWrite(ctx context.Context, api TransactAPI, in *dynamodb.TransactWriteItemsInput) error {
	return transact(ctx, api, in, passes)
}

// transact sends a transaction until it is not cancelled for reasons for which again is true.
func transact(
	ctx context.Context, api TransactAPI, in *dynamodb.TransactWriteItemsInput, again func([]types.CancellationReason) bool,
) error {
	for try := 1; ; try++ {
		var t tries
		_, err := api.TransactWriteItems(ctx, in, t.counted(nil)...)
		err = t.judge(err)
		var cancelled *types.TransactionCanceledException
		if try == requestTries || !errors.As(err, &cancelled) || !again(cancelled.CancellationReasons) {
			return err //nolint:wrapcheck // the caller judges it as it came
		}
		pause, _ := pauseAfter(try, nil)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err //nolint:wrapcheck // nothing was written
		}
	}
}

// entries returns the entries that put a new record, behind its parts.
func (s *Store) entries(ctx context.Context, e *core.Execution) ([]types.TransactWriteItem, error) {
	if err := s.announceShards(ctx); err != nil {
		return nil, err
	}
	placed, parts := s.place(e, nil)
	size := 0
	entries := make([]types.TransactWriteItem, 0, len(parts)+1)
	for _, p := range parts {
		size += len(p.data)
		entries = append(entries, types.TransactWriteItem{Put: &types.Put{
			TableName: aws.String(s.table), Item: s.partItem(e, p),
			ConditionExpression:      aws.String("attribute_not_exists(#pk)"),
			ExpressionAttributeNames: map[string]string{"#pk": keyPK},
		}})
	}
	if size > transactBytes || len(entries) >= transactEntries {
		return nil, fmt.Errorf("%w: the input takes %d bytes in %d parts, the limit in a transaction is %d in %d: enqueue it after the transaction, with a key",
			core.ErrTooLarge, size, len(entries), transactBytes, transactEntries)
	}
	billed := s.partUnits(e, parts)
	put := s.putNew(e, placed, 2*billed+putUnits(s.encode(placed))) // a transaction doubles all of it
	return append(entries, types.TransactWriteItem{Put: &types.Put{
		TableName: put.TableName, Item: put.Item, ConditionExpression: put.ConditionExpression,
		ExpressionAttributeNames: put.ExpressionAttributeNames, ExpressionAttributeValues: put.ExpressionAttributeValues,
	}}), nil
}

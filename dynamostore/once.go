package dynamostore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// TransactAPI is the part of the DynamoDB client that Once takes besides. A function's role needs the permissions of the
// single writes: dynamodb:PutItem on the store's table, which template.yaml grants, and whatever the effect's writes take.
type TransactAPI interface {
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// What the completion of an effect may hold.
const (
	maxOnceEntries = 99        // a transaction has at most 100 (AWS documentation, TransactWriteItems)
	maxOnceOutput  = 300 << 10 // bytes; an item has at most 400 KB
	onceOutput     = "out"
)

var onceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Once has an effect on DynamoDB exactly once for an execution, however often its code runs: in one transaction it makes
// the effect's writes and notes their completion, with out, under the execution's id and the effect's name. It is called
// from a task's code, with its context. When the completion is there already, because of an attempt that died or whose
// answer was lost, or of one that still runs though its lease is over, nothing is written, and what that attempt noted is
// returned in place of out.
//
// The writes are to any tables of the account and region, at most 99, and may have conditions. When one of these fails,
// nothing is written, the completion neither; the error is then the *types.TransactionCanceledException as it came, whose
// reasons begin with the completion's, so that the reason of entry i is number i+1. A transaction that was cancelled
// because another one holds an item, or because a table is throttled, is tried again as TransactWrite does it. An error
// that matches core.ErrUnknownOutcome means what it says: calling again, which the next attempt does, tells. Other errors
// match core.ErrInvalid or core.ErrTooLarge.
//
// The completion is an item of at most 300 KB beside the execution, and is kept as long as the payloads of an execution
// that ends now. It costs twice what a put costs, and each of the writes twice what it costs alone.
func Once[Out any](ctx context.Context, s *Store, name string, out Out, writes ...types.TransactWriteItem) (Out, error) {
	var zero Out
	info := core.InfoOf(ctx)
	api, ok := s.raw.(TransactAPI)
	data, err := json.Marshal(out)
	switch {
	case info.ExecutionID == "":
		return zero, fmt.Errorf("%w effect %q: it is not called from a task's code, with its context", core.ErrInvalid, name)
	case !onceName.MatchString(name):
		return zero, fmt.Errorf("%w effect %q: its name must have 1 to 64 letters, digits, '_' and '-'", core.ErrInvalid, name)
	case !ok:
		return zero, fmt.Errorf("%w effect %q: the store's client has no transactions", core.ErrInvalid, name)
	case err != nil:
		return zero, fmt.Errorf("%w effect %q: output: %w", core.ErrInvalid, name, err)
	case len(data) > maxOnceOutput:
		return zero, fmt.Errorf("%w: the output of effect %q has %d bytes, the limit is %d", core.ErrTooLarge, name, len(data), maxOnceOutput)
	case len(writes) > maxOnceEntries:
		return zero, fmt.Errorf("%w: effect %q has %d writes, the limit is %d", core.ErrTooLarge, name, len(writes), maxOnceEntries)
	}
	key := primaryKey(info.ExecutionID, effectKey(info, name))
	err = transact(ctx, api, &dynamodb.TransactWriteItemsInput{
		TransactItems: append([]types.TransactWriteItem{{Put: s.completion(key, data, time.Now())}}, writes...),
	}, func(reasons []types.CancellationReason) bool {
		// While the completion is in somebody else's transaction, a condition of the effect's own may fail because of
		// that one: only the completion tells.
		return passes(reasons) || len(reasons) > 0 && passing[aws.ToString(reasons[0].Code)]
	})
	var cancelled *types.TransactionCanceledException
	switch {
	case err == nil:
		return out, nil
	case !errors.As(err, &cancelled):
		return zero, fmt.Errorf("effect %q of execution %s: %w", name, info.ExecutionID, writeError(s.where, err))
	case len(cancelled.CancellationReasons) == 0 || aws.ToString(cancelled.CancellationReasons[0].Code) != "ConditionalCheckFailed":
		return zero, fmt.Errorf("effect %q of execution %s: %w", name, info.ExecutionID, err)
	}
	noted, err := s.noted(ctx, key)
	if err == nil {
		err = json.Unmarshal(noted, &zero)
	}
	if err != nil {
		return zero, fmt.Errorf("what effect %q of execution %s noted: %w", name, info.ExecutionID, err)
	}
	return zero, nil
}

// completion notes that an effect was had.
//
//	input:     the item's key, the output
//	condition: there is none with that key
//	outcome:   the item
func (s *Store) completion(key item, data []byte, now time.Time) *types.Put {
	it := primaryKey(partition(key), "")
	it[keySK] = key[keySK]
	it[onceOutput] = &types.AttributeValueMemberB{Value: data}
	if s.opts.Retention > 0 {
		it[attributeTTL] = number(now.Add(s.opts.Retention + siblingSlack).Unix())
	}
	return &types.Put{
		TableName: aws.String(s.table), Item: it,
		ConditionExpression:      aws.String("attribute_not_exists(#pk)"),
		ExpressionAttributeNames: map[string]string{"#pk": keyPK},
	}
}

// noted returns the output of an effect that was had.
func (s *Store) noted(ctx context.Context, key item) ([]byte, error) {
	items, err := s.batchGet(ctx, []item{key})
	if err != nil {
		return nil, err
	}
	b, ok := items[itemID(key)][onceOutput].(*types.AttributeValueMemberB)
	if !ok {
		return nil, fmt.Errorf("%w: it has no output", core.ErrCorrupt)
	}
	return b.Value, nil
}

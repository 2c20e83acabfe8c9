package dynamostore

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Usage is what one request consumed, as DynamoDB tells. A request that got no answer consumed what nobody can
// tell: it is reported with zero units and its error.
type Usage struct {
	Operation string // such as UpdateItem
	// ID is the partition key of the one item that the request is about, as a rule an execution's id; empty for
	// queries and batches of reads.
	ID string
	// Part tells that the request was reported already: a batch of writes is reported once for each of its statements.
	Part bool
	// Write and Read are request units of the table and its indexes together.
	Write, Read float64
	// Indexes are the units of each index that took part in them; nil for none.
	Indexes map[string]float64
	// ConditionFailed tells that a conditional write was refused. DynamoDB tells no units then; Write is worked out
	// from the size of the item that refused it, one unit at least.
	ConditionFailed bool
	// Throttled is how many tries of the request the table refused since it was asked too much; the client tries again by
	// itself (see LoadClient). It is told for a *dynamodb.Client.
	Throttled int
	Err       error
}

// observed is an API that asks for the consumed capacity of every request and reports it.
type observed struct {
	API
	report func(Usage)
}

// Options returns the client's options, for errors that name region and endpoint.
func (o observed) Options() dynamodb.Options {
	if client, ok := o.API.(interface{ Options() dynamodb.Options }); ok {
		return client.Options()
	}
	return dynamodb.Options{}
}

// add adds consumed capacity to a usage; it is nil where a request got no answer.
func (u *Usage) add(units *float64, c *types.ConsumedCapacity) {
	if c == nil {
		return
	}
	*units += aws.ToFloat64(c.CapacityUnits)
	for name, index := range c.GlobalSecondaryIndexes {
		if u.Indexes == nil {
			u.Indexes = map[string]float64{}
		}
		u.Indexes[name] += aws.ToFloat64(index.CapacityUnits)
	}
}

// leastRead returns what a read consumes that finds nothing: 1 when it is consistent, else 0.5 (AWS documentation,
// "DynamoDB read and write operations"). DynamoDB Local says 0.
func leastRead(consistent *bool) float64 {
	if aws.ToBool(consistent) {
		return 1
	}
	return 0.5
}

func partition(key item) string {
	d := decoder{item: key}
	return d.text(keyPK)
}

func (u *Usage) fail(err error) {
	u.Err = err
	if old, failed := conditionFailed(err); failed {
		u.ConditionFailed, u.Write = true, float64(max(1, units(itemSize(old))))
	}
}

// tries is a retryer that counts the tries of one request which were throttled, and tells whether one before the last
// ended without an answer: such a try may have been written.
type tries struct {
	aws.RetryerV2
	throttled  int
	lost       bool // the last try
	lostBefore bool // one before it
}

// IsErrorRetryable implements aws.Retryer: it is asked once about each try that failed.
func (t *tries) IsErrorRetryable(err error) bool {
	if throttled(err) {
		t.throttled++
	}
	t.lostBefore = t.lostBefore || t.lost
	t.lost = !refusal(err)
	return t.RetryerV2.IsErrorRetryable(err)
}

// counted returns a request's options with those that count its tries.
func (t *tries) counted(opts []func(*dynamodb.Options)) []func(*dynamodb.Options) {
	return append(slices.Clone(opts), func(o *dynamodb.Options) {
		if r, ok := o.Retryer.(aws.RetryerV2); ok {
			t.RetryerV2 = r
			o.Retryer = t
		}
	})
}

func (o observed) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	var t tries
	out, err := o.API.GetItem(ctx, &asked, t.counted(opts)...)
	u := Usage{Operation: "GetItem", ID: partition(in.Key), Throttled: t.throttled, Err: err}
	if err == nil {
		u.add(&u.Read, out.ConsumedCapacity)
		u.Read = max(u.Read, leastRead(in.ConsistentRead))
	}
	o.report(u)
	return out, err
}

func (o observed) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	var t tries
	out, err := o.API.BatchGetItem(ctx, &asked, t.counted(opts)...)
	u := Usage{Operation: "BatchGetItem", Throttled: t.throttled, Err: err}
	if err == nil {
		for i := range out.ConsumedCapacity {
			u.add(&u.Read, &out.ConsumedCapacity[i])
		}
	}
	o.report(u)
	return out, err
}

func (o observed) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	var t tries
	out, err := o.API.Query(ctx, &asked, t.counted(opts)...)
	u := Usage{Operation: "Query", Throttled: t.throttled, Err: err}
	if err == nil {
		u.add(&u.Read, out.ConsumedCapacity)
		u.Read = max(u.Read, leastRead(in.ConsistentRead))
	}
	o.report(u)
	return out, err
}

func (o observed) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	var t tries
	out, err := o.API.PutItem(ctx, &asked, t.counted(opts)...)
	u := Usage{Operation: "PutItem", ID: partition(in.Item), Throttled: t.throttled}
	if err == nil {
		u.add(&u.Write, out.ConsumedCapacity)
	} else {
		u.fail(err)
	}
	o.report(u)
	return out, err
}

func (o observed) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	var t tries
	out, err := o.API.UpdateItem(ctx, &asked, t.counted(opts)...)
	u := Usage{Operation: "UpdateItem", ID: partition(in.Key), Throttled: t.throttled}
	if err == nil {
		u.add(&u.Write, out.ConsumedCapacity)
	} else {
		u.fail(err)
	}
	o.report(u)
	return out, err
}

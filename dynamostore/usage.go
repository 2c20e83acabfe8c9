package dynamostore

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Usage is what one request consumed, as DynamoDB tells. A request that got no answer consumed what nobody can
// tell: it is reported with zero units and its error.
type Usage struct {
	Operation string // such as UpdateItem
	// Write and Read are request units of the table and its indexes together.
	Write, Read float64
	// Indexes are the units of each index that took part in them; nil for none.
	Indexes map[string]float64
	// ConditionFailed tells that a conditional write was refused. DynamoDB tells no units then; Write is worked out
	// from the size of the item that refused it, one unit at least.
	ConditionFailed bool
	Err             error
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

func (u *Usage) fail(err error) {
	u.Err = err
	if old, failed := conditionFailed(err); failed {
		u.ConditionFailed, u.Write = true, float64(max(1, units(itemSize(old))))
	}
}

func (o observed) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := o.API.GetItem(ctx, &asked, opts...)
	u := Usage{Operation: "GetItem", Err: err}
	if err == nil {
		u.add(&u.Read, out.ConsumedCapacity)
	}
	o.report(u)
	return out, err
}

func (o observed) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := o.API.BatchGetItem(ctx, &asked, opts...)
	u := Usage{Operation: "BatchGetItem", Err: err}
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
	out, err := o.API.Query(ctx, &asked, opts...)
	u := Usage{Operation: "Query", Err: err}
	if err == nil {
		u.add(&u.Read, out.ConsumedCapacity)
	}
	o.report(u)
	return out, err
}

func (o observed) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	asked := *in
	asked.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	out, err := o.API.PutItem(ctx, &asked, opts...)
	u := Usage{Operation: "PutItem"}
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
	out, err := o.API.UpdateItem(ctx, &asked, opts...)
	u := Usage{Operation: "UpdateItem"}
	if err == nil {
		u.add(&u.Write, out.ConsumedCapacity)
	} else {
		u.fail(err)
	}
	o.report(u)
	return out, err
}

package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Names of the table's keys, its indexes and their keys, and the attribute of its time to live.
const (
	keyPK = "pk"
	keySK = "sk"

	queueIndex    = "queue"
	indexQueue    = "queue"
	indexDueAt    = "dueAt"
	cancelIndex   = "cancel"
	indexCancel   = "cancel"
	indexExecutor = "executor"

	attributeTTL = "ttl"
)

// ErrSchema means that a table's keys, indexes or stream are not those that this package needs.
var ErrSchema = errors.New("table has another schema")

// TableInput returns the table: what template.yaml has, less what only a deployed table needs.
func TableInput(table string) *dynamodb.CreateTableInput {
	attribute := func(name string, t types.ScalarAttributeType) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: t}
	}
	keys := func(hash, sort string) []types.KeySchemaElement {
		return []types.KeySchemaElement{
			{AttributeName: aws.String(hash), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(sort), KeyType: types.KeyTypeRange},
		}
	}
	index := func(name, hash, sort string) types.GlobalSecondaryIndex {
		return types.GlobalSecondaryIndex{
			IndexName: aws.String(name), KeySchema: keys(hash, sort),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}
	}
	return &dynamodb.CreateTableInput{
		TableName:   aws.String(table),
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			attribute(keyPK, types.ScalarAttributeTypeS), attribute(keySK, types.ScalarAttributeTypeS),
			attribute(indexQueue, types.ScalarAttributeTypeS), attribute(indexDueAt, types.ScalarAttributeTypeN),
			attribute(indexCancel, types.ScalarAttributeTypeS), attribute(indexExecutor, types.ScalarAttributeTypeS),
		},
		KeySchema: keys(keyPK, keySK),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{
			index(queueIndex, indexQueue, indexDueAt), index(cancelIndex, indexCancel, indexExecutor),
		},
		StreamSpecification: &types.StreamSpecification{
			StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage,
		},
	}
}

// SchemaAPI is the part of the DynamoDB client that creating and checking a table takes.
type SchemaAPI interface {
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
}

// CreateTable creates the table, waits until it is active and switches its time to live on. A table that is
// there already must have the same schema: see CheckTable.
func CreateTable(ctx context.Context, api SchemaAPI, table string) error {
	_, err := api.CreateTable(ctx, TableInput(table))
	var inUse *types.ResourceInUseException
	if errors.As(err, &inUse) {
		return CheckTable(ctx, api, table)
	}
	if err != nil {
		return fmt.Errorf("create table %s: %w", table, explain(table, err))
	}
	waiter := dynamodb.NewTableExistsWaiter(api, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 5*time.Second
	})
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)}, 5*time.Minute); err != nil {
		return fmt.Errorf("wait for table %s: %w", table, err)
	}
	_, err = api.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: aws.String(table),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(attributeTTL), Enabled: aws.Bool(true),
		},
	})
	if err != nil {
		return fmt.Errorf("switch on the time to live of table %s: %w", table, explain(table, err))
	}
	return nil
}

// CheckTable compares a table with TableInput. The error matches ErrTableNotFound, or ErrSchema and then says
// what differs and what to do about it.
func CheckTable(ctx context.Context, api SchemaAPI, table string) error {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
	if err != nil {
		return fmt.Errorf("check table %s: %w", table, explain(table, err))
	}
	if differences := compareTable(TableInput(table), out.Table); len(differences) > 0 {
		return fmt.Errorf("%w: table %s: %w", ErrSchema, table, errors.Join(differences...))
	}
	return nil
}

// compareTable returns what a table lacks, an error each.
func compareTable(want *dynamodb.CreateTableInput, got *types.TableDescription) []error {
	var errs []error
	if w, g := keyText(want.KeySchema), keyText(got.KeySchema); w != g {
		errs = append(errs, fmt.Errorf("its key is %s, must be %s: a key cannot be changed, create another table", g, w))
	}
	typeOf := map[string]types.ScalarAttributeType{}
	for _, a := range got.AttributeDefinitions {
		typeOf[aws.ToString(a.AttributeName)] = a.AttributeType
	}
	for _, a := range want.AttributeDefinitions {
		name := aws.ToString(a.AttributeName)
		if t, defined := typeOf[name]; defined && t != a.AttributeType {
			errs = append(errs, fmt.Errorf("attribute %s has type %s, must be %s: create another table", name, t, a.AttributeType))
		}
	}
	indexes := map[string]types.GlobalSecondaryIndexDescription{}
	for _, i := range got.GlobalSecondaryIndexes {
		indexes[aws.ToString(i.IndexName)] = i
	}
	for _, w := range want.GlobalSecondaryIndexes {
		name := aws.ToString(w.IndexName)
		g, ok := indexes[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("index %s is missing: add it with the key %s, projecting KEYS_ONLY", name, keyText(w.KeySchema)))
		case keyText(w.KeySchema) != keyText(g.KeySchema):
			errs = append(errs, fmt.Errorf("index %s has the key %s, must be %s: delete the index and add it again", name, keyText(g.KeySchema), keyText(w.KeySchema)))
		case g.Projection == nil || g.Projection.ProjectionType != w.Projection.ProjectionType:
			errs = append(errs, fmt.Errorf("index %s must project KEYS_ONLY: delete the index and add it again", name))
		}
	}
	if s := got.StreamSpecification; s == nil || !aws.ToBool(s.StreamEnabled) || s.StreamViewType != want.StreamSpecification.StreamViewType {
		errs = append(errs, fmt.Errorf("its stream must be enabled with the view %s: update the table's stream", want.StreamSpecification.StreamViewType))
	}
	return errs
}

func keyText(keys []types.KeySchemaElement) string {
	s := ""
	for _, k := range keys {
		s += fmt.Sprintf("[%s %s]", aws.ToString(k.AttributeName), k.KeyType)
	}
	return s
}

package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
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
	listIndex     = "list" // only with TableOptions.List
	indexList     = "list"
	indexListAt   = "listAt"

	attributeTTL = "ttl"
)

// ErrSchema means that a table's keys, indexes or stream are not those that this package needs.
var ErrSchema = errors.New("table has another schema")

// TableOptions are the choices that a table's operator has; the zero value works.
type TableOptions struct {
	// List adds the index that Options.List needs. The index by itself costs nothing. Default: the table has none.
	List bool
}

// TableInput returns the table: what template.yaml has, less what only a deployed table needs.
func TableInput(table string, opts TableOptions) *dynamodb.CreateTableInput {
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
	in := &dynamodb.CreateTableInput{
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
	if opts.List {
		in.AttributeDefinitions = append(in.AttributeDefinitions,
			attribute(indexList, types.ScalarAttributeTypeS), attribute(indexListAt, types.ScalarAttributeTypeB))
		list := index(listIndex, indexList, indexListAt)
		// A task's executions are picked from the index itself. The task never changes, so this costs no write.
		list.Projection = &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{aTask}}
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, list)
	}
	return in
}

// SchemaAPI is the part of the DynamoDB client that creating and checking a table takes.
type SchemaAPI interface {
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error)
}

// CreateTable creates the table, waits until it is active and switches its time to live on. A table that is
// there already must have the same schema: see CheckTable.
func CreateTable(ctx context.Context, api SchemaAPI, table string, opts TableOptions) error {
	begun := time.Now()
	_, err := api.CreateTable(ctx, TableInput(table, opts))
	var inUse *types.ResourceInUseException
	switch {
	case errors.As(err, &inUse):
		if err := CheckTable(ctx, api, table, opts); err != nil {
			return err
		}
		// One that is as young as this call is most likely its own: the answer was lost, and the SDK asked again.
		if young, err := createdSince(ctx, api, table, begun.Add(-clocksApart)); err != nil || !young {
			return err
		}
	case err != nil:
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
	if err != nil && !strings.Contains(err.Error(), "already enabled") {
		return fmt.Errorf("switch on the time to live of table %s: %w", table, explain(table, err))
	}
	return nil
}

// clocksApart is how far this clock and DynamoDB's may be apart.
const clocksApart = 5 * time.Second

// createdSince reports whether a table was created after a time.
func createdSince(ctx context.Context, api SchemaAPI, table string, since time.Time) (bool, error) {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
	if err != nil {
		return false, fmt.Errorf("check table %s: %w", table, explain(table, err))
	}
	return aws.ToTime(out.Table.CreationDateTime).After(since), nil
}

// CheckTable compares a table with TableInput. The error matches ErrTableNotFound, or ErrSchema and then says
// what differs and what to do about it.
func CheckTable(ctx context.Context, api SchemaAPI, table string, opts TableOptions) error {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
	if err != nil {
		return fmt.Errorf("check table %s: %w", table, explain(table, err))
	}
	if differences := compareTable(TableInput(table, opts), out.Table); len(differences) > 0 {
		return fmt.Errorf("%w: table %s: %w", ErrSchema, table, errors.Join(differences...))
	}
	return nil
}

// CheckTable checks that the store's table is there and has what the store's options need, before the first write. It is for
// tools and start-up checks by hand: the functions' roles do not grant it. The errors are those of the function CheckTable;
// it matches core.ErrInvalid when the store's client cannot describe tables.
func (s *Store) CheckTable(ctx context.Context) error {
	api, ok := s.raw.(SchemaAPI)
	if !ok {
		return fmt.Errorf("%w store: its client cannot describe table %s", core.ErrInvalid, s.where)
	}
	if err := CheckTable(ctx, api, s.table, TableOptions{List: s.opts.List}); err != nil {
		return fmt.Errorf("%s: %w", s.where, err)
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
			errs = append(errs, fmt.Errorf("index %s is missing: add it with the key %s, projecting %s", name, keyText(w.KeySchema), projectionText(w.Projection)))
		case keyText(w.KeySchema) != keyText(g.KeySchema):
			errs = append(errs, fmt.Errorf("index %s has the key %s, must be %s: delete the index and add it again", name, keyText(g.KeySchema), keyText(w.KeySchema)))
		case projectionText(g.Projection) != projectionText(w.Projection):
			errs = append(errs, fmt.Errorf("index %s must project %s: delete the index and add it again", name, projectionText(w.Projection)))
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

func projectionText(p *types.Projection) string {
	if p == nil {
		return ""
	}
	return strings.Join(append([]string{string(p.ProjectionType)}, p.NonKeyAttributes...), " ")
}

package dynamostore

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// thereAlready is DynamoDB with a table that CreateTable finds.
type thereAlready struct {
	created time.Time
	on      bool // its time to live
	asked   int
}

func (a *thereAlready) CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error) {
	return nil, &types.ResourceInUseException{}
}

func (a *thereAlready) DescribeTable(_ context.Context, in *dynamodb.DescribeTableInput, _ ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	want := TableInput(*in.TableName, TableOptions{})
	d := &types.TableDescription{
		TableName: in.TableName, TableStatus: types.TableStatusActive, CreationDateTime: &a.created, KeySchema: want.KeySchema,
		AttributeDefinitions: want.AttributeDefinitions, StreamSpecification: want.StreamSpecification,
	}
	for _, i := range want.GlobalSecondaryIndexes {
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, types.GlobalSecondaryIndexDescription{
			IndexName: i.IndexName, KeySchema: i.KeySchema, Projection: i.Projection, IndexStatus: types.IndexStatusActive,
		})
	}
	return &dynamodb.DescribeTableOutput{Table: d}, nil
}

func (a *thereAlready) UpdateTimeToLive(context.Context, *dynamodb.UpdateTimeToLiveInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateTimeToLiveOutput, error) {
	a.asked++
	if a.on {
		return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: "TimeToLive is already enabled"}
	}
	a.on = true
	return &dynamodb.UpdateTimeToLiveOutput{}, nil
}

// A slow answer made the SDK create the table again, which found its own, and its time to live was never switched on.
func TestATableWhoseCreationIsAnsweredLateHasItsTimeToLive(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		api   thereAlready
		asked int
	}{
		"its own":                 {thereAlready{created: time.Now()}, 1},
		"another's, at once":      {thereAlready{created: time.Now(), on: true}, 1},
		"one from the day before": {thereAlready{created: time.Now().Add(-24 * time.Hour)}, 0},
	} {
		if err := CreateTable(t.Context(), &test.api, "t", TableOptions{}); err != nil || test.api.asked != test.asked {
			t.Errorf("%s: asked for time to live %d times, want %d, error %v", name, test.api.asked, test.asked, err)
		}
	}
}

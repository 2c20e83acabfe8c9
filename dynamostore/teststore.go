package dynamostore

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// TestAPI is what a TestStore takes besides; no function's role grants it.
type TestAPI interface {
	API
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// TestStore is a Store that can delete, for tests.
type TestStore struct {
	*Store
	api TestAPI
}

var _ core.TestStore = (*TestStore)(nil)

// NewForTest returns a TestStore.
func NewForTest(api TestAPI, table string, opts Options) (*TestStore, error) {
	s, err := New(api, table, opts)
	return &TestStore{Store: s, api: api}, err
}

// Delete implements core.TestStore.
func (s *TestStore) Delete(ctx context.Context, id string) error {
	if err := core.CheckIDs(id); err != nil {
		return err
	}
	return s.deleteItems(ctx, func(start item) ([]item, item, error) {
		out, err := s.api.Query(ctx, &dynamodb.QueryInput{
			TableName: aws.String(s.table), ConsistentRead: aws.Bool(true), ExclusiveStartKey: start,
			KeyConditionExpression:    aws.String("#pk = :pk"),
			ProjectionExpression:      aws.String("#pk, #sk"),
			ExpressionAttributeNames:  map[string]string{"#pk": keyPK, "#sk": keySK},
			ExpressionAttributeValues: item{":pk": text(id)},
		})
		if err != nil {
			return nil, nil, err
		}
		return out.Items, out.LastEvaluatedKey, nil
	})
}

// DeleteAll implements core.TestStore. It scans the table; the settings stay.
func (s *TestStore) DeleteAll(ctx context.Context) error {
	return s.deleteItems(ctx, func(start item) ([]item, item, error) {
		out, err := s.api.Scan(ctx, &dynamodb.ScanInput{
			TableName: aws.String(s.table), ConsistentRead: aws.Bool(true), ExclusiveStartKey: start,
			ProjectionExpression:     aws.String("#pk, #sk"),
			ExpressionAttributeNames: map[string]string{"#pk": keyPK, "#sk": keySK},
		})
		if err != nil {
			return nil, nil, err
		}
		return out.Items, out.LastEvaluatedKey, nil
	})
}

// deleteItems deletes the items whose keys read returns, page by page; the settings stay.
func (s *TestStore) deleteItems(ctx context.Context, read func(start item) (keys []item, next item, err error)) error {
	var start item
	for {
		keys, next, err := read(start)
		if err != nil {
			return explain(s.where, err)
		}
		errs := make([]error, len(keys))
		s.parallel(len(keys), func(i int) {
			d := decoder{item: keys[i]}
			if pk, sk := d.text(keyPK), d.text(keySK); pk != settingsKey {
				if _, err := s.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(s.table), Key: keys[i]}); err != nil {
					errs[i] = fmt.Errorf("delete %s %s: %w", pk, sk, explain(s.where, err))
				}
			}
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if start = next; len(start) == 0 {
			return nil
		}
	}
}

package dynamostore

import (
	"context"
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
	return s.deleteItems(ctx, &id)
}

// DeleteAll implements core.TestStore.
func (s *TestStore) DeleteAll(ctx context.Context) error {
	return s.deleteItems(ctx, nil)
}

// deleteItems deletes the items of one execution, or, for nil, of all; the settings stay.
func (s *TestStore) deleteItems(ctx context.Context, id *string) error {
	var start item
	for {
		out, err := s.api.Scan(ctx, &dynamodb.ScanInput{
			TableName: aws.String(s.table), ConsistentRead: aws.Bool(true), ExclusiveStartKey: start,
		})
		if err != nil {
			return explain(s.table, err)
		}
		for _, it := range out.Items {
			d := decoder{item: it}
			pk, sk := d.text(keyPK), d.text(keySK)
			if pk == settingsKey || id != nil && pk != *id {
				continue
			}
			if _, err := s.api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(s.table), Key: primaryKey(pk, sk)}); err != nil {
				return fmt.Errorf("delete %s %s: %w", pk, sk, explain(s.table, err))
			}
		}
		if start = out.LastEvaluatedKey; len(start) == 0 {
			return nil
		}
	}
}

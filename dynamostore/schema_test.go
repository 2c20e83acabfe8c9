package dynamostore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// A tool learns before its first write what is wrong with a table: what differs, and what to do about it.
func TestAStoresTableIsChecked(t *testing.T) {
	t.Parallel()
	client := testClient(endpoint, nil)
	create := func(name string, change func(in *dynamodb.CreateTableInput)) string {
		in := TableInput("checked-"+name, TableOptions{})
		change(in)
		if _, err := client.CreateTable(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		return *in.TableName
	}
	for name, c := range map[string]struct {
		table string
		list  bool
		is    error
		says  string
	}{
		"good":    {table: create("good", func(*dynamodb.CreateTableInput) {})},
		"missing": {table: "checked-nowhere", is: ErrTableNotFound, says: "create it with `sam deploy`"},
		"no list": {table: create("no-list", func(*dynamodb.CreateTableInput) {}), list: true, is: ErrSchema, says: "index list is missing: add it with the key [list HASH][listAt RANGE]"},
		"another key": {
			table: create("key", func(in *dynamodb.CreateTableInput) {
				in.KeySchema = in.KeySchema[:1]
				in.AttributeDefinitions = in.AttributeDefinitions[:1]
				in.GlobalSecondaryIndexes = nil
			}),
			is: ErrSchema, says: "its key is [pk HASH], must be [pk HASH][sk RANGE]: a key cannot be changed, create another table",
		},
		"another type": {
			table: create("type", func(in *dynamodb.CreateTableInput) {
				in.AttributeDefinitions[3].AttributeType = types.ScalarAttributeTypeS
			}),
			is: ErrSchema, says: "attribute dueAt has type S, must be N",
		},
		"another index key": {
			table: create("index", func(in *dynamodb.CreateTableInput) {
				in.GlobalSecondaryIndexes[1].KeySchema[1].AttributeName = aws.String("pk")
				in.AttributeDefinitions = in.AttributeDefinitions[:5]
			}),
			is: ErrSchema, says: "index cancel has the key [cancel HASH][pk RANGE], must be [cancel HASH][executor RANGE]: delete the index and add it again",
		},
		"another projection": {
			table: create("projection", func(in *dynamodb.CreateTableInput) {
				in.GlobalSecondaryIndexes[0].Projection.ProjectionType = types.ProjectionTypeAll
			}),
			is: ErrSchema, says: "index queue must project KEYS_ONLY",
		},
		"no stream": {
			table: create("stream", func(in *dynamodb.CreateTableInput) { in.StreamSpecification = nil }),
			is:    ErrSchema, says: "its stream must be enabled with the view NEW_IMAGE",
		},
	} {
		s, err := New(client, c.table, Options{List: c.list, Usage: func(Usage) {}})
		if err != nil {
			t.Fatal(err)
		}
		switch err := s.CheckTable(t.Context()); {
		case c.is == nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.is != nil && (!errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.table+" in us-east-1 at http://")):
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	down, err := New(testClient("http://127.0.0.1:1", nil), "t", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := down.CheckTable(ctx); err == nil || !strings.Contains(err.Error(), "DynamoDB does not answer") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("an endpoint that is down: %v", err)
	}
	blind, err := New(struct{ API }{client}, "t", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := blind.CheckTable(t.Context()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a client that cannot describe tables: %v", err)
	}
}

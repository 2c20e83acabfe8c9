package dynamostore

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// Inventory is all that a table holds, for tests.
type Inventory struct {
	// Executions are all records; kept wake-ups are among them.
	Executions []*core.Execution
	// Items counts the items of each kind: execution, part, bucket, pointer, effect, settings; other for what is none of them.
	Items map[string]int
}

// Inventory reads the whole table. An item that does not decode is an error.
func (s *TestStore) Inventory(ctx context.Context) (Inventory, error) {
	inv := Inventory{Items: map[string]int{}}
	var start item
	for {
		out, err := s.api.Scan(ctx, &dynamodb.ScanInput{
			TableName: aws.String(s.table), ConsistentRead: aws.Bool(true), ExclusiveStartKey: start,
		})
		if err != nil {
			return inv, explain(s.where, err)
		}
		for _, it := range out.Items {
			kind := kindOf(it)
			inv.Items[kind]++
			if kind != "execution" {
				continue
			}
			e, err := decode(it)
			if err != nil {
				return inv, err
			}
			inv.Executions = append(inv.Executions, e)
		}
		if start = out.LastEvaluatedKey; len(start) == 0 {
			return inv, nil
		}
	}
}

func kindOf(it item) string {
	d := decoder{item: it}
	pk, sk := d.text(keyPK), d.text(keySK)
	switch {
	case pk == settingsKey:
		return "settings"
	case sk == sortExecution:
		return "execution"
	case strings.HasPrefix(sk, "p#"):
		return "part"
	case strings.HasPrefix(sk, "n#"):
		return "bucket"
	case strings.HasPrefix(sk, effectPrefix):
		return "effect"
	case strings.HasPrefix(sk, pointerPrefix):
		return "pointer"
	}
	return "other"
}

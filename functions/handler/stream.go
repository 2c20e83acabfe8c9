package handler

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// hintsOf returns what an event of the table's stream says to be ready. It is false for any other event, such as a
// schedule's {}; the error says what is wrong with one that is neither.
func hintsOf(event json.RawMessage) (hints []core.Hint, streamed bool, err error) {
	if len(event) == 0 {
		return nil, false, nil
	}
	var e events.DynamoDBEvent
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, false, fmt.Errorf("event: %w", err)
	}
	for _, r := range e.Records {
		hint, ready := dynamostore.ReadyHint(func(name string) string {
			switch v := r.Change.NewImage[name]; v.DataType() {
			case events.DataTypeString:
				return v.String()
			case events.DataTypeNumber:
				return v.Number()
			default:
				return ""
			}
		})
		if ready {
			hints = append(hints, hint)
		}
	}
	return hints, len(e.Records) > 0, nil
}

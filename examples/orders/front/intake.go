package front

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/examples/orders/orders"
)

// Intake takes orders off a queue. An order without an id has that of its message, so a message that is delivered
// again, as any may be, changes nothing. Messages that fail are reported one by one: the queue delivers those again, and
// in the end puts them with its dead letters; the rest of the batch is done with.
func (f *Front) Intake(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		if err := f.take(ctx, message); err != nil {
			f.client.Logger.WarnContext(ctx, "message is left to the queue", "message_id", message.MessageId, "error", err)
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
	}
	return answer, nil
}

func (f *Front) take(ctx context.Context, message events.SQSMessage) error {
	if message.MessageId == "" {
		return errors.New("the message has no id")
	}
	var o orders.Order
	if err := decode([]byte(message.Body), &o); err != nil {
		return err
	}
	o.ID = cmp.Or(o.ID, message.MessageId)
	_, err := f.workflow.Submit(ctx, f.client, o, time.Now())
	return err
}

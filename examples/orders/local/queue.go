package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// maxReceives is the template's maxReceiveCount.
const maxReceives = 3

// deliver gives messages to the intake function as a queue does: all at once, then again those that it reports as
// failed, until each has been received as often as it may. It returns the ids of those that then go to the dead letters.
func (a *app) deliver(ctx context.Context, bodies map[string]string) (dead []string, err error) {
	for receive := 1; receive <= maxReceives && len(bodies) > 0; receive++ {
		var batch events.SQSEvent
		for id, body := range bodies {
			batch.Records = append(batch.Records, events.SQSMessage{
				MessageId: id, Body: body, EventSource: "aws:sqs", AWSRegion: "us-east-1",
				EventSourceARN: "arn:aws:sqs:us-east-1:123456789012:incoming", ReceiptHandle: fmt.Sprintf("%s-%d", id, receive),
				Attributes: map[string]string{
					"ApproximateReceiveCount": fmt.Sprint(receive), "SentTimestamp": fmt.Sprint(time.Now().UnixMilli()),
				},
			})
		}
		var answer events.SQSEventResponse
		if err := a.invoke(ctx, "Intake", batch, &answer); err != nil {
			return nil, err
		}
		failed := map[string]string{}
		for _, f := range answer.BatchItemFailures {
			failed[f.ItemIdentifier] = bodies[f.ItemIdentifier]
		}
		bodies = failed
	}
	for id := range bodies {
		dead = append(dead, id)
	}
	return dead, nil
}

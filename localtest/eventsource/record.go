package eventsource

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// record is a record of the stream on its way to the function.
type record struct {
	json    json.RawMessage // as it is in an event
	key     string          // of the item
	written time.Time
}

func newRecord(r types.Record, streamARN string) (record, error) {
	change := r.Dynamodb
	if change == nil {
		return record{}, fmt.Errorf("stream record %s has no change", aws.ToString(r.EventID))
	}
	event := events.DynamoDBEventRecord{
		AWSRegion: aws.ToString(r.AwsRegion), EventID: aws.ToString(r.EventID), EventName: string(r.EventName),
		EventSource: aws.ToString(r.EventSource), EventVersion: aws.ToString(r.EventVersion), EventSourceArn: streamARN,
		Change: events.DynamoDBStreamRecord{
			ApproximateCreationDateTime: events.SecondsEpochTime{Time: aws.ToTime(change.ApproximateCreationDateTime).Truncate(time.Second)},
			Keys:                        attributes(change.Keys), NewImage: attributes(change.NewImage), OldImage: attributes(change.OldImage),
			SequenceNumber: aws.ToString(change.SequenceNumber), SizeBytes: aws.ToInt64(change.SizeBytes),
			StreamViewType: string(change.StreamViewType),
		},
	}
	if r.UserIdentity != nil { // as for a removal that time to live made
		event.UserIdentity = &events.DynamoDBUserIdentity{
			Type: aws.ToString(r.UserIdentity.Type), PrincipalID: aws.ToString(r.UserIdentity.PrincipalId),
		}
	}
	data, err := json.Marshal(event)
	if err != nil {
		return record{}, err
	}
	key, err := json.Marshal(event.Change.Keys)
	return record{json: data, key: string(key), written: aws.ToTime(change.ApproximateCreationDateTime)}, err
}

func attributes(m map[string]types.AttributeValue) map[string]events.DynamoDBAttributeValue {
	if m == nil {
		return nil
	}
	out := make(map[string]events.DynamoDBAttributeValue, len(m))
	for name, v := range m {
		out[name] = attribute(v)
	}
	return out
}

func attribute(v types.AttributeValue) events.DynamoDBAttributeValue {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return events.NewStringAttribute(v.Value)
	case *types.AttributeValueMemberN:
		return events.NewNumberAttribute(v.Value)
	case *types.AttributeValueMemberB:
		return events.NewBinaryAttribute(v.Value)
	case *types.AttributeValueMemberBOOL:
		return events.NewBooleanAttribute(v.Value)
	case *types.AttributeValueMemberSS:
		return events.NewStringSetAttribute(v.Value)
	case *types.AttributeValueMemberNS:
		return events.NewNumberSetAttribute(v.Value)
	case *types.AttributeValueMemberBS:
		return events.NewBinarySetAttribute(v.Value)
	case *types.AttributeValueMemberM:
		return events.NewMapAttribute(attributes(v.Value))
	case *types.AttributeValueMemberL:
		list := make([]events.DynamoDBAttributeValue, len(v.Value))
		for i, one := range v.Value {
			list[i] = attribute(one)
		}
		return events.NewListAttribute(list)
	default:
		return events.NewNullAttribute()
	}
}

// eventOf returns the event of a batch.
func eventOf(batch []record) ([]byte, error) {
	var event struct {
		Records []json.RawMessage
	}
	for _, r := range batch {
		event.Records = append(event.Records, r.json)
	}
	return json.Marshal(event)
}

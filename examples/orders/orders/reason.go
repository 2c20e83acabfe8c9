package orders

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// Reason is why an order is cancelled, in words for its customer. What a failed execution says of itself is for whoever
// looks after the shop: it names executions, providers and limits, and it may say what is none of the customer's business.
type Reason string

// The reasons that are the same for all orders.
const (
	ByCustomer     Reason = "cancelled by the customer"
	NotPaidInTime  Reason = "not paid in time"
	PaymentRefused Reason = "payment refused"
	WrongPayment   Reason = "what was paid is not what the order costs"
	NotServed      Reason = "the shop does not serve the customer"
	NotDelivered   Reason = "the carrier does not deliver there"
	OurFault       Reason = "something went wrong in the shop"
)

// refuse writes down why an order cannot be fulfilled, for its customer, and returns an error with which the task that
// found out ends at once, with the cause where there is one. The reason goes to the order's item, since the workflow takes a
// failure up from below as text for people of the shop. It changes nothing for an order that is at its end: an attempt that
// was given up as lost may still be running then.
func (s *Shop) refuse(ctx context.Context, order string, why Reason, cause error) error {
	_, err := s.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.table, Key: orderKey(order), UpdateExpression: aws.String("SET reason = :why"),
		ConditionExpression:      aws.String("attribute_exists(pk) AND NOT #status IN (:shipped, :cancelled)"),
		ExpressionAttributeNames: map[string]string{"#status": "status"},
		ExpressionAttributeValues: item{
			":why": text(string(why)), ":shipped": text(string(Shipped)), ":cancelled": text(string(Cancelled)),
		},
	})
	var over *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &over) {
		return fmt.Errorf("refuse order %s: %w", order, err)
	}
	if cause == nil {
		return core.NonRetryable(errors.New(string(why)))
	}
	return core.NonRetryable(fmt.Errorf("%s: %w", why, cause))
}

// cancel moves an order to its end for the reason that was written down, or OurFault where a step failed for none of the
// shop's, and returns the reason. It says the same when it is called again.
func (s *Shop) cancel(ctx context.Context, order string) (Reason, error) {
	out, err := s.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.table, Key: orderKey(order),
		UpdateExpression:         aws.String("SET #status = :cancelled, reason = if_not_exists(reason, :fault)"),
		ConditionExpression:      aws.String("attribute_exists(pk)"), // an update of nothing would make an item
		ExpressionAttributeNames: map[string]string{"#status": "status"},
		ExpressionAttributeValues: item{
			":cancelled": text(string(Cancelled)), ":fault": text(string(OurFault)),
		},
		ReturnValues: types.ReturnValueUpdatedNew,
	})
	if err != nil {
		return "", fmt.Errorf("cancel order %s: %w", order, err)
	}
	return Reason(textOf(out.Attributes, "reason")), nil
}

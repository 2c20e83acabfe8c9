package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/perdure-dev/perdure/core"
)

// ErrTableNotFound means that the table does not exist in the region that was asked.
var ErrTableNotFound = errors.New("table not found")

// describe names a table in errors: with its region, and its endpoint where that is not AWS's own.
func describe(api any, table string) string {
	client, ok := api.(interface{ Options() dynamodb.Options })
	if !ok {
		return table
	}
	opts := client.Options()
	where := table
	if opts.Region != "" {
		where += " in " + opts.Region
	}
	if e := aws.ToString(opts.BaseEndpoint); e != "" {
		where += " at " + e
	}
	return where
}

// Explain adds to the error of a request about a table what to do about it, as the errors of this package have it.
func Explain(api API, table string, err error) error { return explain(describe(api, table), err) }

// explain adds to an AWS error what to do about it.
func explain(table string, err error) error {
	var (
		missing *types.ResourceNotFoundException
		api     smithy.APIError
		network net.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return fmt.Errorf("%w: %s: create it with `sam deploy`, or check the name, region and endpoint: %w", ErrTableNotFound, table, err)
	case errors.As(err, &api):
		switch api.ErrorCode() {
		case "AccessDeniedException":
			return fmt.Errorf("access to table %s is denied: give the role what template.yaml gives it: %w", table, err)
		case "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException":
			return fmt.Errorf("credentials for table %s are not accepted: check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role: %w", table, err)
		}
		if throttled(err) {
			return fmt.Errorf("table %s is throttled: it goes on by itself, or raise the table's limits: %w", table, err)
		}
	case errors.As(err, new(*aws.MissingRegionError)):
		return fmt.Errorf("no region is set: set AWS_REGION: %w", err)
	case credentialsMissing(err):
		return fmt.Errorf("no credentials for table %s: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", table, err)
	case errors.As(err, &network):
		return fmt.Errorf("DynamoDB does not answer for table %s: check the network and AWS_ENDPOINT_URL_DYNAMODB: %w", table, err)
	}
	return err
}

// credentialsMissing reports whether a request was not sent because it could not be signed.
func credentialsMissing(err error) bool {
	var op *smithy.OperationError
	// The SDK has no type for this error.
	return errors.As(err, &op) && strings.Contains(op.Err.Error(), "get identity: ")
}

// writeError explains the error of a write, and says whether it may have taken effect all the same.
func writeError(table string, err error) error {
	if err == nil || definite(err) {
		return explain(table, err)
	}
	return fmt.Errorf("%w: %w", core.ErrUnknownOutcome, explain(table, err))
}

// definite reports whether DynamoDB said, or must have said, that a write did not take effect, in all of its tries.
func definite(err error) bool {
	if errors.As(err, new(*lostTryError)) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	// A client that is not LoadClient's may not tell how its earlier tries ended.
	if errors.As(err, new(*retry.MaxAttemptsError)) || throttled(err) {
		return false
	}
	return refusal(err)
}

// refusal reports whether the error of one try says that DynamoDB did not do what it was asked for.
func refusal(err error) bool {
	// Not every error has a type in the SDK that says whose fault it is: the status does.
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode() >= 400 && answer.HTTPStatusCode() < 500
	}
	return credentialsMissing(err)
}

// lostTryError is the error of a write's last try when an earlier one ended without an answer, because the connection
// broke or DynamoDB failed: that one may have been written, whatever the last one says.
type lostTryError struct{ err error }

func (e *lostTryError) Error() string {
	return "an earlier try ended without an answer; the last one: " + e.err.Error()
}

func (e *lostTryError) Unwrap() error { return e.err }

// judge returns a write's error as a *lostTryError where a try before the last ended without an answer. A failed
// condition stays as it is: the item tells whose write it has. So does a cancelled transaction: its tries have one token,
// and had an earlier one been written, the last would have succeeded.
func (t *tries) judge(err error) error {
	if _, failed := conditionFailed(err); err == nil || failed || !t.lostBefore || errors.As(err, new(*types.TransactionCanceledException)) {
		return err
	}
	return &lostTryError{err}
}

// judged is an API whose writes tell of all their tries, not of the last alone.
type judged struct{ API }

// Options returns the client's options, for errors that name region and endpoint.
func (j judged) Options() dynamodb.Options {
	if client, ok := j.API.(interface{ Options() dynamodb.Options }); ok {
		return client.Options()
	}
	return dynamodb.Options{}
}

func (j judged) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	var t tries
	out, err := j.API.PutItem(ctx, in, t.counted(opts)...)
	return out, t.judge(err)
}

func (j judged) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	var t tries
	out, err := j.API.UpdateItem(ctx, in, t.counted(opts)...)
	return out, t.judge(err)
}

// refused reports whether DynamoDB found fault with a request itself, such as a sum of what is no number.
func refused(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationException"
}

// throttled reports whether DynamoDB refused a request because there were too many.
func throttled(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	_, is := retry.DefaultThrottleErrorCodes[api.ErrorCode()]
	return is
}

// conditionFailed returns the item as it was when the error is that of a failed condition; nil when there was
// none.
func conditionFailed(err error) (old item, failed bool) {
	var check *types.ConditionalCheckFailedException
	if !errors.As(err, &check) {
		return nil, false
	}
	if len(check.Item) == 0 {
		return nil, true
	}
	return check.Item, true
}

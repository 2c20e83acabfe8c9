package dynamostore

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"
)

const (
	// requestTries is how often a request is sent that is throttled or gets no answer, with growing pauses.
	requestTries = 12
	// firstPause between two of them, doubled each time up to longestPause, keeps all pauses within 20 s: a caller gets
	// the error, not a timeout.
	firstPause   = 50 * time.Millisecond
	longestPause = 3 * time.Second
	// connections is how many connections stay open: as many as requests are under way at once.
	connections = 256
	// connectWithin and answerWithin are after how long a try is given up as lost, and the next one made.
	connectWithin = 3 * time.Second
	answerWithin  = 5 * time.Second
)

// LoadClient returns a client as the environment says: region, credentials, profile, and for the endpoint
// AWS_ENDPOINT_URL_DYNAMODB, as for the AWS command line.
func LoadClient(ctx context.Context) (*dynamodb.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(httpClient()), config.WithRetryer(retryer), config.WithLogger(remarks))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("no AWS region is set: set AWS_REGION, or region in the profile")
	}
	return dynamodb.NewFromConfig(cfg), nil
}

// LocalClient returns a client of a DynamoDB that takes any credentials, such as DynamoDB Local, at an endpoint like
// http://localhost:8000. It asks nothing of the environment.
func LocalClient(endpoint string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient:  httpClient(), Retryer: retryer(), Logger: remarks,
	})
}

// remarks is where the SDK writes what is no error: the default logger, at level debug. Most of it is about connections
// that a cancelled request used up.
var remarks = logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
	slog.Debug(fmt.Sprintf(format, args...), "component", "aws-sdk")
})

func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		t.ResponseHeaderTimeout = answerWithin
	}).WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectWithin })
}

// retryer tries again in the times in which DynamoDB's partitions recover; the SDK's own first pause is a second. The
// SDK's quota of retries is left out: a table that throttles for long would use it up and fail every write at once,
// and an executor has no more requests under way than attempts anyway.
func retryer() aws.Retryer {
	return retry.NewStandard(retryOptions)
}

func retryOptions(o *retry.StandardOptions) {
	o.MaxAttempts, o.Backoff, o.RateLimiter = requestTries, retry.BackoffDelayerFunc(pauseAfter), ratelimit.None
	o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
		"TransactionConflictException": {}, // a caller's own transaction holds the item
	}})
}

// pauseAfter returns how long to wait after a number of failed tries: a random part, at least a half, of what is
// doubled each time.
func pauseAfter(tries int, _ error) (time.Duration, error) {
	longest := longestPause
	if doublings := max(tries, 1) - 1; doublings < 10 {
		longest = min(firstPause<<doublings, longestPause)
	}
	return longest - rand.N(longest/2), nil //nolint:gosec // it only spreads the tries
}

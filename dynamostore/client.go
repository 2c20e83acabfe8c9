package dynamostore

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

const (
	// requestTries is how often a request is sent that is throttled or gets no answer, with growing pauses.
	requestTries = 8
	// longestPause between two of them keeps all pauses within 20 s: a caller gets the error, not a timeout.
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
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
			t.ResponseHeaderTimeout = answerWithin
		}).WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectWithin })),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = requestTries, longestPause })
		}))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("no AWS region is set: set AWS_REGION, or region in the profile")
	}
	return dynamodb.NewFromConfig(cfg), nil
}

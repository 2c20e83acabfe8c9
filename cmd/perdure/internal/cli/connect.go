package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

const (
	// connectWithin and answerWithin are when a person is told that nobody is there, and not left to wait.
	connectWithin = 3 * time.Second
	answerWithin  = 10 * time.Second
	// invokedWithin is the same for the enqueue function, which answers when it is done: it may have to start first.
	invokedWithin = 75 * time.Second
	// localRegion is what a DynamoDB on this machine is asked in when nothing says otherwise.
	localRegion = "us-east-1"
)

// aws loads the AWS configuration as the flags, the environment and the profile say.
func (a *app) aws(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(impatient(answerWithin)),
		config.WithLogger(logging.Nop{}), // what a person should know is in the errors
	}
	if a.profile != "" {
		options = append(options, config.WithSharedConfigProfile(a.profile))
	}
	if a.region != "" {
		options = append(options, config.WithRegion(a.region))
	}
	if a.endpoint != "" && !isEndpoint(a.endpoint) {
		return aws.Config{}, usagef("--endpoint-url is %q: it must be a URL like http://localhost:8000", a.endpoint)
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, usagef("load the AWS configuration: %w: check --profile, AWS_PROFILE and the profiles in ~/.aws/config", err)
	}
	return cfg, nil
}

// impatient returns an HTTP client that waits so long for an answer.
func impatient(answer time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = answer }).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectWithin })
}

// place fills in what a service client is told: the endpoint of the flag, and, for an endpoint on this machine, which
// takes any, a region and credentials where there are none.
func (a *app) place(endpoint **string, region *string, provider *aws.CredentialsProvider) {
	if a.endpoint != "" {
		*endpoint = aws.String(a.endpoint)
	}
	if !loopback(aws.ToString(*endpoint)) {
		return
	}
	if *region == "" {
		*region = localRegion
	}
	if a.profile == "" && os.Getenv("AWS_PROFILE") == "" && os.Getenv("AWS_ACCESS_KEY_ID") == "" {
		*provider = credentials.NewStaticCredentialsProvider("local", "local", "")
	}
}

// placed returns what is wrong with where a service's client would send its requests.
func placed(service string, endpoint *string, region string) error {
	switch e := aws.ToString(endpoint); {
	case e != "" && !isEndpoint(e):
		return usagef("the endpoint of %s is %q: it must be a URL like http://localhost:8000: correct AWS_ENDPOINT_URL_%s, AWS_ENDPOINT_URL or the profile",
			service, e, strings.ToUpper(service))
	case region == "":
		return usagef("which region? Use --region, or set AWS_REGION or the region of the profile")
	case !regionPattern.MatchString(region):
		return usagef("the region is %q: it must be a name like eu-central-1: correct --region, AWS_REGION or the profile", region)
	}
	return nil
}

var regionPattern = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// unanswered is a question to somebody whose endpoint does not answer; empty where it is not on this machine.
func unanswered(endpoint *string) string {
	if loopback(aws.ToString(endpoint)) {
		return " (is perdure run running?)"
	}
	return ""
}

func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	if u.Port() == "" {
		return true
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// loopback reports whether an endpoint is on this machine.
func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// dynamoDB returns the client of the table.
func (a *app) dynamoDB(ctx context.Context) (*dynamodb.Client, error) {
	if a.table == "" {
		return nil, usagef("which table? Use --table, or set PERDURE_TABLE")
	}
	cfg, err := a.aws(ctx)
	if err != nil {
		return nil, err
	}
	client := dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	return client, placed("DynamoDB", client.Options().BaseEndpoint, client.Options().Region)
}

const (
	// noDays is --retention-days when it is not given.
	noDays = -1
	// maxDays is what the functions allow too.
	maxDays = 3650
)

// retention returns how long what is closed is kept. Nobody knows here what the functions were told, and what is kept
// too long does less harm than what is gone too early.
func (a *app) retention() (time.Duration, error) {
	days := a.retentionDays
	if days < noDays || days > maxDays {
		return 0, usagef("--retention-days is %d: it must be from 0 to %d", days, maxDays)
	}
	if text := os.Getenv("PERDURE_RETENTION_DAYS"); days == noDays && text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxDays {
			return 0, usagef("PERDURE_RETENTION_DAYS is %q: it must be a number of days, from 0 to %d", text, maxDays)
		}
		days = n
	}
	if days <= 0 {
		return dynamostore.KeepForever, nil
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// open returns a client of the table.
func (a *app) open(ctx context.Context) (*core.Client, error) {
	store, err := a.store(ctx)
	if err != nil {
		return nil, err
	}
	return core.NewClient(store, core.ClientOptions{})
}

// store returns the store in the table.
func (a *app) store(ctx context.Context) (*dynamostore.Store, error) {
	api, err := a.dynamoDB(ctx)
	if err != nil {
		return nil, err
	}
	retention, err := a.retention()
	if err != nil {
		return nil, err
	}
	// A store that keeps a list writes what the index of one holds; where there is no such index, that costs nothing.
	options := dynamostore.Options{Retention: retention, List: true, Shards: 1}
	store, err := dynamostore.New(api, a.table, options)
	if err != nil {
		return nil, err
	}
	if options.Shards, err = store.Shards(ctx); err != nil {
		asks := ""
		if errors.As(err, new(net.Error)) {
			asks = unanswered(api.Options().BaseEndpoint)
		}
		return nil, fmt.Errorf("open table %s%s: %w", a.table, asks, err)
	}
	return dynamostore.New(api, a.table, options)
}

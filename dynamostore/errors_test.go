package dynamostore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// answering answers every request with an error of DynamoDB's.
type answering struct {
	status int
	code   string
}

func (a answering) Do(r *http.Request) (*http.Response, error) {
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#` + a.code + `","message":"it says so"}`
	return &http.Response{
		StatusCode: a.status, Request: r, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	known := credentials.NewStaticCredentialsProvider("local", "local", "")
	for name, c := range map[string]struct {
		http        dynamodb.HTTPClient
		credentials aws.CredentialsProvider
		says        []string
		is          error
		unknown     bool // whether a write took effect
	}{
		"no table": {
			http: answering{400, "ResourceNotFoundException"}, credentials: known,
			says: []string{"jobs in eu-west-1 at http://127.0.0.1:9", "sam deploy"}, is: ErrTableNotFound,
		},
		"no permission": {
			http: answering{400, "AccessDeniedException"}, credentials: known,
			says: []string{"jobs in eu-west-1", "denied", "role"},
		},
		"credentials expired": {
			http: answering{400, "ExpiredTokenException"}, credentials: known,
			says: []string{"credentials", "AWS_PROFILE"},
		},
		"no credentials": {
			http: answering{500, "never sent"},
			credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("none found")
			}),
			says: []string{"no credentials", "AWS_ACCESS_KEY_ID"},
		},
		"throttled": {
			http: answering{400, "ThrottlingException"}, credentials: known,
			says: []string{"jobs in eu-west-1", "throttled"}, unknown: true,
		},
		"broken": {
			http: answering{500, "InternalServerError"}, credentials: known,
			says: []string{"it says so"}, unknown: true,
		},
		"unreachable": {
			credentials: known, says: []string{"does not answer", "http://127.0.0.1:9", "AWS_ENDPOINT_URL_DYNAMODB"}, unknown: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := dynamodb.New(dynamodb.Options{
				Region: "eu-west-1", BaseEndpoint: aws.String("http://127.0.0.1:9"), HTTPClient: c.http,
				Credentials: c.credentials, RetryMaxAttempts: 2,
			})
			s, err := New(client, "jobs", Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.announced = true // so that the first request is the write
			_, readErr := s.Get(t.Context(), []string{"a"}, core.Filter{})
			writeErr := s.Insert(t.Context(), []*core.Execution{ready("a", 10)})[0]
			swept, sweepErr := s.ClaimReady(t.Context(), core.ReadyClaim{Now: now, Limit: 1, ExecutorID: executor, Left: time.Hour})
			if len(swept.Executions) != 0 {
				t.Errorf("claimed %v", swept.Executions)
			}
			for what, err := range map[string]error{"read": readErr, "write": writeErr, "sweep": sweepErr} {
				if err == nil {
					t.Errorf("%s: no error", what)
					continue
				}
				for _, says := range c.says {
					if !strings.Contains(err.Error(), says) {
						t.Errorf("%s: error %q does not say %q", what, err, says)
					}
				}
				if c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%s: error %v does not match %v", what, err, c.is)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: the error has several lines: %q", what, err)
				}
			}
			if got := errors.Is(writeErr, core.ErrUnknownOutcome); got != c.unknown {
				t.Errorf("outcome unknown: %t, want %t: %v", got, c.unknown, writeErr)
			}
			if errors.Is(readErr, core.ErrUnknownOutcome) {
				t.Errorf("a read has no outcome: %v", readErr)
			}
		})
	}
}

func TestAWriteWhoseContextEndsHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	insert(t, s, ready("a", 10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Insert(ctx, []*core.Execution{ready("b", 10)})[0]; !errors.Is(err, core.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

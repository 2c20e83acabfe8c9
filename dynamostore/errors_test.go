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
	"github.com/aws/aws-sdk-go-v2/aws/retry"
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

// inTurn answers each try of a request with the next of its answers; nil is a connection that broke.
type inTurn struct {
	answers []*answering
	tries   int
}

func (a *inTurn) Do(r *http.Request) (*http.Response, error) {
	answer := a.answers[min(a.tries, len(a.answers)-1)]
	a.tries++
	if answer == nil {
		return nil, errors.New("the connection was cut")
	}
	return answer.Do(r)
}

// Only the last try was judged: a write that was made, and whose answer was lost, was said not to be there when the next try
// was refused.
func TestWrite_IsOfUnknownOutcomeWhenAnEarlierTryEndedWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	denied, expired, conflict := &answering{400, "AccessDeniedException"}, &answering{400, "ExpiredTokenException"}, &answering{400, "TransactionConflictException"}
	broken, throttled, wrong := &answering{500, "InternalServerError"}, &answering{400, "ThrottlingException"}, &answering{400, "ValidationException"}
	for name, c := range map[string]struct {
		answers []*answering
		unknown bool
	}{
		"cut, then denied":                 {[]*answering{nil, denied}, true},
		"failed, then expired":             {[]*answering{broken, expired}, true},
		"failed, throttled, then wrong":    {[]*answering{broken, throttled, wrong}, true},
		"throttled, cut, throttled, wrong": {[]*answering{throttled, nil, throttled, wrong}, true},
		"denied":                           {[]*answering{denied}, false},
		"throttled, then denied":           {[]*answering{throttled, denied}, false},
		"conflict, then wrong":             {[]*answering{conflict, wrong}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, usage := range []func(Usage){nil, func(Usage) {}} {
				way := &inTurn{answers: c.answers}
				client := dynamodb.New(dynamodb.Options{
					Region: "eu-west-1", BaseEndpoint: aws.String("http://127.0.0.1:9"), HTTPClient: way,
					Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
					Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
						retryOptions(o)
						o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
					}),
				})
				s, err := New(client, "jobs", Options{Usage: usage})
				if err != nil {
					t.Fatal(err)
				}
				s.announced = true // so that the first request is the write
				err = s.Insert(t.Context(), []*core.Execution{ready("a", 10)})[0]
				if err == nil || errors.Is(err, core.ErrUnknownOutcome) != c.unknown || way.tries != len(c.answers) {
					t.Errorf("%d tries, outcome unknown is to be %t: %v", way.tries, c.unknown, err)
				}
				if strings.Contains(err.Error(), "eu-west-1") != (c.answers[len(c.answers)-1] != wrong) {
					t.Errorf("the error does not say what to do: %v", err)
				}
			}
		})
	}
}

// A batch whose answer was lost may have written what is refused by itself then.
func TestWrite_IsOfUnknownOutcomeWhenItsBatchEndedWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	refused, there := errors.New("access denied"), core.ErrAlreadyExists
	if err := doubted(refused); !errors.Is(err, core.ErrUnknownOutcome) || !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	if err := doubted(there); errors.Is(err, core.ErrUnknownOutcome) || doubted(nil) != nil {
		t.Errorf("error %v", err)
	}
	for name, answer := range map[string]*answering{"failed": {500, "InternalServerError"}, "denied": {400, "AccessDeniedException"}} {
		client := dynamodb.New(dynamodb.Options{
			Region: "eu-west-1", BaseEndpoint: aws.String("http://127.0.0.1:9"), HTTPClient: *answer, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		})
		b := &batcher{api: client, within: time.Minute, refuse: func(error) {}, flying: 1}
		batch := make([]*statement, 2)
		for i := range batch {
			batch[i] = &statement{id: "a", text: "INSERT", turn: make(chan turn, 1)}
		}
		b.send(t.Context(), batch)
		want := map[string]turn{"failed": unanswered, "denied": notPlain}[name]
		if got := <-batch[0].turn; got != want {
			t.Errorf("%s: turn %d, want %d", name, got, want)
		}
	}
}

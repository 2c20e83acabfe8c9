package dynamostore

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/meter"
)

func TestUsageIsWhatTheRequestsConsume(t *testing.T) {
	t.Parallel()
	m, err := meter.Start(t.Context(), endpoint, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var mu sync.Mutex
	var sum meter.Units
	operations, queue, refused := map[string]int{}, 0.0, 0
	s, err := New(testClient(m.Endpoint(), nil), testTable(t), Options{Usage: func(u Usage) {
		mu.Lock()
		defer mu.Unlock()
		sum.Requests++
		sum.Write += u.Write
		sum.Read += u.Read
		queue += u.Indexes[queueIndex]
		operations[u.Operation]++
		if u.ConditionFailed {
			refused++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("a", 10), ready("b", 5000))
	e := claimed(t, s, "a")
	next(t, s, e, core.Succeed{ExecutorID: executor, Output: core.Payload{Data: jsonOf(10)}})
	if err := s.Insert(t.Context(), []*core.Execution{ready("a", 10)})[0]; err == nil {
		t.Error("an id was taken twice")
	}
	if got := claim(t, s, now, time.Hour); len(got) != 1 {
		t.Errorf("claimed %v", got)
	}
	found, err := s.Get(t.Context(), []string{"a", "b"}, core.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context(), &found[1].Input); err != nil {
		t.Fatal(err)
	}
	// DynamoDB Local tells nothing of reads that find nothing, which the meter corrects.
	if total := m.Total(); sum.Requests != total.Requests || sum.Write != total.Write || sum.Read == 0 {
		t.Errorf("told %+v, consumed %+v", sum, total)
	}
	for _, op := range []string{"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"} {
		if operations[op] == 0 {
			t.Errorf("no %s was told of: %v", op, operations)
		}
	}
	if queue == 0 || refused != 1 {
		t.Errorf("index units %v, %d refused", queue, refused)
	}
}

// refusing refuses the first tries of each request as a table does that is asked too much.
type refusing struct {
	next dynamodb.HTTPClient
	mu   sync.Mutex
	n    int
}

func (c *refusing) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	code := []string{"ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError", ""}[c.n%4]
	if c.n++; code == "" {
		return c.next.Do(r)
	}
	status := http.StatusBadRequest
	if code == "InternalServerError" {
		status = http.StatusInternalServerError
	}
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"slow down"}`
	return &http.Response{
		StatusCode: status, Request: r, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func TestUsageTellsHowOftenARequestWasThrottled(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	requests, throttled := 0, 0
	client := dynamodb.New(LocalClient(endpoint).Options(), func(o *dynamodb.Options) { o.HTTPClient = &refusing{next: o.HTTPClient} })
	s, err := New(client, testTable(t), Options{Usage: func(u Usage) {
		mu.Lock()
		defer mu.Unlock()
		requests++
		throttled += u.Throttled
	}})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("a", 10))
	if _, err := s.Get(t.Context(), []string{"a"}, core.Filter{}); err != nil {
		t.Fatal(err)
	}
	if requests < 2 || throttled != 2*requests {
		t.Errorf("%d throttled tries of %d requests, want two of each", throttled, requests)
	}
}

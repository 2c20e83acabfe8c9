package eventsource

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
)

// On a slow machine DynamoDB Local trimmed what the first iterator pointed at, and the source asked with that iterator
// for ever: nothing that became ready was heard of any more.
func TestAnIteratorThatLeadsNowhereIsReplaced(t *testing.T) {
	t.Parallel()
	for _, exception := range []string{"TrimmedDataAccessException", "ExpiredIteratorException"} {
		t.Run(exception, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var in struct{ ShardIteratorType, ShardIterator string }
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Type", "application/x-amz-json-1.0")
				_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
				switch {
				case action == "DescribeStream":
					fmt.Fprint(w, `{"StreamDescription":{"Shards":[{"ShardId":"shard"}]}}`)
				case action == "GetShardIterator":
					fmt.Fprintf(w, `{"ShardIterator":%q}`, in.ShardIteratorType)
				case in.ShardIterator == "LATEST":
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"gone"}`, exception)
				default:
					fmt.Fprint(w, `{"Records":[{"eventID":"1","eventName":"INSERT","dynamodb":{"Keys":{"pk":{"S":"a"}},"ApproximateCreationDateTime":`+
						fmt.Sprint(time.Now().Unix())+`}}]}`)
				}
			}))
			t.Cleanup(server.Close)
			arrived := make(chan struct{}, 10)
			f := &function{answer: func(int, []string) error { arrived <- struct{}{}; return nil }}
			s, err := Start(t.Context(), Options{
				Streams: dynamodbstreams.New(dynamodbstreams.Options{
					Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
				}),
				StreamARN: "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/1", Mapping: Mapping{BatchSize: 10, RecordAge: time.Hour}, Invoke: f.invoke,
			})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-arrived:
			case <-time.After(time.Minute):
				t.Errorf("nothing arrived: %+v", s.Stats())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

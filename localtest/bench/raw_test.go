package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/dynamostore"
)

// stub answers the updates with their numbers, from 1, by a function.
type stub struct {
	n      atomic.Int64
	answer func(n int64) error
}

func (s *stub) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	if err := s.answer(s.n.Add(1)); err != nil {
		return nil, err
	}
	return &dynamodb.UpdateItemOutput{}, nil
}

func TestASampleWhoseWriteWasSentTwiceIsDiscardedAndTakenAgain(t *testing.T) {
	t.Parallel()
	s := &stub{answer: func(n int64) error {
		if n == 700 { // of the first sample
			return &types.ConditionalCheckFailedException{}
		}
		return nil
	}}
	samples := 0
	r, err := steadyRate(t.Context(), 1, func(ctx context.Context) (float64, error) {
		samples++
		_, err := rawUpdates(ctx, s, "table")
		return 100, err
	})
	if err != nil || r.discarded != 1 || r.samples != 2 || samples != 3 || !r.steady {
		t.Errorf("%+v after %d samples, error %v", r, samples, err)
	}
	if said := r.String(); said != "raw rate 100 a second after 2 samples, 1 more discarded since the store stalled" {
		t.Errorf("it says %q", said)
	}
}

// The SDK itself sends a request again whose connection breaks; what comes then depends on whether the first took effect.
func TestAStallOfTheStoreIsNoticedWhetherTheWriteTookEffectOrNot(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"it did":     {http.StatusBadRequest, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`},
		"it did not": {http.StatusOK, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				switch requests.Add(1) {
				case 1:
					panic(http.ErrAbortHandler) // the connection breaks without an answer
				case 2:
					w.WriteHeader(answer.status)
					_, _ = w.Write([]byte(answer.body))
				default:
					_, _ = w.Write([]byte(`{}`))
				}
			}))
			defer server.Close()
			if err := rawUpdate(t.Context(), dynamostore.LocalClient(server.URL), "table", 0, 0); !errors.Is(err, errStalled) {
				t.Errorf("error %v, want that it stalled", err)
			}
			if err := rawUpdate(t.Context(), dynamostore.LocalClient(server.URL), "table", 0, 1); err != nil {
				t.Errorf("error %v of a write that was answered at once", err)
			}
		})
	}
}

func TestTheRawRateIsTakenUntilTwoSamplesAreAlike(t *testing.T) {
	t.Parallel()
	rising := func(rates ...float64) func(context.Context) (float64, error) {
		return func(context.Context) (float64, error) {
			rate := rates[0]
			if len(rates) > 1 {
				rates = rates[1:]
			}
			return rate, nil
		}
	}
	for _, c := range []struct {
		name   string
		least  int
		sample func(context.Context) (float64, error)
		want   rawRate
	}{
		{"alike at once", 1, rising(1000, 1050), rawRate{perSecond: 1025, steady: true, samples: 2}},
		{"it warms up", 1, rising(600, 900, 1200, 1300), rawRate{perSecond: 1250, steady: true, samples: 4}},
		{"alike too early", 4, rising(600, 610, 1000, 1500, 1600), rawRate{perSecond: 1550, steady: true, samples: 5}},
	} {
		if r, err := steadyRate(t.Context(), c.least, c.sample); err != nil || r != c.want {
			t.Errorf("%s: %+v, error %v; want %+v", c.name, r, err, c.want)
		}
	}
}

func TestARawRateThatIsNeverSteadySaysSo(t *testing.T) {
	t.Parallel()
	samples := 0
	r, err := steadyRate(t.Context(), 1, func(context.Context) (float64, error) {
		samples++
		return float64(1000 + 500*(samples%2)), nil
	})
	if err != nil || r.steady || samples != rawSamples || !strings.Contains(r.String(), "no two in a row were within 10 %") {
		t.Errorf("%s after %d samples, error %v", r, samples, err)
	}
	_, err = steadyRate(t.Context(), 1, func(context.Context) (float64, error) { return 0, errStalled })
	if !errors.Is(err, errStalled) {
		t.Errorf("error %v of a store that always stalls", err)
	}
	gone := errors.New("the table is gone")
	if _, err = rawUpdates(t.Context(), &stub{answer: func(n int64) error {
		if n%2 == 0 {
			return &types.ConditionalCheckFailedException{}
		}
		return gone
	}}, "table"); !errors.Is(err, gone) {
		t.Errorf("error %v, want the worse one", err)
	}
}

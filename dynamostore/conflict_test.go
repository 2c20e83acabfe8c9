package dynamostore

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// cancelling is a DynamoDB that cancels transactions for the reasons of its answers, one after the other, and takes what
// comes then. What others noted is read from it.
type cancelling struct {
	API
	answers [][]string
	forever bool // the last answer is repeated
	noted   string
	tries   int
}

func (c *cancelling) TransactWriteItems(
	context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options),
) (*dynamodb.TransactWriteItemsOutput, error) {
	c.tries++
	if len(c.answers) == 0 {
		return &dynamodb.TransactWriteItemsOutput{}, nil
	}
	err := &types.TransactionCanceledException{}
	for _, code := range c.answers[0] {
		err.CancellationReasons = append(err.CancellationReasons, types.CancellationReason{Code: aws.String(code)})
	}
	if !c.forever {
		c.answers = c.answers[1:]
	}
	return nil, err
}

func (c *cancelling) GetItem(
	_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options),
) (*dynamodb.GetItemOutput, error) {
	return &dynamodb.GetItemOutput{Item: item{
		keyPK: in.Key[keyPK], keySK: in.Key[keySK], onceOutput: &types.AttributeValueMemberB{Value: []byte(c.noted)},
	}}, nil
}

// A transaction that met another one's was an error at once, which failed an execution whose attempts were over.
func TestOnce_TriesAgainWhileATransactionIsCancelledForReasonsThatPass(t *testing.T) {
	const conflict, throttled, exceeded, failed = "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "ConditionalCheckFailed"
	for name, c := range map[string]struct {
		answers [][]string
		forever bool
		tries   int
		out     string
		fails   string // the code of reason 1
	}{
		"conflict":                           {[][]string{{"None", conflict}, {conflict, "None"}}, false, 3, "mine", ""},
		"throttled":                          {[][]string{{throttled, exceeded}, {exceeded, "None"}}, false, 3, "mine", ""},
		"conflict with who had it":           {[][]string{{conflict, "None"}, {failed, "None"}}, false, 2, "theirs", ""},
		"condition failed of who has it now": {[][]string{{conflict, failed}, {failed, failed}}, false, 2, "theirs", ""},
		"condition failed":                   {[][]string{{"None", failed}}, false, 1, "", failed},
		"condition failed beside a conflict": {[][]string{{"None", failed, conflict}}, false, 1, "", failed},
		"conflict without end":               {[][]string{{"None", conflict}}, true, requestTries, "", conflict},
		"no reason":                          {[][]string{{"None", "None"}}, false, 1, "", "None"},
	} {
		t.Run(name, func(t *testing.T) {
			api := &cancelling{answers: c.answers, forever: c.forever, noted: `"theirs"`}
			s, err := New(api, "jobs", Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got error
			task := core.NewTask("pay", func(ctx context.Context, _ string) (string, error) {
				var out string
				out, got = Once(ctx, s, "pay", "mine", add("accounts", "shop", 1))
				return out, nil
			}, core.TaskOptions{Timeout: time.Hour})
			coretest.Run(t, []core.Definition{task}, func(w *coretest.World) {
				if out := coretest.Wait(w, coretest.Enqueue(w, task, "")); out != c.out {
					t.Errorf("out %q, want %q", out, c.out)
				}
			})
			var cancelled *types.TransactionCanceledException
			switch {
			case c.fails == "" && got != nil:
				t.Errorf("error %v", got)
			case c.fails != "" && (!errors.As(got, &cancelled) || aws.ToString(cancelled.CancellationReasons[1].Code) != c.fails):
				t.Errorf("error %v, want reason %s", got, c.fails)
			}
			if api.tries != c.tries {
				t.Errorf("%d tries, want %d", api.tries, c.tries)
			}
		})
	}
}

func TestTransactWrite_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cancelling{answers: [][]string{{"TransactionConflict"}}, forever: true}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := TransactWrite(ctx, api, &dynamodb.TransactWriteItemsInput{})
		if !errors.As(err, new(*types.TransactionCanceledException)) || ctx.Err() == nil || api.tries >= requestTries {
			t.Errorf("error %v after %d tries", err, api.tries)
		}
	})
}

func TestPasses(t *testing.T) {
	t.Parallel()
	reasons := func(codes ...string) (all []types.CancellationReason) {
		for _, code := range codes {
			all = append(all, types.CancellationReason{Code: aws.String(code)})
		}
		return all
	}
	if passes(nil) || passes(reasons("None")) || passes(slices.Concat(reasons("TransactionConflict"), reasons("ValidationError"))) {
		t.Error("what does not pass is tried again")
	}
	if !passes(append(reasons("None", "ThrottlingError"), types.CancellationReason{})) {
		t.Error("a throttled transaction is not tried again")
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

const (
	// alike is how far apart two samples of a raw rate in a row may be, as a share of the smaller one.
	alike = 0.10
	// rawSamples is how many samples there are at most.
	rawSamples = 15
	// warmUps is how many there are at least at first: a Java program that has just begun is several times slower.
	warmUps = 4
)

// errStalled means that a sample of a raw rate is worth nothing: the store stopped for so long that a request was sent again.
var errStalled = errors.New("a request got no answer and was sent again")

// rawRate is what a store takes at most.
type rawRate struct {
	perSecond float64 // the mean of the last two samples
	steady    bool    // they are alike
	samples   int     // taken, without those that were discarded
	discarded int     // since the store stalled
}

// String says how the rate came about.
func (r rawRate) String() string {
	text := fmt.Sprintf("raw rate %.0f a second after %d samples", r.perSecond, r.samples)
	if r.discarded > 0 {
		text += fmt.Sprintf(", %d more discarded since the store stalled", r.discarded)
	}
	if !r.steady {
		text += fmt.Sprintf("; no two in a row were within %.0f %%: what is measured against it is uncertain", 100*alike)
	}
	return text
}

// steadyRate takes samples until there are least of them and the last two are alike, or until there are rawSamples. A sample that
// is worth nothing is taken again.
func steadyRate(ctx context.Context, least int, sample func(context.Context) (float64, error)) (rawRate, error) {
	var r rawRate
	var last float64
	for r.samples+r.discarded < rawSamples {
		rate, err := sample(ctx)
		switch {
		case errors.Is(err, errStalled):
			r.discarded++
			continue
		case err != nil:
			return r, err
		}
		r.samples++
		r.perSecond = rate
		if r.samples > 1 {
			r.perSecond = (last + rate) / 2
			r.steady = math.Abs(rate-last) <= alike*min(rate, last)
		}
		if r.steady && r.samples >= least {
			return r, nil
		}
		last = rate
	}
	if r.samples == 0 {
		return r, fmt.Errorf("raw rate: %w, in each of %d samples", errStalled, r.discarded)
	}
	return r, nil
}

// updater is the part of the SDK's client that a raw rate takes.
type updater interface {
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// rawUpdates returns how many conditional updates of single items a table takes per second. They are what a claim is:
// they move the entry of an item of the usual size from one queue of the index to another. The error matches errStalled when a
// request had to be sent again.
func rawUpdates(ctx context.Context, dynamo updater, table string) (float64, error) {
	const callers, each = 32, 50
	var group sync.WaitGroup
	errs := make([]error, callers)
	began := time.Now()
	for caller := range callers {
		group.Go(func() {
			for i := range each {
				if errs[caller] = rawUpdate(ctx, dynamo, table, caller, i); errs[caller] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(began).Seconds()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var stalled error
	for _, err := range errs {
		switch {
		case errors.Is(err, errStalled):
			stalled = err
		case err != nil:
			return 0, err
		}
	}
	return callers * each / took, stalled
}

func rawUpdate(ctx context.Context, dynamo updater, table string, caller, i int) error {
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	out, err := dynamo.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:           aws.String(table),
		Key:                 map[string]types.AttributeValue{"pk": text(fmt.Sprintf("raw-%d", caller)), "sk": text("raw")},
		UpdateExpression:    aws.String("SET queue = :q, dueAt = :d, filler = :f, nonce = :n"),
		ConditionExpression: aws.String("attribute_not_exists(nonce) OR nonce <> :n"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":q": text(fmt.Sprintf("raw-%d", i%2)), ":d": &types.AttributeValueMemberN{Value: strconv.Itoa(i)},
			":f": text(strings.Repeat("x", 300)), ":n": text(core.NewNonce()),
		},
	})
	switch {
	case errors.As(err, new(*types.ConditionalCheckFailedException)):
		// Nobody else has the nonce: the write took effect, its answer was lost, and the SDK sent it once more.
		return errStalled
	case err != nil:
		return err
	}
	if tries, ok := retry.GetAttemptResults(out.ResultMetadata); ok && len(tries.Results) > 1 {
		return errStalled // the first one did not take effect; it took its time all the same
	}
	return nil
}

package dynamostore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// ClaimCancelled implements core.Store.
func (s *Store) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	ids, err := s.flagged(ctx, cancelShard(executorID), executorID, limit)
	if err != nil {
		return nil, err
	}
	return s.clearFlags(ctx, ids, now, func(e *core.Execution) bool { return e.ExecutorID == executorID })
}

// ExpireCancelled implements core.Store.
func (s *Store) ExpireCancelled(ctx context.Context, w core.Sweep) (core.Swept, error) {
	lists := make([][]string, cancelShards)
	errs := make([]error, cancelShards)
	s.parallel(cancelShards, func(i int) { lists[i], errs[i] = s.flagged(ctx, i, "", w.Limit) })
	if err := errors.Join(errs...); err != nil {
		return core.Swept{}, err
	}
	ids := slices.Concat(lists...)
	cleared, err := s.clearFlags(ctx, ids[:min(w.Limit, len(ids))], w.Now, func(e *core.Execution) bool {
		return !e.LeaseEnd().After(w.Now)
	})
	return core.Swept{Executions: cleared}, err
}

// flagged returns the ids of flagged executions in a shard, of one executor or, for an empty one, of all.
func (s *Store) flagged(ctx context.Context, shard int, executorID string, limit int) ([]string, error) {
	if limit <= 0 {
		return nil, nil
	}
	in := &dynamodb.QueryInput{
		TableName: aws.String(s.table), IndexName: aws.String(cancelIndex),
		KeyConditionExpression:    aws.String("#c = :c"),
		ExpressionAttributeNames:  map[string]string{"#c": indexCancel},
		ExpressionAttributeValues: item{":c": text(cancelKey(shard))},
		Limit:                     aws.Int32(int32(min(limit, 1000))), //nolint:gosec // at most 1,000
	}
	if executorID != "" {
		in.KeyConditionExpression = aws.String("#c = :c AND #x = :x")
		in.ExpressionAttributeNames["#x"] = indexExecutor
		in.ExpressionAttributeValues[":x"] = text(executorID)
	}
	out, err := s.api.Query(ctx, in)
	if err != nil {
		return nil, explain(s.where, err)
	}
	ids := make([]string, len(out.Items))
	for i, it := range out.Items {
		d := decoder{item: it}
		ids[i] = d.text(keyPK)
	}
	return ids, nil
}

// clearFlags takes back the flags of executions that pass the test and returns those, in order.
func (s *Store) clearFlags(
	ctx context.Context, ids []string, now time.Time, test func(*core.Execution) bool,
) ([]*core.Execution, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	entries := make([]entry, len(ids))
	for i, id := range ids {
		entries[i] = entry{id: id}
	}
	records, _, err := s.records(ctx, entries, now)
	if err != nil {
		return nil, err
	}
	cleared := make([]*core.Execution, len(records))
	errs := make([]error, len(records))
	s.parallel(len(records), func(i int) {
		if e := records[i]; e != nil && test(e) {
			cleared[i], errs[i] = s.sweepOne(ctx, e, now, core.ClearCancellation{}, nil)
		}
	})
	cleared = slices.DeleteFunc(cleared, func(e *core.Execution) bool { return e == nil })
	swept, err := s.outcome(ctx, core.Swept{Executions: cleared}, errors.Join(errs...))
	return swept.Executions, err
}

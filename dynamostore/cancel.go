package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// maxFlags is how many flags one call reads of a shard, or of an executor: 70 KB of index entries. The index has no times,
// and an executor of an earlier version finds its flags by its id alone; so the records, which are read anyway, tell the
// order. An executor has about as many flags as it runs executions.
const maxFlags = 1000

// ClaimCancelled implements core.Store.
func (s *Store) ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*core.Execution, error) {
	if limit < 1 {
		return nil, nil
	}
	if err := core.CheckExecutor(executorID); err != nil {
		return nil, err
	}
	flagged, _, err := s.flagged(ctx, cancelShard(executorID), executorID, now)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(flagged, func(a, b *core.Execution) int {
		return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
	})
	cleared, err := s.clearFlags(ctx, flagged[:min(limit, len(flagged))], now)
	swept, err := s.outcome(ctx, core.Swept{Executions: cleared}, err)
	return swept.Executions, err
}

// ExpireCancelled implements core.Store.
func (s *Store) ExpireCancelled(ctx context.Context, w core.Sweep) (swept core.Swept, _ error) {
	if w.Limit < 1 {
		return swept, nil
	}
	lists := make([][]*core.Execution, cancelShards)
	corrupts := make([]int, cancelShards)
	errs := make([]error, cancelShards)
	s.parallel(cancelShards, func(i int) { lists[i], corrupts[i], errs[i] = s.flagged(ctx, i, "", w.Now) })
	for _, n := range corrupts {
		swept.Corrupt += n
	}
	if err := errors.Join(errs...); err != nil {
		return swept, err
	}
	flagged := slices.Concat(lists...)
	slices.SortFunc(flagged, func(a, b *core.Execution) int {
		return cmp.Or(a.LeaseEnd().Compare(b.LeaseEnd()), cmp.Compare(a.ID, b.ID))
	})
	due := slices.IndexFunc(flagged, func(e *core.Execution) bool { return e.LeaseEnd().After(w.Now) })
	if due < 0 {
		due = len(flagged)
	} else {
		swept.NextDue = flagged[due].LeaseEnd()
	}
	if swept.Due = due; due > 0 {
		swept.OldestDue = flagged[0].LeaseEnd()
	}
	taken := flagged[:min(w.Limit, due)]
	cleared, err := s.clearFlags(ctx, taken, w.Now)
	swept.Executions, swept.Lost = cleared, len(taken)-len(cleared)
	return s.outcome(ctx, swept, err)
}

// flagged returns the flagged executions in a shard, of one executor or, for an empty one, of all, and how many did not
// decode.
func (s *Store) flagged(ctx context.Context, shard int, executorID string, now time.Time) (_ []*core.Execution, corrupt int, _ error) {
	in := &dynamodb.QueryInput{
		TableName: aws.String(s.table), IndexName: aws.String(cancelIndex),
		KeyConditionExpression:    aws.String("#c = :c"),
		ExpressionAttributeNames:  map[string]string{"#c": indexCancel},
		ExpressionAttributeValues: item{":c": text(cancelKey(shard))},
		Limit:                     aws.Int32(maxFlags),
	}
	if executorID != "" {
		in.KeyConditionExpression = aws.String("#c = :c AND #x = :x")
		in.ExpressionAttributeNames["#x"] = indexExecutor
		in.ExpressionAttributeValues[":x"] = text(executorID)
	}
	out, err := s.api.Query(ctx, in)
	if err != nil {
		return nil, 0, explain(s.where, err)
	}
	entries := make([]entry, len(out.Items))
	for i, it := range out.Items {
		d := decoder{item: it}
		entries[i] = entry{id: d.text(keyPK)}
	}
	records, corrupt, err := s.records(ctx, entries, now)
	if err != nil {
		return nil, corrupt, err
	}
	return slices.DeleteFunc(records, func(e *core.Execution) bool {
		return e == nil || !e.NeedsCancellation || executorID != "" && e.ExecutorID != executorID // the index lags
	}), corrupt, nil
}

// clearFlags takes back the flags of executions and returns those that had theirs still, in order.
func (s *Store) clearFlags(ctx context.Context, flagged []*core.Execution, now time.Time) ([]*core.Execution, error) {
	cleared := make([]*core.Execution, len(flagged))
	errs := make([]error, len(flagged))
	s.parallel(len(flagged), func(i int) {
		cleared[i], errs[i] = s.sweepOne(ctx, flagged[i], now, core.ClearCancellation{}, nil)
	})
	return slices.DeleteFunc(cleared, func(e *core.Execution) bool { return e == nil }), errors.Join(errs...)
}

package dynamostore

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// aShards is the settings item's attribute with the largest number of shards ever used.
const aShards = "shards"

// shardsFresh is how long a reader goes by the number of shards that it read.
const shardsFresh = 5 * time.Minute

// knownShards returns how many shards a reader must look at: the most that any writer ever used.
func (s *Store) knownShards(ctx context.Context, now time.Time) (int, error) {
	s.mu.Lock()
	shards, fresh := s.shards, now.Sub(s.shardsAt) < shardsFresh
	s.mu.Unlock()
	if shards > 0 && fresh {
		return shards, nil
	}
	out, err := s.api.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(s.table), Key: primaryKey(settingsKey, sortSettings), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return 0, explain(s.table, err)
	}
	d := decoder{item: out.Item}
	stored := d.int(aShards)
	if d.err != nil || stored < 0 || stored > MaxShards {
		return 0, fmt.Errorf("settings of table %s: %d shards: %w", s.table, stored, d.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards, s.shardsAt = max(stored, s.opts.Shards), now
	return s.shards, nil
}

// announceShards makes sure, once, that readers look at all the shards that this store writes to.
//
//	input:     the number of shards
//	condition: the largest number so far is smaller, or there is none
//	outcome:   it is the largest number
func (s *Store) announceShards(ctx context.Context) error {
	s.mu.Lock()
	announced := s.announced
	s.mu.Unlock()
	if announced {
		return nil
	}
	x := newExpression()
	n := number(int64(s.opts.Shards))
	x.assign(aShards, n)
	x.when = append(x.when, fmt.Sprintf("attribute_not_exists(%[1]s) OR %[1]s < %[2]s", x.name(aShards), x.value(n)))
	_, err := s.api.UpdateItem(ctx, x.input(s.table, primaryKey(settingsKey, sortSettings), types.ReturnValueNone))
	if _, smaller := conditionFailed(err); smaller {
		err = nil
	}
	if err != nil {
		return writeError(s.table, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced = true
	return nil
}

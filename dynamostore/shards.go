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
	stored, err := s.readShards(ctx)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards, s.shardsAt = max(stored, s.opts.Shards), now
	s.announced = s.announced || stored >= s.opts.Shards
	return s.shards, nil
}

// Shards returns the largest number of shards that any writer of the table ever used, 0 for none: what Options.Shards of a
// program should be that writes now and then and is not told. It costs half a read unit.
func (s *Store) Shards(ctx context.Context) (int, error) { return s.readShards(ctx) }

// readShards reads the largest number of shards announced; 0 for none. It may be a second behind.
func (s *Store) readShards(ctx context.Context) (int, error) {
	out, err := s.api.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(s.table), Key: primaryKey(settingsKey, sortSettings),
	})
	if err != nil {
		return 0, explain(s.where, err)
	}
	d := decoder{item: out.Item}
	stored := d.int(aShards)
	if d.err != nil || stored < 0 || stored > MaxShards {
		return 0, fmt.Errorf("settings of table %s: %d shards: %w", s.table, stored, d.err)
	}
	return stored, nil
}

// announceShards makes sure, once and before the first write of a queue entry, that readers look at all the shards
// that this store writes to. As a rule they do, which takes half a read unit to learn.
//
//	input:     the number of shards
//	condition: the largest number so far is smaller, or there is none
//	outcome:   it is the largest number
func (s *Store) announceShards(ctx context.Context) error {
	if s.hasAnnounced() {
		return nil
	}
	s.announcing.Lock()
	defer s.announcing.Unlock()
	if s.hasAnnounced() {
		return nil
	}
	stored, err := s.readShards(ctx)
	if err != nil {
		return err
	}
	if stored < s.opts.Shards {
		x := newExpression()
		n := number(int64(s.opts.Shards))
		x.assign(aShards, n)
		x.when = append(x.when, fmt.Sprintf("attribute_not_exists(%[1]s) OR %[1]s < %[2]s", x.name(aShards), x.value(n)))
		_, err := s.api.UpdateItem(ctx, x.input(s.table, primaryKey(settingsKey, sortSettings), types.ReturnValueNone))
		if _, there := conditionFailed(err); !there && err != nil {
			return explain(s.where, err) // no queue entry is written before this is known to have worked
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announced = true
	return nil
}

func (s *Store) hasAnnounced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.announced
}

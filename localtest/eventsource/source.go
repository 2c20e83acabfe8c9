// Package eventsource is Lambda's event source mapping of a DynamoDB stream on this machine: it reads the stream of a
// table of DynamoDB Local, filters its records, and invokes a function with batches of them.
//
// As in Lambda, the records of one item are delivered in order, as many batches of a shard are under way at once as the
// mapping's parallelization says, and a batch that fails is tried again, as a whole, as often and as long as the mapping
// says. What is given up is counted and logged; there is no destination for it.
//
// Unlike Lambda, which looks into each shard four times a second while it is quiet, it looks every Options.Poll.
//
// Reference: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html and
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html.
package eventsource

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// LambdaPoll is how often Lambda looks into a quiet shard ("Polling and batching streams" in the Lambda developer guide,
// read 2026-11: a base rate of four times a second).
const LambdaPoll = 250 * time.Millisecond

const (
	// standardPoll is short, so that tests do not wait for the emulation.
	standardPoll = 20 * time.Millisecond
	// shardsEvery is how often the source looks for new shards.
	shardsEvery = 10 * time.Second
	// failurePause is the wait after a request that failed.
	failurePause = 200 * time.Millisecond
)

// Options are what a Source is made of. All but the last three are required.
type Options struct {
	Streams   *dynamodbstreams.Client
	StreamARN string
	Mapping   Mapping
	// Invoke invokes the function and waits for its end. An error that matches lambdalocal.ErrThrottled is no failure
	// of the function.
	Invoke func(ctx context.Context, event []byte) error
	// Poll is how often a quiet shard is looked into. Default 20 ms.
	Poll     time.Duration
	Disorder Disorder
	// Log gets a line for what goes wrong. Default: nothing is logged.
	Log func(line string)
}

// Stats are what a source did.
type Stats struct {
	Read        int // records
	Matched     int // records that passed the filter
	Dropped     int // of those, lost to the disorder
	Doubled     int // of those, came twice by it
	Delivered   int // records that came to a lane, after the disorder
	Invocations int // tries, throttled ones included
	Throttles   int
	Retries     int // of invocations that failed
	Discarded   int // records that were given up
}

// Source is a running event source mapping.
type Source struct {
	opts   Options
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	stats  Stats
	random *rand.Rand
	shards map[string]bool // true for one that is read to its end
	wake   chan struct{}   // has an element when a shard came to its end
}

// Start begins to read the stream: what is written after it returned is delivered. ctx bounds Start alone.
func Start(ctx context.Context, opts Options) (*Source, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := newSource(opts, cancel)
	if err := s.readNewShards(ctx, running, types.ShardIteratorTypeLatest); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.work.Go(func() { s.watchShards(running) })
	return s, nil
}

func newSource(opts Options, cancel context.CancelFunc) *Source {
	if opts.Poll == 0 {
		opts.Poll = standardPoll
	}
	if opts.Log == nil {
		opts.Log = func(string) {}
	}
	return &Source{
		opts: opts, cancel: cancel, random: rand.New(rand.NewPCG(opts.Disorder.Seed, 0)), //nolint:gosec // it is to be repeatable
		shards: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// Close stops the source. An invocation that is under way goes on without it.
func (s *Source) Close() error {
	s.cancel()
	s.work.Wait()
	return nil
}

// Stats returns what the source did so far.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Source) count(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

func (s *Source) discard(n int, why string) {
	if n == 0 {
		return
	}
	s.count(func(st *Stats) { st.Discarded += n })
	s.opts.Log(fmt.Sprintf("%d records are given up: %s", n, why))
}

// watchShards finds the shards that come later.
func (s *Source) watchShards(ctx context.Context) {
	ticker := time.NewTicker(shardsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		if err := s.readNewShards(ctx, ctx, types.ShardIteratorTypeTrimHorizon); err != nil && ctx.Err() == nil {
			s.opts.Log("look for shards: " + err.Error())
		}
	}
}

// readNewShards begins to read the shards that are open and not read yet, each after its parent.
func (s *Source) readNewShards(ctx, running context.Context, from types.ShardIteratorType) error {
	var last *string
	for {
		out, err := s.opts.Streams.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{
			StreamArn: aws.String(s.opts.StreamARN), ExclusiveStartShardId: last,
		})
		if err != nil {
			return fmt.Errorf("describe stream %s: %w", s.opts.StreamARN, err)
		}
		for _, shard := range out.StreamDescription.Shards {
			if err := s.readNewShard(ctx, running, shard, from); err != nil {
				return err
			}
		}
		if last = out.StreamDescription.LastEvaluatedShardId; last == nil {
			return nil
		}
	}
}

func (s *Source) readNewShard(ctx, running context.Context, shard types.Shard, from types.ShardIteratorType) error {
	id := aws.ToString(shard.ShardId)
	s.mu.Lock()
	_, known := s.shards[id]
	ended, read := s.shards[aws.ToString(shard.ParentShardId)]
	s.mu.Unlock()
	if known || read && !ended {
		return nil
	}
	iterator, err := s.iterator(ctx, id, from)
	if err != nil {
		return fmt.Errorf("read shard %s: %w", id, err)
	}
	s.mu.Lock()
	s.shards[id] = false
	s.mu.Unlock()
	lanes := s.startLanes(running)
	s.work.Go(func() { s.readShard(running, id, iterator, lanes) })
	return nil
}

// iterator returns a place in a shard to read from.
func (s *Source) iterator(ctx context.Context, shard string, from types.ShardIteratorType) (*string, error) {
	out, err := s.opts.Streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: aws.String(s.opts.StreamARN), ShardId: aws.String(shard), ShardIteratorType: from,
	})
	if err != nil {
		return nil, err
	}
	return out.ShardIterator, nil
}

// lost reports whether an iterator leads nowhere any more: what it points at was trimmed, or it is too old. The API
// reference of GetRecords says to take another one.
func lost(err error) bool {
	var trimmed *types.TrimmedDataAccessException
	var expired *types.ExpiredIteratorException
	return errors.As(err, &trimmed) || errors.As(err, &expired)
}

// startLanes starts the lanes of one shard.
func (s *Source) startLanes(ctx context.Context) []*lane {
	lanes := make([]*lane, max(1, s.opts.Mapping.Parallelization))
	for i := range lanes {
		lanes[i] = newLane(s)
		s.work.Go(func() { lanes[i].run(ctx) })
	}
	return lanes
}

// readShard reads a shard to its end.
func (s *Source) readShard(ctx context.Context, id string, iterator *string, lanes []*lane) {
	for iterator != nil {
		out, err := s.opts.Streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: iterator})
		pause := s.opts.Poll
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Log(fmt.Sprintf("read shard %s: %v", id, err))
			pause = failurePause
			if lost(err) {
				// From the oldest record that there is: one that comes twice is harmless, one that is missed is late.
				if again, err := s.iterator(ctx, id, types.ShardIteratorTypeTrimHorizon); err == nil {
					iterator = again
				}
			}
		default:
			iterator = out.NextShardIterator
			s.distribute(ctx, out.Records, lanes)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
	s.mu.Lock()
	s.shards[id] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// distribute sends records that pass the filter to the lanes of their items.
func (s *Source) distribute(ctx context.Context, read []types.Record, lanes []*lane) {
	var matched []record
	for _, r := range read {
		record, err := newRecord(r, s.opts.StreamARN)
		passes := err == nil && len(s.opts.Mapping.Filters) == 0
		for _, f := range s.opts.Mapping.Filters {
			if err == nil && !passes {
				passes, err = f.Match(record.json)
			}
		}
		if err != nil {
			s.opts.Log(err.Error())
		}
		if passes {
			matched = append(matched, record)
		}
	}
	s.mu.Lock()
	arrivals, dropped, doubled := s.opts.Disorder.apply(matched, s.random)
	s.stats.Read += len(read)
	s.stats.Matched += len(matched)
	s.stats.Dropped += dropped
	s.stats.Doubled += doubled
	s.stats.Delivered += len(arrivals)
	s.mu.Unlock()
	together := make([][]record, len(lanes))
	for _, a := range arrivals {
		n := laneOf(a.key, len(lanes))
		l := lanes[n]
		if a.after == 0 {
			together[n] = append(together[n], a.record)
			continue
		}
		time.AfterFunc(a.after, func() {
			if ctx.Err() == nil {
				l.put(a.record)
			}
		})
	}
	for n, records := range together {
		if len(records) > 0 {
			lanes[n].put(records...)
		}
	}
}

// laneOf spreads items over lanes.
func laneOf(key string, lanes int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(lanes)) //nolint:gosec // there are at most 10
}

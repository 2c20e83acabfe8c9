package dynamostore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
)

// API is the part of the DynamoDB client that a Store takes.
type API interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Keys of log attributes, as in core.
const (
	logExecution = "execution_id"
	logTask      = "task_id"
	logRoot      = "root_id"
	logAttempt   = "attempt"
	logError     = "error"
)

// about returns the log attributes that say which execution an item is.
func about(it item) []any {
	d := decoder{item: it}
	id, root := d.text(keyPK), d.text(aRoot)
	return []any{logExecution, id, logTask, d.text(aTask), logRoot, cmp.Or(root, id), logAttempt, d.int(aAttempts)}
}

// MaxShards is the largest number of shards.
const MaxShards = 64

// KeepForever is the retention that deletes nothing.
const KeepForever time.Duration = -1

// Options are the options of a Store; the zero value works.
type Options struct {
	// Shards is over how many keys a queue is spread: one carries about 500 tasks a second. It may change at
	// any time. Default 4, at most MaxShards.
	Shards int
	// Retention is how long an execution is kept after it was closed, in whole days; KeepForever keeps all.
	// Default 30 days.
	Retention time.Duration
	// List keeps the list of root executions that core.Store.List reads. It needs the table's index of that name
	// (TableOptions.List) and costs 1 write unit at an execution's start and 2 at its end, none for children. It may
	// be switched on for a table in use: executions are in the list that start or end from then on. Default: no list
	// is kept, and nothing is paid.
	List bool
	// Parallel is how many requests one call has under way at once. Default 32.
	Parallel int
	// NoBatches makes a request of each write. Default: writes that would wait for others are gathered into batches of
	// statements, at no cost, where the API has BatchExecuteStatement and the role allows it.
	NoBatches bool
	// Logger gets what a person may have to know, such as items that do not decode. Default: nothing.
	Logger *slog.Logger
	// Usage is called after every request with what it consumed, by several goroutines at once; it must be quick.
	// Requests ask DynamoDB for that only when it is set. Default: nothing is told.
	Usage func(Usage)
}

// Store is a core.Store in one DynamoDB table.
type Store struct {
	api   API
	raw   API // as the caller gave it
	table string
	where string // names the table, its region and endpoint in errors
	opts  Options

	batches    batcher
	others     contention
	announcing sync.Mutex // held by the one request that announces the shards

	mu       sync.Mutex
	skips    map[entry]skip      // entries that came to nothing, and claimed ones
	left     map[entry]time.Time // entries that belong to other executors, and when they were seen first
	shards   int                 // the largest number ever used, as far as it is known
	shardsAt time.Time           // when it was read
	// announced tells that readers know how many shards this store writes to.
	announced bool
}

var _ core.Store = (*Store)(nil)

// New returns the store in a table; it makes no request. The error matches core.ErrInvalid.
func New(api API, table string, opts Options) (*Store, error) {
	if opts.Shards == 0 {
		opts.Shards = 4
	}
	if opts.Retention == 0 {
		opts.Retention = 30 * 24 * time.Hour
	}
	if opts.Parallel == 0 {
		opts.Parallel = 32
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case api == nil:
		return nil, fmt.Errorf("%w store: the DynamoDB client is nil", core.ErrInvalid)
	case table == "":
		return nil, fmt.Errorf("%w store: the table's name is empty", core.ErrInvalid)
	case opts.Shards < 1 || opts.Shards > MaxShards:
		return nil, fmt.Errorf("%w store: Shards is %d, must be from 1 to %d", core.ErrInvalid, opts.Shards, MaxShards)
	case opts.Retention != KeepForever && opts.Retention < 24*time.Hour:
		return nil, fmt.Errorf("%w store: Retention is %s, must be at least a day, or KeepForever", core.ErrInvalid, opts.Retention)
	case opts.Parallel < 1:
		return nil, fmt.Errorf("%w store: Parallel is %d, must be at least 1", core.ErrInvalid, opts.Parallel)
	}
	s := &Store{api: judged{api}, raw: api, table: table, where: describe(api, table), opts: opts, skips: map[entry]skip{}}
	if opts.Usage != nil {
		s.api = observed{s.api, opts.Usage}
	}
	batches, able := api.(batchAPI)
	s.batches = batcher{api: batches, within: batchWithin, off: !able || opts.NoBatches, report: opts.Usage, refuse: func(err error) {
		opts.Logger.Warn("batches of writes are refused: writes go one by one, which costs the processor more", logError, explain(s.where, err))
	}}
	return s, nil
}

// parallel calls do for 0 to n-1, a bounded number at once.
func (s *Store) parallel(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	slots := make(chan struct{}, s.opts.Parallel)
	var group sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			do(i)
			<-slots
		})
	}
	group.Wait()
}

// apart is parallel for what concerns records with ids, several of which may be one: these are done one after the other, in
// their order.
func (s *Store) apart(n int, id func(i int) string, do func(i int)) {
	groups := make([][]int, 0, n)
	places := make(map[string]int, n)
	for i := range n {
		place, known := places[id(i)]
		if !known {
			place = len(groups)
			places[id(i)] = place
			groups = append(groups, nil)
		}
		groups[place] = append(groups[place], i)
	}
	s.parallel(len(groups), func(g int) {
		for _, i := range groups[g] {
			do(i)
		}
	})
}

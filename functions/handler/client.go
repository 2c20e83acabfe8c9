package handler

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// Client is what a Lambda function that is none of the engine's needs in order to enqueue, wake, cancel and ask, with
// the types of its tasks. It is safe for concurrent use; make one at cold start.
type Client struct {
	*core.Client
	// Store is for what only this store can do, such as dynamostore.EnqueueTx.
	Store *dynamostore.Store
	// DynamoDB is for requests of the caller's own, a transaction for one. Like the store's, they are tried again for
	// up to 20 s when they are throttled.
	DynamoDB *dynamodb.Client
	// Logger writes JSON lines as the engine's functions do.
	Logger *slog.Logger
}

// NewClient returns a client of the table that the environment names, by the same variables as the engine's functions
// read (see Config), and which must be the same as theirs: PERDURE_TABLE, and PERDURE_SHARDS, PERDURE_RETENTION_DAYS,
// PERDURE_LIST and PERDURE_TASK_TIMEOUT, by which it refuses what they have no time for, where they are set there. It
// makes no request. registry is needed for what goes by a task's id, such
// as EnqueueRaw, and may be nil. The error names all variables that are wrong.
func NewClient(ctx context.Context, registry func() (*core.Registry, error), opts Options) (*Client, error) {
	config, err := ReadConfig(os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	log := newLogger(config.LogLevel)
	api, store, err := open(ctx, config, log, nil)
	if err != nil {
		return nil, err
	}
	var tasks *core.Registry
	if registry != nil {
		if tasks, err = registry(); err != nil {
			return nil, err
		}
	}
	client, err := core.NewClient(store, core.ClientOptions{
		Registry: tasks, Codec: opts.Codec, Limits: config.limits(opts.Limits), KeepWakeups: opts.KeepWakeups, Logger: log,
		Observer: opts.Observer,
	})
	if err != nil {
		return nil, err
	}
	return &Client{Client: client, Store: store, DynamoDB: api, Logger: log}, nil
}

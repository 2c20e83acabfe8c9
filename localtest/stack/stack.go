// Package stack runs the whole application on this machine: DynamoDB Local behind a meter, the table, and the
// compiled functions as Lambda runs them, on their schedules.
package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	"github.com/perdure-dev/perdure/localtest/meter"
)

// Names of the functions, which are the names of their folders below functions/.
const (
	StartReady      = "startready"
	ProcessChildren = "processchildren"
	Close           = "close"
	Timeouts        = "timeouts"
	Cancellation    = "cancellation"
	Enqueue         = "enqueue"
)

// enqueueConcurrency is how many requests the enqueue function answers at once.
const enqueueConcurrency = 4

// Functions returns the names of all functions.
func Functions() []string {
	return []string{StartReady, ProcessChildren, Close, Timeouts, Cancellation, Enqueue}
}

// Options are the choices that Start has. Binaries is required.
type Options struct {
	// Binaries is the folder in which Build left the functions.
	Binaries string
	// Env has further variables for the functions, "KEY=value".
	Env []string
	// Tick is the schedules' interval, in whole seconds; on AWS it is a minute. Default 1 s.
	Tick time.Duration
	// Timeout is the functions' own. Default 30 s.
	Timeout time.Duration
	// Log gets a line for each step that takes time, and what the functions print. Default: none.
	Log io.Writer
	// NoSchedules leaves the loops to Invoke.
	NoSchedules bool
}

// Stack is a running application.
type Stack struct {
	Table  string
	Meter  *meter.Meter
	Lambda *lambdalocal.Service
	// DynamoDB is a client beside the meter.
	DynamoDB *dynamodb.Client
	// Store is the application's store; what it consumes is metered. What Watch consumes is not.
	Store, Watch *dynamostore.Store

	closers []func() error
}

// Build compiles the functions for this machine into folder/<name>/bootstrap. It needs Go on the PATH and the
// module's source.
func Build(ctx context.Context, folder string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	for _, name := range Functions() {
		cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-o", binary(folder, name),
			"github.com/perdure-dev/perdure/functions/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build function %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

func binary(folder, name string) string { return filepath.Join(folder, name, "bootstrap") }

// Start starts everything. An error that matches dynamolocal.ErrUnavailable says what the machine lacks. What
// Start began it ends itself when it fails.
func Start(ctx context.Context, opts Options) (_ *Stack, err error) {
	if opts.Tick == 0 {
		opts.Tick = time.Second
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	s := &Stack{Table: "perdure-" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: opts.Log})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, server.Close)
	if s.Meter, err = meter.Start(ctx, server.Endpoint()); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.Meter.Close)
	s.DynamoDB = client(server.Endpoint())
	if err := dynamostore.CreateTable(ctx, s.DynamoDB, s.Table); err != nil {
		return nil, err
	}
	if s.Store, err = dynamostore.New(client(s.Meter.Endpoint()), s.Table, dynamostore.Options{}); err != nil {
		return nil, err
	}
	if s.Watch, err = dynamostore.New(s.DynamoDB, s.Table, dynamostore.Options{}); err != nil {
		return nil, err
	}
	s.Lambda = lambdalocal.New(lambdalocal.Options{Log: opts.Log})
	s.closers = append(s.closers, s.Lambda.Close)
	for _, name := range Functions() {
		if err := s.add(name, opts); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Stack) add(name string, opts Options) error {
	// On AWS a loop's next invocation begins a minute after the last; here ticks are close, and one invocation
	// more than the one at work is enough.
	concurrency := 2
	if name == Enqueue {
		concurrency = enqueueConcurrency
	}
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	err := s.Lambda.Add(lambdalocal.Function{
		Name: name, Bootstrap: binary(opts.Binaries, name), Timeout: opts.Timeout, MaxConcurrency: concurrency,
		Env: append([]string{
			"AWS_ENDPOINT_URL_DYNAMODB=" + s.Meter.Endpoint(),
			"PERDURE_TABLE=" + s.Table,
			"PERDURE_FUNCTION_TIMEOUT=" + seconds(opts.Timeout),
			"PERDURE_TICK=" + seconds(opts.Tick),
		}, opts.Env...),
	})
	if err != nil || name == Enqueue || opts.NoSchedules {
		return err
	}
	_, err = s.Lambda.Schedule(name, opts.Tick, func(time.Time) []byte { return []byte("{}") })
	return err
}

// Close stops the functions, then the meter and DynamoDB Local, and leaves no process behind.
func (s *Stack) Close() error {
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last]())
		s.closers = s.closers[:last]
	}
	return errors.Join(errs...)
}

// Request invokes the enqueue function as another Lambda would. An error of the function is an error here; what
// is wrong with the request is in the response.
func (s *Stack) Request(ctx context.Context, request any) (handler.Response, error) {
	var response handler.Response
	payload, err := json.Marshal(request)
	if err != nil {
		return response, err
	}
	result, err := s.Lambda.Invoke(ctx, Enqueue, payload)
	switch {
	case err != nil:
		return response, fmt.Errorf("invoke %s: %w", Enqueue, err)
	case result.FunctionError != "":
		return response, fmt.Errorf("function %s: %s", Enqueue, strings.TrimSpace(string(result.Payload)))
	}
	return response, json.Unmarshal(result.Payload, &response)
}

// client returns a client of a DynamoDB on this machine, which takes any credentials.
func client(endpoint string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
}

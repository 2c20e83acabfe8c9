// Package stack runs the whole application on this machine: DynamoDB Local behind a meter, the table, and the
// compiled functions as Lambda runs them, on their schedules and woken by the table's stream.
package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/eventsource"
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

// programs are the functions' names for handler.Start.
var programs = map[string]string{
	StartReady: string(core.LoopStartReady), ProcessChildren: string(core.LoopProcessChildren), Close: string(core.LoopClose),
	Timeouts: string(core.LoopTimeouts), Cancellation: string(core.LoopCancellation), Enqueue: handler.EnqueueFunction,
}

// enqueueConcurrency is how many requests the enqueue function answers at once.
const enqueueConcurrency = 4

// Functions returns the names of all functions.
func Functions() []string {
	return []string{StartReady, ProcessChildren, Close, Timeouts, Cancellation, Enqueue}
}

// MemoryMB returns how much memory the template gives a function.
func MemoryMB(name string) int {
	if name == StartReady || name == ProcessChildren {
		return 512
	}
	return 256
}

// Options are the choices that Start has. Binaries is required.
type Options struct {
	// Binaries is the folder in which Build left the functions.
	Binaries string
	// Table is the table's name. Default: one that no other application has.
	Table string
	// Env has further variables for the functions, "KEY=value".
	Env []string
	// Tick is the schedules' interval, in whole seconds; on AWS it is a minute. Default 1 s.
	Tick time.Duration
	// Timeout is the functions' own. Default 30 s.
	Timeout time.Duration
	// Log gets what the functions print, and, where there are no Steps, a line for each step that takes time. Default: none.
	Log io.Writer
	// Steps gets a line for each step that takes time. Default: Log.
	Steps io.Writer
	// Started is told what came of each start of a function's process, see lambdalocal.Options. Default: nobody is.
	Started func(lambdalocal.Start)
	// Failed is told of invocations that fail, see lambdalocal.Options. Default: none.
	Failed func(lambdalocal.Failed)
	// NoSchedules leaves the loops to Invoke.
	NoSchedules bool
	// Stream is about the table's stream, which wakes the function that starts executions as the template says.
	Stream Stream
	// ExactMeter keeps the functions from writing in batches, of which DynamoDB Local does not tell what they consume.
	ExactMeter bool
	// List gives the application its list of executions.
	List bool
}

// Stack is a running application.
type Stack struct {
	Table  string
	Meter  *meter.Meter
	Lambda *lambdalocal.Service
	Stream *eventsource.Source // nil when it is off
	// DynamoDB is a client beside the meter.
	DynamoDB *dynamodb.Client
	// Store is the application's store; what it consumes is metered. What Watch consumes is not.
	Store, Watch *dynamostore.Store

	// env is what every function's environment begins with.
	env     []string
	timeout time.Duration
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

// BuildOne compiles one program that is all functions (see handler.Start), of any module that the working folder is
// in, into folder/bootstrap and, for each function, folder/<name>/bootstrap.
func BuildOne(ctx context.Context, folder, pkg string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	program := filepath.Join(folder, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	for _, name := range Functions() {
		link := binary(folder, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o750); err != nil {
			return err
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Link(program, link); err != nil {
			return err
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
	if opts.Steps == nil {
		opts.Steps = opts.Log
	}
	s := &Stack{Table: cmp.Or(opts.Table, "perdure-"+strconv.FormatInt(time.Now().UnixNano(), 36))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: opts.Steps})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, server.Close)
	if s.Meter, err = meter.Start(ctx, server.Endpoint(), meter.Options{NoBatches: opts.ExactMeter}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.Meter.Close)
	s.DynamoDB = dynamostore.LocalClient(server.Endpoint())
	if err := dynamostore.CreateTable(ctx, s.DynamoDB, s.Table, dynamostore.TableOptions{List: opts.List}); err != nil {
		return nil, err
	}
	if s.Store, err = dynamostore.New(dynamostore.LocalClient(s.Meter.Endpoint()), s.Table, dynamostore.Options{List: opts.List}); err != nil {
		return nil, err
	}
	if s.Watch, err = dynamostore.New(s.DynamoDB, s.Table, dynamostore.Options{List: opts.List}); err != nil {
		return nil, err
	}
	s.Lambda = lambdalocal.New(lambdalocal.Options{Log: opts.Log, Started: opts.Started, Failed: opts.Failed})
	s.closers = append(s.closers, s.Lambda.Close)
	api, err := s.Serve(ctx, s.Lambda.InvokeAPI())
	if err != nil {
		return nil, err
	}
	s.timeout = opts.Timeout
	s.env = s.environment(api, opts)
	streams := !opts.Stream.Off && !opts.NoSchedules
	var mapping eventsource.Mapping
	if streams {
		if mapping, err = opts.Stream.mapping(); err != nil {
			return nil, err
		}
	}
	for _, name := range Functions() {
		if err := s.add(name, mapping.Parallelization, opts); err != nil {
			return nil, err
		}
	}
	if streams {
		if err := s.startStream(ctx, server.Endpoint(), mapping, opts); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// environment is what the template tells every function.
func (s *Stack) environment(invokeAPI string, opts Options) []string {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	list := "no"
	if opts.List {
		list = "yes"
	}
	return append([]string{
		"AWS_ENDPOINT_URL_DYNAMODB=" + s.Meter.Endpoint(),
		"AWS_ENDPOINT_URL_LAMBDA=" + invokeAPI,
		"PERDURE_TABLE=" + s.Table,
		"PERDURE_FUNCTION_TIMEOUT=" + seconds(opts.Timeout),
		"PERDURE_TASK_TIMEOUT=" + seconds(opts.Timeout),
		"PERDURE_TICK=" + seconds(opts.Tick),
		"PERDURE_LIST=" + list,
	}, opts.Env...)
}

// add adds one of the engine's functions; streamed is how many invocations the stream has at once.
func (s *Stack) add(name string, streamed int, opts Options) error {
	// On AWS a loop's next invocation begins a minute after the last; here ticks are close, and one invocation
	// more than the one at work is enough.
	concurrency := 2
	switch name {
	case Enqueue:
		concurrency = enqueueConcurrency
	case StartReady:
		concurrency += streamed
	}
	err := s.Add(lambdalocal.Function{
		Name: name, Bootstrap: binary(opts.Binaries, name), MaxConcurrency: concurrency, MemoryMB: MemoryMB(name),
		Env: []string{handler.FunctionVariable + "=" + programs[name], "AWS_SDK_UA_APP_ID=" + name},
	})
	if err != nil || name == Enqueue || opts.NoSchedules {
		return err
	}
	_, err = s.Lambda.Schedule(name, opts.Tick, func(time.Time) []byte { return []byte("{}") })
	return err
}

// Add adds a function of the application's own. It has the environment that the engine's functions have, behind which
// comes its own, and their timeout unless it has one.
func (s *Stack) Add(f lambdalocal.Function) error {
	if f.Timeout == 0 {
		f.Timeout = s.timeout
	}
	f.Env = slices.Concat(s.env, f.Env)
	return s.Lambda.Add(f)
}

// Serve serves HTTP on a free port of this machine until Close, and returns its URL.
func (s *Stack) Serve(ctx context.Context, h http.Handler) (string, error) {
	url, stop, err := Serve(ctx, h)
	if err == nil {
		s.closers = append(s.closers, stop)
	}
	return url, err
}

// Serve serves HTTP on a free port of this machine until stop is called, and returns its URL.
func Serve(ctx context.Context, h http.Handler) (url string, stop func() error, err error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() error {
		err := server.Close()
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	}, nil
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

// Package dynamolocal finds DynamoDB Local by itself and runs it on a free port of this machine.
//
// The first of these that works is taken:
//
//  1. AWS_ENDPOINT_URL_DYNAMODB, when set, names a server that runs already. Nothing is started.
//  2. A copy in the user's cache folder, run by Java 11 or newer.
//  3. The same after fetching it with npm: the package [amplify-dynamodb-simulator] carries
//     DynamoDB Local with its native libraries. The archive's hash is pinned here.
//  4. Docker, with the image amazon/dynamodb-local.
//
// The server keeps its tables in memory. They are separate for each access key and region of the
// callers, so tests that must not see each other's tables can simply use different access keys.
// It ends with Close and with the process that started it, however that one ends.
//
// [amplify-dynamodb-simulator]: https://www.npmjs.com/package/amplify-dynamodb-simulator
package dynamolocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/perdure-dev/perdure/localtest/process"
)

// The values of Server.Source.
const (
	SourceEnv    = "AWS_ENDPOINT_URL_DYNAMODB"
	SourceCache  = "cache"
	SourceNPM    = "npm"
	SourceDocker = "docker"
)

const (
	endpointTimeout = 5 * time.Second       // For the server AWS_ENDPOINT_URL_DYNAMODB names.
	probeTimeout    = time.Second           // For one look whether a started server answers.
	probeInterval   = 20 * time.Millisecond // Between two such looks.
	portAttempts    = 5
	maxHeap         = "-Xmx2g"
)

// ErrUnavailable is returned when this machine has nothing to run DynamoDB Local with. The error
// that wraps it says what is missing, in one line.
var ErrUnavailable = errors.New("DynamoDB Local needs Java 11 or newer and npm, or a running Docker")

// errPortTaken says that another program was faster to listen on the chosen port.
var errPortTaken = errors.New("port taken by another program")

// Options are the choices Start has. The zero value works.
type Options struct {
	// CacheDir is where a downloaded DynamoDB Local is kept, about 70 MB. Processes may share it.
	// Default: "perdure" in os.UserCacheDir.
	CacheDir string

	// Log gets a line for each step that takes time. Default: none.
	Log io.Writer
}

// Server is a running DynamoDB Local. Its methods may be called from any goroutine.
type Server struct {
	endpoint string
	source   string
	pid      int
	close    func() error
}

// Endpoint is the URL of the server, such as "http://127.0.0.1:40001".
func (s *Server) Endpoint() string { return s.endpoint }

// Source tells which way the server was found: one of the Source constants.
func (s *Server) Source() string { return s.source }

// PID is the id of the process that runs the server, or of the Docker client; 0 when the server
// was not started by Start.
func (s *Server) PID() int { return s.pid }

// Close ends the server and returns when its process is gone. A server that Start did not start
// is left alone. Later calls return what the first returned.
func (s *Server) Close() error { return s.close() }

// Start finds DynamoDB Local, starts it and returns once it answers. ctx bounds Start, not the
// server's life. An error that wraps ErrUnavailable means that the machine lacks what it takes; an
// endpoint set in AWS_ENDPOINT_URL_DYNAMODB that does not answer, or a server that does not come
// up, is an error of another kind.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if endpoint := os.Getenv(SourceEnv); endpoint != "" {
		if _, err := probe(ctx, endpoint, endpointTimeout); err != nil {
			return nil, fmt.Errorf("DynamoDB endpoint %s (from %s) does not answer: %w", endpoint, SourceEnv, err)
		}
		return &Server{endpoint: endpoint, source: SourceEnv, close: func() error { return nil }}, nil
	}
	if opts.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("choose a cache folder for DynamoDB Local: %w", err)
		}
		opts.CacheDir = filepath.Join(dir, "perdure")
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}

	l, javaErr := javaLaunch(ctx, opts)
	if javaErr != nil {
		var dockerErr error
		if l, dockerErr = dockerLaunch(ctx, opts); dockerErr != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("start DynamoDB Local: %w", context.Cause(ctx))
			}
			return nil, fmt.Errorf("%w: %w; %w", ErrUnavailable, javaErr, dockerErr)
		}
	}
	s, err := l.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start DynamoDB Local (%s): %w", l.source, err)
	}
	return s, nil
}

// launch is a way to run the server.
type launch struct {
	source  string
	command func(port int) (*exec.Cmd, error)
	grace   time.Duration // What the process gets to end by itself.
	cleanup func() error  // Called when the process is gone; nil for nothing.
}

// start runs the server on a port that is free, with another try when somebody else takes the port
// first.
func (l launch) start(ctx context.Context) (*Server, error) {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s, err := l.try(ctx, port)
		if attempt == portAttempts || !errors.Is(err, errPortTaken) {
			return s, err
		}
	}
}

func (l launch) try(ctx context.Context, port int) (*Server, error) {
	out := &output{failed: make(chan struct{})}
	cmd, err := l.command(port)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(cmd, out.add)
	if err != nil {
		return nil, err
	}
	stop := func(grace time.Duration) error {
		err := p.Stop(grace)
		if l.cleanup != nil {
			err = errors.Join(err, l.cleanup())
		}
		return err
	}
	endpoint := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := awaitAnswer(ctx, endpoint, p.Done(), out.failed); err != nil {
		err = errors.Join(err, stop(0))
		return nil, out.explain(err)
	}
	return &Server{
		endpoint: endpoint,
		source:   l.source,
		pid:      p.PID(),
		close:    sync.OnceValue(func() error { return stop(l.grace) }),
	}, nil
}

// freePort returns a port of the loopback address nobody listens on at this moment.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, nil
}

// awaitAnswer returns nil when endpoint answers as DynamoDB does.
func awaitAnswer(ctx context.Context, endpoint string, exited, failed <-chan struct{}) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			return errors.New("the server ended at once")
		case <-failed:
			return errors.New("the server failed")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		header, err := probe(ctx, endpoint, probeTimeout)
		if err != nil {
			continue // Not up yet.
		}
		if header.Get("x-amzn-RequestId") == "" {
			return errPortTaken
		}
		return nil
	}
}

// probe sends one request to endpoint and returns the answer's header, whatever its status.
func probe(ctx context.Context, endpoint string, timeout time.Duration) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	return answer.Header, answer.Body.Close()
}

// outputLines is how many of the server's last lines an error tells.
const outputLines = 12

// output keeps the last lines a server wrote and notices that it failed: Java's main thread ending
// in an exception (a taken port, for one) does not end DynamoDB Local's process.
type output struct {
	mu        sync.Mutex
	lines     []string
	portTaken bool
	broken    bool
	failed    chan struct{}
}

func (o *output) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line)
	if len(o.lines) > outputLines {
		o.lines = o.lines[1:]
	}
	for _, sign := range []string{"Failed to bind", "ddress already in use", "port is already allocated"} {
		o.portTaken = o.portTaken || strings.Contains(line, sign)
	}
	if !o.broken && strings.Contains(line, `Exception in thread "main"`) {
		o.broken = true
		close(o.failed)
	}
}

// explain adds to err what the server wrote.
func (o *output) explain(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.portTaken {
		err = errors.Join(errPortTaken, err)
	}
	if len(o.lines) == 0 {
		return err
	}
	return fmt.Errorf("%w; its last lines were:\n%s", err, strings.Join(o.lines, "\n"))
}

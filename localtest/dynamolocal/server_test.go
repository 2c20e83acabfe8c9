package dynamolocal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// helperEnv makes the test binary play another program: "serve" the parent that is killed,
// "docker" the Docker client.
const helperEnv = "PERDURE_DYNAMOLOCAL_TEST_HELPER"

// filled is a cache folder that one fetch has filled.
var filled struct {
	dir  string
	once sync.Once
	err  error
}

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "serve":
		serve()
	case "docker":
		playDocker(os.Args[1:])
	default:
		os.Exit(run(m))
	}
}

func run(m *testing.M) int {
	if err := os.Unsetenv(SourceEnv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "dynamolocal-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	filled.dir = dir
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// serve starts a server, tells its pid and waits to be killed.
func serve() {
	s, err := Start(context.Background(), Options{CacheDir: os.Getenv("CACHE_DIR")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.PID(), s.Endpoint())
	select {}
}

// fill fills the shared cache folder by two Starts at the same time.
func fill(t *testing.T) string {
	t.Helper()
	filled.once.Do(func() {
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i := range errs {
			both.Go(func() {
				s, err := Start(context.Background(), Options{CacheDir: filled.dir})
				if err == nil {
					err = s.Close()
				}
				errs[i] = err
			})
		}
		both.Wait()
		filled.err = errors.Join(errs...)
	})
	if filled.err != nil {
		t.Fatal(filled.err)
	}
	return filled.dir
}

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func listTables(ctx context.Context, endpoint string) ([]string, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint),
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("local", "local", ""),
		HTTPClient:   &http.Client{Transport: transport},
	})
	out, err := client.ListTables(ctx, &dynamodb.ListTablesInput{})
	if err != nil {
		return nil, err
	}
	return out.TableNames, nil
}

func processGone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(data, []byte(") "))
	return rest[0] == 'Z' || rest[0] == 'X'
}

func portClosed(endpoint string) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}

func TestTwoStartsFillOneCache(t *testing.T) {
	t.Parallel()
	dir := fill(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{jarFolder}, names); diff != "" {
		t.Error(diff)
	}
}

func TestStartServesAndCloses(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := start(t, Options{CacheDir: fill(t), Log: &log})
	if s.Source() != SourceCache || log.Len() > 0 {
		t.Errorf("source %s, log %q; want %s, none", s.Source(), &log, SourceCache)
	}
	tables, err := listTables(t.Context(), s.Endpoint())
	if err != nil || len(tables) > 0 {
		t.Errorf("ListTables: %v, %v", tables, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !portClosed(s.Endpoint()) {
		t.Error("the port is open after Close")
	}
	if runtime.GOOS == "linux" && !processGone(s.PID()) {
		t.Error("the process runs after Close")
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	dir := fill(t)
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // Accepts connections, answers none.
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l, err := javaLaunch(t.Context(), Options{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]net.Addr{"answers": stranger.Listener.Addr(), "silent": silent.Addr()} {
		t.Run(name, func(t *testing.T) {
			if _, err := l.try(t.Context(), address.(*net.TCPAddr).Port); !errors.Is(err, errPortTaken) {
				t.Errorf("got %v, want errPortTaken", err)
			}
		})
	}
}

func TestServerThatFailsIsExplained(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"ends":      "echo no memory >&2; exit 3",
		"broken":    `echo 'Exception in thread "main" no memory'; exec sleep 600`,
		"port/echo": "echo Failed to bind; exit 1",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries int
			l := launch{command: func(int) (*exec.Cmd, error) {
				tries++
				return exec.Command("/bin/sh", "-c", script), nil
			}}
			_, err := l.start(t.Context())
			wantTries, wantText := 1, "no memory"
			if name == "port/echo" {
				wantTries, wantText = portAttempts, "Failed to bind"
			}
			if err == nil || !strings.Contains(err.Error(), wantText) || tries != wantTries {
				t.Errorf("after %d tries: %v; want %d tries and %q", tries, err, wantTries, wantText)
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	l := launch{command: func(int) (*exec.Cmd, error) {
		cancel(cause)
		return exec.Command("sleep", "600"), nil
	}}
	if _, err := l.start(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
	t.Parallel()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), helperEnv+"=serve", "CACHE_DIR="+fill(t))
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pidText, endpoint, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		t.Fatal(err)
	}
	if processGone(pid) || portClosed(endpoint) {
		t.Fatal("the server ended before its parent")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // It ends with "signal: killed".
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !processGone(pid) || !portClosed(endpoint) {
		select {
		case <-deadline.C:
			t.Fatal("the server outlived its parent by a minute")
		case <-tick.C:
		}
	}
}

func TestEndpointFromEnvironment(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	t.Setenv(SourceEnv, server.URL)
	s, err := Start(t.Context(), Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Endpoint() != server.URL || s.Source() != SourceEnv || s.PID() != 0 {
		t.Errorf("got endpoint %s, source %s, pid %d", s.Endpoint(), s.Source(), s.PID())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if portClosed(server.URL) {
		t.Error("Close ended a server that Start did not start")
	}
}

func TestEndpointFromEnvironmentDoesNotAnswer(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{fmt.Sprintf("http://127.0.0.1:%d", port), "no URL"} {
		t.Setenv(SourceEnv, endpoint)
		_, err := Start(t.Context(), Options{CacheDir: t.TempDir()})
		if err == nil || errors.Is(err, ErrUnavailable) ||
			!strings.Contains(err.Error(), endpoint) || !strings.Contains(err.Error(), SourceEnv) {
			t.Errorf("endpoint %s: got %v", endpoint, err)
		}
	}
}

// onPath makes PATH a folder that holds nothing but the given shell scripts.
func onPath(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestUnavailable(t *testing.T) {
	const java17 = `echo 'openjdk version "17.0.15" 2025-04-15' >&2`
	tests := []struct {
		name    string
		scripts map[string]string
		want    string
	}{
		{"nothing", nil, "java not found on PATH; docker not found on PATH"},
		{"old java", map[string]string{"java": `echo 'java version "1.8.0_392"' >&2`}, "is Java 8, older than 11; docker not found on PATH"},
		{"broken java", map[string]string{"java": "echo no runtime; exit 2"}, "java -version: exit status 2 (no runtime)"},
		{"strange java", map[string]string{"java": "echo hello"}, "java -version names no version (hello)"},
		{"no npm", map[string]string{"java": java17}, "npm not found on PATH"},
		{"npm fails", map[string]string{"java": java17, "npm": "echo offline >&2; exit 1"}, "npm pack amplify-dynamodb-simulator@2.9.30: exit status 1 (offline)"},
		{"npm fails once, then wrong package", map[string]string{"java": java17, "npm": "[ -e tried ] || { : > tried; exit 1; }\necho hello > amplify-dynamodb-simulator-2.9.30.tgz"}, "its SHA-512 is "},
		{"wrong package", map[string]string{"java": java17, "npm": "echo hello > amplify-dynamodb-simulator-2.9.30.tgz"}, "its SHA-512 is "},
		{"docker not running", map[string]string{"docker": "echo no daemon >&2; exit 1"}, "docker engine not running: docker version: exit status 1 (no daemon)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			onPath(t, test.scripts)
			dir := t.TempDir()
			_, err := Start(t.Context(), Options{CacheDir: dir})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want one line with %q", err, test.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left in the cache folder: %v, %v", left, err)
			}
		})
	}
}

func TestFetchRemovesWhatOthersLeft(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"old": 2 * fetchLimit, "new": 0} {
		left := filepath.Join(dir, fetchName+name)
		then := time.Now().Add(-age)
		if err := errors.Join(os.Mkdir(left, 0o755), os.Chtimes(left, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	removeCutOff(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != fetchName+"new" {
		t.Errorf("left: %v, %v; want only the new one", left, err)
	}
}

func TestJavaVersion(t *testing.T) {
	t.Parallel()
	tests := map[string]int{
		`java version "1.8.0_392"`:                8,
		`openjdk version "11.0.21" 2023-10-17`:    11,
		`openjdk version "21" 2023-09-19`:         21,
		"Picked up X\nopenjdk version \"25-ea\" ": 25,
		`no such thing`:                           0,
	}
	for text, want := range tests {
		if got, ok := javaVersion(text); got != want || ok != (want != 0) {
			t.Errorf("javaVersion(%q) = %d, %t; want %d", text, got, ok, want)
		}
	}
}

// playDocker is a Docker client that runs no container: its run answers on the published port
// until its standard input ends or it is told to end.
func playDocker(args []string) {
	log, err := os.OpenFile(os.Getenv("DOCKER_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(log, strings.Join(args, " "))
	if args[0] != "run" {
		os.Exit(0)
	}
	host := strings.TrimSuffix(args[6], fmt.Sprintf(":%d", dockerPort))
	go func() {
		err := http.ListenAndServe(host, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-amzn-RequestId", "1")
			w.WriteHeader(http.StatusBadRequest)
		}))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}()
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // Blocks until the input ends.
	os.Exit(0)
}

func TestDocker(t *testing.T) {
	onPath(t, map[string]string{"docker": fmt.Sprintf("exec env GORACE=atexit_sleep_ms=0 %s=docker %q \"$@\"", helperEnv, os.Args[0])})
	env, err := exec.LookPath("/usr/bin/env")
	if err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(env, filepath.Join(os.Getenv("PATH"), "env")); err != nil {
		t.Fatal(err)
	}
	calls := filepath.Join(t.TempDir(), "calls")
	t.Setenv("DOCKER_LOG", calls)
	var log bytes.Buffer
	s := start(t, Options{CacheDir: t.TempDir(), Log: &log})
	if s.Source() != SourceDocker || !strings.Contains(log.String(), dockerImage) {
		t.Errorf("source %s, log %q", s.Source(), &log)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !portClosed(s.Endpoint()) {
		t.Error("the port is open after Close")
	}
	data, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 3 {
		t.Fatalf("calls:\n%s", data)
	}
	name := strings.Fields(lines[1])[4]
	want := []string{
		"version --format {{.Server.Version}}",
		"run --rm --interactive --name " + name + " --publish " + strings.TrimPrefix(s.Endpoint(), "http://") +
			":8000 --entrypoint /bin/sh amazon/dynamodb-local -c " + dockerScript,
		"rm --force " + name,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// TestDockerScript runs what the container runs, with a java that only says how it was called.
func TestDockerScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "java"), []byte("#!/bin/sh\necho \"$@\"\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", dockerScript)
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := "-Xmx2g -jar DynamoDBLocal.jar -inMemory -disableTelemetry\n"; err != nil || line != want {
		t.Errorf("java %q, %v; want %q", line, err, want)
	}
	if err := stdin.Close(); err != nil { // As when the Docker client goes away.
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("ended with %v, want signal: terminated", err)
	}
}

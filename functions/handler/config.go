package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/metrics"
)

// Config is what the functions are told by environment variables; template.yaml sets them.
type Config struct {
	Table         string        // PERDURE_TABLE, required
	Shards        int           // PERDURE_SHARDS, default 4
	RetentionDays int           // PERDURE_RETENTION_DAYS, default 30; 0 keeps for ever
	List          bool          // PERDURE_LIST, yes or no: whether a list of executions is kept; default no
	Timeout       time.Duration // PERDURE_FUNCTION_TIMEOUT in seconds: the function's own; default 0, unknown
	TaskTimeout   time.Duration // PERDURE_TASK_TIMEOUT in seconds: that of the function that starts tasks; default 0, unknown
	Concurrency   int           // PERDURE_CONCURRENCY: attempts at once; default 100
	Tick          time.Duration // PERDURE_TICK in seconds: the schedule's interval; default 60
	Poll          time.Duration // PERDURE_POLL in milliseconds: how often an invocation that works or waits looks for more; default 200
	Leeway        time.Duration // PERDURE_LEEWAY in seconds: how far clocks may be apart; default 5
	MemoryMB      int           // AWS_LAMBDA_FUNCTION_MEMORY_SIZE, which Lambda sets; 0 elsewhere
	Metrics       bool          // PERDURE_METRICS, yes or no: whether metrics are written, see package metrics; default no
	LogLevel      slog.Level    // PERDURE_LOG_LEVEL: DEBUG, INFO, WARN or ERROR; default INFO
	// PrintFailures is PERDURE_PRINT_FAILURES, yes or no: whether why attempts fail is written to standard error, with texts
	// and stacks, which are payloads. perdure run sets it; default no.
	PrintFailures bool
}

// ReadConfig reads the configuration through a look-up such as os.Getenv. The error joins all that is wrong and
// names variables and values.
func ReadConfig(getenv func(string) string) (Config, error) {
	var errs []error
	number := func(name string, standard, least, most int) int {
		text := getenv(name)
		if text == "" {
			return standard
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			errs = append(errs, fmt.Errorf("%s is %q: it must be a whole number from %d to %d", name, text, least, most))
		}
		return n
	}
	c := Config{
		Table:         getenv("PERDURE_TABLE"),
		Shards:        number("PERDURE_SHARDS", 4, 1, 64),
		RetentionDays: number("PERDURE_RETENTION_DAYS", 30, 0, 3650),
		Timeout:       time.Duration(number("PERDURE_FUNCTION_TIMEOUT", 0, 1, 900)) * time.Second,
		TaskTimeout:   time.Duration(number("PERDURE_TASK_TIMEOUT", 0, 1, 900)) * time.Second,
		Concurrency:   number("PERDURE_CONCURRENCY", 100, 1, 10_000),
		Tick:          time.Duration(number("PERDURE_TICK", 60, 1, 3600)) * time.Second,
		Poll:          time.Duration(number("PERDURE_POLL", 200, 10, 60_000)) * time.Millisecond,
		Leeway:        time.Duration(number("PERDURE_LEEWAY", 5, 1, 300)) * time.Second,
		MemoryMB:      number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0, 0, 10_240),
	}
	for name, value := range map[string]*bool{"PERDURE_LIST": &c.List, "PERDURE_METRICS": &c.Metrics, "PERDURE_PRINT_FAILURES": &c.PrintFailures} {
		switch text := getenv(name); text {
		case "yes":
			*value = true
		case "no", "":
		default:
			errs = append(errs, fmt.Errorf("%s is %q: it must be yes or no", name, text))
		}
	}
	if c.Table == "" {
		errs = append(errs, errors.New("PERDURE_TABLE is not set: it must name the DynamoDB table"))
	}
	level := cmp.Or(getenv("PERDURE_LOG_LEVEL"), "INFO")
	if err := c.LogLevel.UnmarshalText([]byte(level)); err != nil {
		errs = append(errs, fmt.Errorf("PERDURE_LOG_LEVEL is %q: it must be DEBUG, INFO, WARN or ERROR", level))
	}
	return c, errors.Join(errs...)
}

// Options are what a program chooses in its code, where an environment variable would not do; the zero value works.
type Options struct {
	// Codec must be the same in all programs that use one table. Default core.JSON.
	Codec core.Codec
	// Limits must be the same in all programs that use one table. Default: see core.Limits.
	Limits core.Limits
	// KeepWakeups is how long a wake-up that comes before its sleeper is kept. Default 24 h.
	KeepWakeups time.Duration
	// Observer receives the events of the functions, besides the metrics. Default: none.
	Observer core.Observer
	// Flush is called before an invocation ends, for an observer that sends what it was told; its error is logged. It
	// has until ctx ends, 10 s at most. Default: none.
	Flush func(ctx context.Context) error
	// Configure may change the configuration of a loop's engine before the engine is made of it; whatever the
	// environment and the fields above say is in there already. Default: nothing is changed.
	Configure func(*core.Config)
}

// App is what a function works with between cold start and end.
type App struct {
	Config  Config
	Options Options
	Store   core.Store
	Logger  *slog.Logger

	metrics  *metrics.Gatherer // nil when no metrics are written
	failures core.Observer     // of Config.PrintFailures
}

// NewApp reads the environment and opens the store. It makes no request.
func NewApp(ctx context.Context) (*App, error) {
	config, err := ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	if config.MemoryMB > 0 && os.Getenv("GOMEMLIMIT") == "" {
		// A sixth is left to what the collector does not count.
		debug.SetMemoryLimit(int64(config.MemoryMB) << 20 * 5 / 6)
	}
	log := newLogger(config.LogLevel)
	app := &App{Config: config, Logger: log}
	if config.PrintFailures {
		app.failures = printFailures(os.Stderr)
	}
	var usage func(dynamostore.Usage)
	if config.Metrics {
		app.metrics = newMetrics(config)
		usage = app.metrics.Usage
	}
	_, app.Store, err = open(ctx, config, log, usage)
	if err != nil {
		return nil, err
	}
	return app, nil
}

// open returns the store that a configuration describes. It makes no request.
// limits returns the limits of clients, and of engines that start no tasks: what the environment says of the function that
// starts them bounds the timeouts, unless the application does.
func (c Config) limits(l core.Limits) core.Limits {
	if l.Timeout == 0 {
		l.Timeout = core.Config{FunctionTimeout: c.TaskTimeout}.LongestTimeout()
	}
	return l
}

func open(ctx context.Context, config Config, log *slog.Logger, usage func(dynamostore.Usage)) (*dynamodb.Client, *dynamostore.Store, error) {
	client, err := dynamostore.LoadClient(ctx)
	if err != nil {
		return nil, nil, err
	}
	retention := time.Duration(config.RetentionDays) * 24 * time.Hour
	if retention == 0 {
		retention = dynamostore.KeepForever
	}
	store, err := dynamostore.New(client, config.Table, dynamostore.Options{
		Shards: config.Shards, Retention: retention, List: config.List, Logger: log, Usage: usage,
	})
	return client, store, err
}

// newLogger writes JSON lines with the keys that Lambda's JSON log format knows.
func newLogger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				a.Key = "timestamp"
			case slog.MessageKey:
				a.Key = "message"
			case slog.LevelKey:
				a.Value = slog.StringValue(strings.ToUpper(a.Value.String()))
			}
			return a
		},
	})).With("function", os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
}

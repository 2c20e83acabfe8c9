// Package handler adapts the engine to AWS Lambda: it reads the functions' environment, repeats one loop per
// invocation, and answers the enqueue function's requests.
package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// Config is what the functions are told by environment variables; template.yaml sets them.
type Config struct {
	Table         string        // PERDURE_TABLE, required
	Shards        int           // PERDURE_SHARDS, default 4
	RetentionDays int           // PERDURE_RETENTION_DAYS, default 30; 0 keeps for ever
	Timeout       time.Duration // PERDURE_FUNCTION_TIMEOUT in seconds: the function's own; default 0, unknown
	Concurrency   int           // PERDURE_CONCURRENCY: attempts at once; default 100
	Tick          time.Duration // PERDURE_TICK in seconds: the schedule's interval; default 60
	Leeway        time.Duration // PERDURE_LEEWAY in seconds: how far clocks may be apart; default 5
	LogLevel      slog.Level    // PERDURE_LOG_LEVEL: DEBUG, INFO, WARN or ERROR; default INFO
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
		Concurrency:   number("PERDURE_CONCURRENCY", 100, 1, 10_000),
		Tick:          time.Duration(number("PERDURE_TICK", 60, 1, 3600)) * time.Second,
		Leeway:        time.Duration(number("PERDURE_LEEWAY", 5, 1, 300)) * time.Second,
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

// App is what a function works with between cold start and end.
type App struct {
	Config Config
	Store  core.Store
	Logger *slog.Logger
}

// NewApp reads the environment and opens the store. It makes no request.
func NewApp(ctx context.Context) (*App, error) {
	config, err := ReadConfig(os.Getenv)
	if err != nil {
		return nil, err
	}
	client, err := dynamostore.LoadClient(ctx)
	if err != nil {
		return nil, err
	}
	retention := time.Duration(config.RetentionDays) * 24 * time.Hour
	if retention == 0 {
		retention = dynamostore.KeepForever
	}
	log := newLogger(config.LogLevel)
	store, err := dynamostore.New(client, config.Table, dynamostore.Options{
		Shards: config.Shards, Retention: retention, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return &App{Config: config, Store: store, Logger: log}, nil
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

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// enqueued is what enqueue prints with --json.
type enqueued struct {
	ExecutionID string `json:"execution_id"`
}

// enqueueOptions are the flags of enqueue.
type enqueueOptions struct {
	task        string
	input, each string
	id, key     string
	startAt     string
	direct      bool
	sleeping    bool
	wait        bool
	waitTimeout time.Duration

	delay, timeout, scheduleToStart, startToFinish time.Duration
	retry                                          core.RetryPolicy
	retries                                        bool // whether any field of retry was given

	start time.Time
}

func (a *app) enqueueCommand() *cobra.Command {
	var o enqueueOptions
	cmd := &cobra.Command{
		Use:   "enqueue TASK",
		Short: "Enqueue an execution of a task, or one for each line of a file",
		Long: `enqueue makes an execution of a task and prints its id. The enqueue function does it, which knows the task: its retry
policy, its timeouts, and what its input must look like. It is named by --function or PERDURE_ENQUEUE_FUNCTION (the
stack's output EnqueueFunctionName); below perdure run it is called enqueue.

--direct writes the execution straight into the table instead, with no function in between. Nothing is known of the task
then: --timeout is required, --max-attempts and the other options count as they are given, and a sleeping task needs
--sleeping. A task that no executor knows fails as not_found after an hour.

With --each every line of a file is the input of an execution of its own. They are enqueued several at once; with
--key-prefix each has the prefix and its line's number for a key, so that running the same again makes none twice.`,
		Example: `  perdure enqueue greet --input '"world"'
  perdure enqueue place_order --input @order.json --key "order 17" --wait
  perdure enqueue greet --each names.jsonl --key-prefix import-42-
  perdure enqueue greet --input '"world"' --direct --timeout 20s --max-attempts 3`,
		Args: takes(1, "one task"),
	}
	cmd.ValidArgsFunction = a.first(a.tasks)
	o.flags(cmd.Flags())
	a.writerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.task = args[0]
		cmd.Flags().Visit(func(f *pflag.Flag) { o.retries = o.retries || f.Annotations["retry"] != nil })
		if err := o.check(cmd.Flags(), a.function); err != nil {
			return err
		}
		if o.each != "" {
			return a.enqueueEach(cmd.Context(), &o)
		}
		var input json.RawMessage // what is left out is not null: the function knows whether the task needs one
		if cmd.Flags().Changed("input") {
			var err error
			if input, err = a.readJSON("--input", o.input); err != nil {
				return err
			}
		}
		return a.enqueueOne(cmd.Context(), &o, input)
	}
	return cmd
}

func (o *enqueueOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.input, "input", "", "the input, JSON, null where that is meant; @file reads a file, - standard input; a task without input needs none")
	f.StringVar(&o.each, "each", "", "a file each line of which is the input of an execution, JSON; - reads standard input")
	f.StringVar(&o.id, "id", "", "the execution's id: up to 64 letters, digits, '-' and '_'")
	f.StringVar(&o.key, "key", "", "makes it idempotent: the same key gives the same execution")
	f.String("key-prefix", "", "with --each: the key is this and the line's number")
	f.DurationVar(&o.delay, "delay", 0, "wait before the first attempt, as in 90s or 5m, 0 for none; default the task's")
	f.StringVar(&o.startAt, "start-at", "", "when the first attempt may start: a time like 2026-11-24T18:00:00Z")
	f.DurationVar(&o.timeout, "timeout", 0, "timeout of an attempt, which the functions must have time for; default the task's")
	f.DurationVar(&o.scheduleToStart, "schedule-to-start", 0, "how long an attempt may wait for an executor; default the task's")
	f.DurationVar(&o.startToFinish, "start-to-finish", 0, "timeout of the whole execution; default the task's")
	f.IntVar(&o.retry.MaxAttempts, "max-attempts", 0, "attempts in all; with any of the retry flags they are the whole policy")
	f.DurationVar(&o.retry.BaseDelay, "retry-delay", 0, "wait before the second attempt (default 1s)")
	f.Float64Var(&o.retry.Multiplier, "retry-multiplier", 0, "what the wait grows by (default 2)")
	f.DurationVar(&o.retry.MaxDelay, "retry-max-delay", 0, "the longest wait (default 1h)")
	f.Float64Var(&o.retry.Jitter, "retry-jitter", 0, "the share of the wait, from 0 to 1, that is drawn at random and taken off")
	for _, name := range []string{"max-attempts", "retry-delay", "retry-multiplier", "retry-max-delay", "retry-jitter"} {
		f.Lookup(name).Annotations = map[string][]string{"retry": {"yes"}}
	}
	f.BoolVar(&o.direct, "direct", false, "write it straight into the table")
	f.BoolVar(&o.sleeping, "sleeping", false, "with --direct: it is a sleeping task, whose input is its key and --timeout its sleep")
	f.BoolVar(&o.wait, "wait", false, "wait until it is finished, as perdure wait does")
	f.DurationVar(&o.waitTimeout, "wait-timeout", 0, "give up the wait after this long; 0 waits for ever")
}

func (o *enqueueOptions) check(f *pflag.FlagSet, function string) error {
	prefixed := f.Changed("key-prefix")
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"delay", o.delay}, {"timeout", o.timeout}, {"schedule-to-start", o.scheduleToStart}, {"start-to-finish", o.startToFinish},
		{"retry-delay", o.retry.BaseDelay}, {"retry-max-delay", o.retry.MaxDelay},
	} {
		if d.value%time.Millisecond != 0 {
			return usagef("--%s is %s: it must be whole milliseconds", d.flag, d.value)
		}
	}
	for name, value := range map[string]float64{"retry-multiplier": o.retry.Multiplier, "retry-jitter": o.retry.Jitter} {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return usagef("--%s is %v: it must be a number", name, value)
		}
	}
	switch {
	case o.id != "" && o.key != "":
		return usagef("--id and --key cannot be used together: --key sets the id")
	case f.Changed("delay") && o.startAt != "":
		return usagef("--delay and --start-at cannot be used together")
	case o.delay < 0:
		return usagef("--delay is %s: it must not be negative", o.delay)
	case f.Changed("max-attempts") && o.retry.MaxAttempts < 1:
		return usagef("--max-attempts is %d: it must be at least 1", o.retry.MaxAttempts)
	case f.Changed("retry-multiplier") && o.retry.Multiplier == 0:
		return usagef("--retry-multiplier is 0: it must be at least 1")
	case o.each != "" && (f.Changed("input") || o.id != "" || o.key != "" || o.wait || o.sleeping):
		return usagef("--each does not go with --input, --id, --key, --sleeping and --wait")
	case prefixed && o.each == "":
		return usagef("--key-prefix is for --each: use --key")
	case o.direct && o.timeout == 0:
		return usagef("--direct needs --timeout: nothing is known of the task")
	case o.direct && o.each == "" && !f.Changed("input"):
		return usagef("--direct needs --input: nothing is known of the task")
	case f.Changed("wait-timeout") && !o.wait:
		return usagef("--wait-timeout is for --wait")
	case o.sleeping && (o.retries || f.Changed("schedule-to-start") || f.Changed("start-to-finish")):
		return usagef("--sleeping does not go with the retry flags, --schedule-to-start and --start-to-finish: a sleep has no attempts")
	case !o.direct && f.Changed("retention-days"):
		return usagef("--retention-days is for --direct: the enqueue function has its own")
	case o.sleeping && !o.direct:
		return usagef("--sleeping is for --direct: the enqueue function knows the task")
	case !o.direct && function == "":
		return usagef("which enqueue function? Use --function, or set PERDURE_ENQUEUE_FUNCTION; or --direct, see perdure enqueue --help")
	case o.waitTimeout < 0:
		return usagef("--wait-timeout is %s: it must not be negative", o.waitTimeout)
	case o.startAt != "":
		var err error
		if o.start, err = time.Parse(time.RFC3339, o.startAt); err != nil {
			return usagef("--start-at is %q: it must be a time like 2026-11-24T18:00:00Z", o.startAt)
		}
	}
	for _, name := range []string{"timeout", "schedule-to-start", "start-to-finish", "retry-delay", "retry-max-delay"} {
		// The request carries whole milliseconds, and 0 means that the flag was not given.
		if d, _ := f.GetDuration(name); f.Changed(name) && d < time.Millisecond {
			return usagef("--%s is %s: it must be at least 1ms; leave the flag out for the default", name, d)
		}
	}
	if f.Changed("delay") && o.delay == 0 {
		o.start = time.Unix(0, 0).UTC() // at once: a delay of 0 in the request would mean the task's own
	}
	if prefixed {
		o.key, _ = f.GetString("key-prefix") // it exists
	}
	return nil
}

// enqueuer makes one execution and returns its id.
type enqueuer func(ctx context.Context, input json.RawMessage, key string) (string, error)

// enqueuer returns the way in that the options say.
func (a *app) enqueuer(ctx context.Context, o *enqueueOptions) (enqueuer, error) {
	if !o.direct {
		return func(ctx context.Context, input json.RawMessage, key string) (string, error) {
			r, err := a.ask(ctx, o.request(input, key))
			return r.ExecutionID, err
		}, nil
	}
	client, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	options := core.TaskOptions{Timeout: o.timeout, Retry: o.retry, Delay: o.delay, ScheduleToStart: o.scheduleToStart, StartToFinish: o.startToFinish}
	if o.sleeping {
		task := core.NewSleepingTask[json.RawMessage](o.task, core.TaskOptions{Timeout: o.timeout})
		if _, err := core.NewRegistry(task); err != nil {
			return nil, err
		}
		return func(ctx context.Context, input json.RawMessage, _ string) (string, error) {
			var sleepKey string
			if err := json.Unmarshal(input, &sleepKey); err != nil {
				return "", usagef("--input of a sleeping task is its key, a JSON text: %w", err)
			}
			return idOf(task.EnqueueWith(ctx, client, sleepKey, core.EnqueueOptions{ID: o.id, Key: o.key, StartAt: o.start, Delay: o.delay}))
		}, nil
	}
	task := core.NewTask(o.task, func(context.Context, json.RawMessage) (json.RawMessage, error) {
		return nil, errors.New("the command line runs no tasks")
	}, options)
	if _, err := core.NewRegistry(task); err != nil {
		return nil, err
	}
	return func(ctx context.Context, input json.RawMessage, key string) (string, error) {
		return idOf(task.EnqueueWith(ctx, client, input, core.EnqueueOptions{ID: o.id, Key: key, StartAt: o.start}))
	}, nil
}

func idOf[Out any](h *core.Handle[Out], err error) (string, error) {
	if h == nil {
		return "", err
	}
	return h.ID(), err
}

// request returns what the enqueue function is asked.
func (o *enqueueOptions) request(input json.RawMessage, key string) handler.Request {
	r := handler.Request{
		Action: "enqueue", Task: o.task, Input: input, ExecutionID: o.id, Key: key, StartAt: o.start,
		DelayMS: o.delay.Milliseconds(), TimeoutMS: o.timeout.Milliseconds(),
		ScheduleToStartMS: o.scheduleToStart.Milliseconds(), StartToFinishMS: o.startToFinish.Milliseconds(),
	}
	if o.retries {
		r.Retry = &handler.Retry{
			MaxAttempts: o.retry.MaxAttempts, BaseDelayMS: o.retry.BaseDelay.Milliseconds(), Multiplier: o.retry.Multiplier,
			MaxDelayMS: o.retry.MaxDelay.Milliseconds(), Jitter: o.retry.Jitter,
		}
	}
	return r
}

func (a *app) enqueueOne(ctx context.Context, o *enqueueOptions, input json.RawMessage) error {
	var client *core.Client
	if o.wait { // what waiting lacks is told before anything is enqueued
		var err error
		if client, err = a.open(ctx); err != nil {
			return err
		}
	}
	enqueue, err := a.enqueuer(ctx, o)
	if err != nil {
		return err
	}
	id, err := enqueue(ctx, compact(input), o.key)
	switch _, code := classify(err); {
	case code == handler.CodeAlreadyExists && o.id != "":
		return fmt.Errorf("%w: run perdure get %s to see it, or choose another --id", err, o.id)
	case err != nil:
		return err
	case o.wait:
		if !a.json {
			_, _ = fmt.Fprintln(a.Err, id)
		}
		return a.wait(ctx, client, id, waitBound{"--wait-timeout", o.waitTimeout})
	case a.json:
		return a.printJSON(enqueued{id})
	}
	return a.line("%s", id)
}

// compact returns JSON without what only people need: it is stored as it is given.
func compact(data json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(data) == 0 {
		return nil
	}
	if json.Compact(&b, data) != nil {
		return data
	}
	return b.Bytes()
}

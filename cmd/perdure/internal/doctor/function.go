package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// function is one of the application's Lambda functions.
type function struct {
	types.FunctionConfiguration
	program string // the value of PERDURE_FUNCTION that it has, or by its name would have
}

func (f function) name() string           { return aws.ToString(f.FunctionName) }
func (f function) arn() string            { return aws.ToString(f.FunctionArn) }
func (f function) timeout() time.Duration { return time.Duration(aws.ToInt32(f.Timeout)) * time.Second }
func (f function) runsTasks() bool {
	return f.program == string(core.LoopStartReady) || f.program == string(core.LoopProcessChildren)
}
func (f function) loop() bool { return slices.Contains(core.Loops(), core.Loop(f.program)) }
func (f function) env(name string) string {
	if f.Environment == nil {
		return ""
	}
	return f.Environment.Variables[name]
}

// programs are all values of PERDURE_FUNCTION.
func programs() []string {
	var all []string
	for _, l := range core.Loops() {
		all = append(all, string(l))
	}
	return append(all, handler.EnqueueFunction)
}

// functions returns the functions that work on the table, sorted by their names: by their variable PERDURE_TABLE, and
// what each is by PERDURE_FUNCTION, or else by its name.
func (p *Patient) functions(ctx context.Context) ([]function, error) {
	var all []function
	pages := lambda.NewListFunctionsPaginator(p.Lambda, &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Functions {
			f := function{FunctionConfiguration: c}
			if f.env("PERDURE_TABLE") != p.Table {
				continue
			}
			if f.program = programOf(f); f.program != "" {
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b function) int { return cmp.Compare(a.name(), b.name()) })
	return all, nil
}

// programOf returns which of the engine's functions one is; empty for one of the application's own.
func programOf(f function) string {
	if program := f.env(handler.FunctionVariable); program != "" {
		if slices.Contains(programs(), program) {
			return program
		}
		return ""
	}
	plain := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(f.name()))
	for _, program := range programs() {
		if strings.Contains(plain, strings.ReplaceAll(program, "_", "")+"function") || strings.HasSuffix(plain, strings.ReplaceAll(program, "_", "")) {
			return program
		}
	}
	return ""
}

func keepsList(functions []function) bool {
	return slices.ContainsFunc(functions, func(f function) bool { return f.env("PERDURE_LIST") == "yes" })
}

func (p *Patient) checkFunctions(ctx context.Context, r *report, functions []function) {
	before := len(r.findings)
	for _, program := range programs() {
		n := 0
		for _, f := range functions {
			if f.program == program {
				n++
			}
		}
		switch {
		case n == 0 && program == handler.EnqueueFunction:
			r.warn("functions", "there is no enqueue function: other languages and the command line cannot enqueue", "deploy the template's EnqueueFunction")
		case n == 0:
			r.fail("functions", fmt.Sprintf("no function of table %s serves the loop %s", p.Table, program),
				fmt.Sprintf("deploy one with PERDURE_TABLE=%s and %s=%s, as the template does", p.Table, handler.FunctionVariable, program))
		case n > 1:
			r.warn("functions", fmt.Sprintf("%d functions serve %s", n, program), "delete those that are left from before")
		}
	}
	for _, f := range functions {
		if f.State != "" && f.State != types.StateActive && f.State != types.StateInactive {
			r.fail("functions", fmt.Sprintf("%s is %s: %s", f.name(), f.State, aws.ToString(f.StateReason)), "deploy it again")
		}
		out, err := p.Lambda.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: f.FunctionArn})
		if err == nil && out.ReservedConcurrentExecutions != nil && *out.ReservedConcurrentExecutions == 0 {
			r.fail("functions", f.name()+" has a reserved concurrency of 0, so it never runs",
				"aws lambda delete-function-concurrency --function-name "+f.name())
		}
	}
	if len(r.findings) == before {
		r.ok("functions", "%d functions, one for each loop and for enqueueing", len(functions))
	}
}

// checkSettings compares what must be the same in all functions.
func checkSettings(r *report, functions []function) {
	if len(functions) == 0 {
		r.skip("settings", errors.New("there are no functions"))
		return
	}
	differ := false
	for _, name := range []string{"PERDURE_SHARDS", "PERDURE_RETENTION_DAYS", "PERDURE_LIST"} {
		values := map[string][]string{}
		for _, f := range functions {
			values[f.env(name)] = append(values[f.env(name)], f.name())
		}
		if len(values) < 2 {
			continue
		}
		differ = true
		var parts []string
		for value, names := range values {
			parts = append(parts, fmt.Sprintf("%q in %s", value, strings.Join(names, ", ")))
		}
		slices.Sort(parts)
		r.fail("settings", fmt.Sprintf("%s differs: %s", name, strings.Join(parts, "; ")), "set the same in all functions")
	}
	for _, f := range functions {
		if _, err := handler.ReadConfig(f.env); err != nil {
			differ = true
			r.fail("settings", fmt.Sprintf("%s does not start: %s", f.name(), strings.ReplaceAll(err.Error(), "\n", "; ")), "set its variables as the template does")
		}
	}
	if !differ {
		r.ok("settings", "all functions have the same")
	}
}

// checkTimeouts holds the functions' timeouts against what they are told of them, and against their tasks'.
func (p *Patient) checkTimeouts(ctx context.Context, r *report, functions []function) {
	before := len(r.findings)
	for _, f := range functions {
		told, err := strconv.Atoi(cmp.Or(f.env("PERDURE_FUNCTION_TIMEOUT"), "0"))
		switch {
		case err != nil || !f.runsTasks(): // the settings' check tells what is no number
		case told == 0:
			r.warn("timeouts", f.name()+" is not told its own timeout, so it cannot refuse tasks that do not fit",
				fmt.Sprintf("set PERDURE_FUNCTION_TIMEOUT=%d", aws.ToInt32(f.Timeout)))
		case time.Duration(told)*time.Second > f.timeout():
			r.fail("timeouts", fmt.Sprintf("%s has a timeout of %s and is told %d s: tasks are killed half-way", f.name(), f.timeout(), told),
				fmt.Sprintf("set PERDURE_FUNCTION_TIMEOUT=%d, or the timeout to %d s", aws.ToInt32(f.Timeout), told))
		}
	}
	checkTaskTimeouts(r, functions)
	tasks, err := p.tasks(ctx, functions)
	if err != nil {
		r.skip("timeouts", err)
		return
	}
	longest := handler.Task{}
	for _, t := range tasks {
		if !t.Sleeping && t.TimeoutMS > longest.TimeoutMS {
			longest = t
		}
	}
	margins := time.Hour - core.Config{FunctionTimeout: time.Hour}.LongestTimeout() // what of its life no attempt has
	takes := time.Duration(longest.TimeoutMS)*time.Millisecond + margins
	for _, f := range functions {
		if f.runsTasks() && takes > f.timeout() {
			r.fail("timeouts", fmt.Sprintf("task %s may take %s, which does not fit %s's timeout of %s less %s: the function refuses to start",
				longest.Task, time.Duration(longest.TimeoutMS)*time.Millisecond, f.name(), f.timeout(), margins),
				fmt.Sprintf("raise the function's timeout to %d s (the template's TaskTimeoutSeconds), or shorten the task's", int((takes+time.Second-1)/time.Second)))
		}
	}
	if len(r.findings) == before {
		r.ok("timeouts", "the longest of %d tasks fits the functions that run them", len(tasks))
	}
}

// checkTaskTimeouts holds what all functions are told of the one that starts tasks against its timeout.
func checkTaskTimeouts(r *report, functions []function) {
	i := slices.IndexFunc(functions, func(f function) bool { return f.program == string(core.LoopStartReady) })
	if i < 0 {
		return
	}
	starts := functions[i]
	for _, f := range functions {
		told, err := strconv.Atoi(f.env("PERDURE_TASK_TIMEOUT"))
		if err == nil && told != int(aws.ToInt32(starts.Timeout)) { // the settings' check tells what is no number
			r.fail("timeouts", fmt.Sprintf("%s is told that tasks have a function of %d s, but %s has a timeout of %s", f.name(), told, starts.name(), starts.timeout()),
				fmt.Sprintf("set PERDURE_TASK_TIMEOUT=%d", aws.ToInt32(starts.Timeout)))
		}
	}
}

// tasks asks the enqueue function which tasks there are.
func (p *Patient) tasks(ctx context.Context, functions []function) ([]handler.Task, error) {
	i := slices.IndexFunc(functions, func(f function) bool { return f.program == handler.EnqueueFunction })
	if i < 0 {
		return nil, errors.New("there is no enqueue function to ask for the tasks' timeouts")
	}
	out, err := p.Lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: functions[i].FunctionArn, Payload: []byte(`{"action":"tasks"}`)})
	if err != nil {
		return nil, err
	}
	if out.FunctionError != nil {
		return nil, fmt.Errorf("%s does not answer: %s", functions[i].name(), out.Payload)
	}
	var answer handler.Response
	if err := json.Unmarshal(out.Payload, &answer); err != nil {
		return nil, fmt.Errorf("%s answers what the enqueue function does not: %w", functions[i].name(), err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s does not tell its tasks: %s", functions[i].name(), answer.Error.Message)
	}
	return answer.Tasks, nil
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/eventsource"
)

// checkStream looks whether the table's stream wakes the function that starts executions.
func (p *Patient) checkStream(ctx context.Context, r *report, table *ddbtypes.TableDescription, functions []function) {
	const fix = "deploy the template's event Stream of StartReadyFunction; until then executions start at the next tick, up to a minute later"
	i := slices.IndexFunc(functions, func(f function) bool { return f.program == string(core.LoopStartReady) })
	stream := aws.ToString(table.LatestStreamArn)
	switch {
	case i < 0:
		r.skip("stream", errors.New("no function starts executions"))
		return
	case stream == "":
		r.skip("stream", errors.New("the table has no stream"))
		return
	}
	out, err := p.Lambda.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: functions[i].FunctionName})
	if err != nil {
		r.skip("stream", err)
		return
	}
	m := slices.IndexFunc(out.EventSourceMappings, func(m types.EventSourceMappingConfiguration) bool { return aws.ToString(m.EventSourceArn) == stream })
	if m < 0 {
		r.fail("stream", "the table's stream does not invoke "+functions[i].name(), fix)
		return
	}
	mapping := out.EventSourceMappings[m]
	if state := aws.ToString(mapping.State); state != "Enabled" && state != "Enabling" && state != "Updating" && state != "Creating" {
		r.fail("stream", fmt.Sprintf("the stream's mapping is %s", state), "aws lambda update-event-source-mapping --enabled --uuid "+aws.ToString(mapping.UUID))
		return
	}
	switch passes, all := filterPasses(mapping.FilterCriteria); {
	case !passes:
		r.fail("stream", "the stream's filter keeps back executions that become ready", fix)
	case all:
		r.warn("stream", "the stream's filter lets everything through: every write invokes the function, which is paid", fix)
	default:
		r.ok("stream", "what becomes ready invokes %s", functions[i].name())
	}
}

// records of a stream: of an execution that becomes ready, and of one that is claimed.
const (
	becomesReady = `{"eventName":"MODIFY","dynamodb":{"NewImage":{"queue":{"S":"ready#00"}}}}`
	isClaimed    = `{"eventName":"MODIFY","dynamodb":{"NewImage":{"queue":{"S":"running#00"}}}}`
)

// filterPasses reports whether a filter lets through executions that become ready, and whether it does all else. What is
// not understood of it is taken for right.
func filterPasses(c *types.FilterCriteria) (ready, all bool) {
	if c == nil || len(c.Filters) == 0 {
		return true, true
	}
	for _, f := range c.Filters {
		pattern, err := eventsource.ParsePattern(aws.ToString(f.Pattern))
		if err != nil {
			return true, false
		}
		for record, passes := range map[string]*bool{becomesReady: &ready, isClaimed: &all} {
			matches, err := pattern.Match([]byte(record))
			*passes = *passes || err == nil && matches
		}
	}
	return ready, all
}

// checkSchedules looks whether each loop's function is invoked every minute.
func (p *Patient) checkSchedules(ctx context.Context, r *report, functions []function) {
	found := map[string][]schedulertypes.ScheduleSummary{}
	pages := scheduler.NewListSchedulesPaginator(p.Scheduler, &scheduler.ListSchedulesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			r.skip("schedules", err)
			return
		}
		for _, s := range page.Schedules {
			if s.Target != nil {
				found[aws.ToString(s.Target.Arn)] = append(found[aws.ToString(s.Target.Arn)], s)
			}
		}
	}
	before, loops := len(r.findings), 0
	for _, f := range functions {
		if !f.loop() {
			continue
		}
		loops++
		schedules := found[f.arn()]
		enabled := slices.IndexFunc(schedules, func(s schedulertypes.ScheduleSummary) bool { return s.State != schedulertypes.ScheduleStateDisabled })
		switch {
		case len(schedules) == 0:
			r.fail("schedules", "no schedule invokes "+f.name(), "deploy the template's event Tick: rate(1 minute)")
		case enabled < 0:
			r.fail("schedules", fmt.Sprintf("the schedule of %s is disabled", f.name()), "enable schedule "+aws.ToString(schedules[0].Name))
		default:
			p.checkSchedule(ctx, r, f, schedules[enabled])
		}
	}
	if len(r.findings) == before {
		r.ok("schedules", "%d functions are invoked every minute", loops)
	}
}

func (p *Patient) checkSchedule(ctx context.Context, r *report, f function, s schedulertypes.ScheduleSummary) {
	out, err := p.Scheduler.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: s.Name, GroupName: s.GroupName})
	if err != nil {
		r.skip("schedules", err)
		return
	}
	if rate := aws.ToString(out.ScheduleExpression); rate != "rate(1 minute)" {
		r.warn("schedules", fmt.Sprintf("%s is invoked at %s, and counts on every minute", f.name(), rate), "set rate(1 minute), or PERDURE_TICK to the seconds between two")
	}
	if t := out.Target; t != nil && t.RetryPolicy != nil && aws.ToInt32(t.RetryPolicy.MaximumRetryAttempts) > 0 {
		r.warn("schedules", fmt.Sprintf("a tick of %s that fails is tried again, and old ones may come back as a storm", f.name()), "set its MaximumRetryAttempts to 0")
	}
}

// checkDeadLetters looks where invocations go that failed, and whether any did.
func (p *Patient) checkDeadLetters(ctx context.Context, r *report, functions []function) {
	before := len(r.findings)
	queues := map[string]bool{}
	for _, f := range functions {
		if !f.loop() {
			continue
		}
		out, err := p.Lambda.GetFunctionEventInvokeConfig(ctx, &lambda.GetFunctionEventInvokeConfigInput{FunctionName: f.FunctionName})
		var missing *types.ResourceNotFoundException
		switch {
		case errors.As(err, &missing):
			r.warn("dead_letters", f.name()+" has no destination for invocations that fail: nobody hears of them", "deploy the template's EventInvokeConfig")
			continue
		case err != nil:
			r.skip("dead_letters", err)
			return
		}
		if n := aws.ToInt32(out.MaximumRetryAttempts); n > 0 {
			r.warn("dead_letters", fmt.Sprintf("failed invocations of %s are tried %d times more, and old ones may come back as a storm", f.name(), n), "set its MaximumRetryAttempts to 0")
		}
		if d := out.DestinationConfig; d == nil || d.OnFailure == nil || aws.ToString(d.OnFailure.Destination) == "" {
			r.warn("dead_letters", f.name()+" has no destination for invocations that fail: nobody hears of them", "deploy the template's EventInvokeConfig")
		} else if arn := aws.ToString(d.OnFailure.Destination); strings.Contains(arn, ":sqs:") {
			queues[arn] = true
		}
	}
	for arn := range queues {
		p.checkDeadLetterQueue(ctx, r, arn)
	}
	if len(r.findings) == before {
		r.ok("dead_letters", "no invocation has failed of late")
	}
}

func (p *Patient) checkDeadLetterQueue(ctx context.Context, r *report, arn string) {
	name := arn[strings.LastIndexByte(arn, ':')+1:]
	queue, err := p.SQS.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(name)})
	if err != nil {
		r.skip("dead_letters", err)
		return
	}
	out, err := p.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages},
	})
	if err != nil {
		r.skip("dead_letters", err)
		return
	}
	n, _ := strconv.Atoi(out.Attributes[string(sqstypes.QueueAttributeNameApproximateNumberOfMessages)]) // no number is none
	if n > 0 {
		r.fail("dead_letters", fmt.Sprintf("%d invocations failed", n),
			"read why: aws sqs receive-message --queue-url "+aws.ToString(queue.QueueUrl)+"; what they were to do the next tick does; then purge the queue")
	}
}

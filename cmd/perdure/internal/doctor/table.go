package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
)

// ttlAttribute is the attribute of the table's time to live.
const ttlAttribute = "ttl"

func (p *Patient) checkTable(ctx context.Context, r *report, table *types.TableDescription, list bool) {
	err := dynamostore.CheckTable(ctx, p.DynamoDB, p.Table, dynamostore.TableOptions{List: list})
	switch {
	case errors.Is(err, dynamostore.ErrSchema):
		for _, line := range strings.Split(err.Error(), "\n") {
			_, difference, _ := strings.Cut(line, p.Table+": ")
			if difference == "" {
				difference = line
			}
			says, fix, _ := strings.Cut(difference, ": ")
			r.fail("table", says, fix)
		}
	case err != nil:
		r.skip("table", err)
	default:
		r.ok("table", "%s has the key, the indexes and the stream that it needs", p.Table)
	}
	if table.TableStatus != types.TableStatusActive {
		r.warn("table", fmt.Sprintf("it is %s", table.TableStatus), "wait until it is ACTIVE")
	}
	for _, i := range table.GlobalSecondaryIndexes {
		if i.IndexStatus != types.IndexStatusActive && i.IndexStatus != "" {
			r.fail("table", fmt.Sprintf("index %s is %s", aws.ToString(i.IndexName), i.IndexStatus), "wait until it is ACTIVE")
		}
	}
	p.checkTTL(ctx, r)
	p.checkBackups(ctx, r, table)
}

func (p *Patient) checkTTL(ctx context.Context, r *report) {
	out, err := p.DynamoDB.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(p.Table)})
	if err != nil {
		r.skip("ttl", err)
		return
	}
	ttl := out.TimeToLiveDescription
	on := ttl != nil && (ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabled || ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabling)
	fix := fmt.Sprintf("aws dynamodb update-time-to-live --table-name %s --time-to-live-specification Enabled=true,AttributeName=%s", p.Table, ttlAttribute)
	switch {
	case !on:
		r.fail("ttl", "time to live is off: nothing is ever deleted", fix)
	case aws.ToString(ttl.AttributeName) != ttlAttribute:
		r.fail("ttl", fmt.Sprintf("time to live goes by attribute %s, not %s: nothing is ever deleted", aws.ToString(ttl.AttributeName), ttlAttribute),
			"switch it off, wait an hour, and "+fix)
	default:
		r.ok("ttl", "closed executions are deleted by attribute %s", ttlAttribute)
	}
}

func (p *Patient) checkBackups(ctx context.Context, r *report, table *types.TableDescription) {
	out, err := p.DynamoDB.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: aws.String(p.Table)})
	if err != nil {
		r.skip("backups", err)
		return
	}
	d := out.ContinuousBackupsDescription
	if d == nil || d.PointInTimeRecoveryDescription == nil || d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
		r.warn("backups", "point-in-time recovery is off: what is deleted by mistake is gone",
			"aws dynamodb update-continuous-backups --table-name "+p.Table+" --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true")
	} else {
		r.ok("backups", "point-in-time recovery is on")
	}
	if !aws.ToBool(table.DeletionProtectionEnabled) {
		r.warn("backups", "the table is not protected from being deleted", "aws dynamodb update-table --table-name "+p.Table+" --deletion-protection-enabled")
	}
}

const (
	// lateAfter is how late the oldest entry of a queue may be: two ticks and some.
	lateAfter = 3 * time.Minute
	// queueSample is how many entries of a queue are counted.
	queueSample = 100
)

// servedBy is which loop looks at a queue.
var servedBy = map[core.Queue]core.Loop{
	core.QueueReady: core.LoopStartReady, core.QueueRunning: core.LoopTimeouts, core.QueueSleeping: core.LoopTimeouts,
	core.QueueParent: core.LoopProcessChildren, core.QueueParentClaimed: core.LoopProcessChildren,
	core.QueueFinished: core.LoopClose, core.QueueClose: core.LoopClose, core.QueueClosing: core.LoopClose,
}

func (p *Patient) checkQueues(ctx context.Context, r *report, now time.Time) {
	backlogs, err := p.Store.Backlogs(ctx, now, queueSample, nil)
	if err != nil {
		r.skip("queues", err)
		return
	}
	late := false
	for _, b := range backlogs {
		switch age := now.Sub(b.Oldest); {
		case b.Depth == 0:
		case b.Queue == dynamostore.QueueQuarantine:
			late = true
			r.fail("queues", fmt.Sprintf("%d executions cannot be read and are in quarantine", b.Depth), "look for quarantine in the logs, repair the items, and restore them")
		case age > lateAfter:
			late = true
			r.fail("queues", fmt.Sprintf("the oldest entry of queue %s is %s late", b.Queue, age.Round(time.Second)),
				fmt.Sprintf("look whether the function of loop %s runs, is throttled or fails: its log, its schedule, its concurrency", servedBy[b.Queue]))
		}
	}
	if !late {
		r.ok("queues", "nothing waits for more than %s", lateAfter)
	}
}

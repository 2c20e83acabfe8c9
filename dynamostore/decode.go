package dynamostore

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// decoder reads an item and keeps the first error.
type decoder struct {
	item
	err error
}

func (d *decoder) fail(name string, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("attribute %q: %s", name, fmt.Sprintf(format, args...))
	}
}

func (d *decoder) text(name string) string {
	switch v := d.item[name].(type) {
	case nil:
		return ""
	case *types.AttributeValueMemberS:
		return v.Value
	default:
		d.fail(name, "it is a %T, not text", v)
		return ""
	}
}

func (d *decoder) int64(name string) int64 {
	switch v := d.item[name].(type) {
	case nil:
		return 0
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			d.fail(name, "%q is not a whole number", v.Value)
		}
		return n
	default:
		d.fail(name, "it is a %T, not a number", v)
		return 0
	}
}

func (d *decoder) int(name string) int {
	n := d.int64(name)
	if n < math.MinInt32 || n > math.MaxInt32 {
		d.fail(name, "%d is out of range", n)
	}
	return int(n)
}

func (d *decoder) time(name string) time.Time {
	if d.item[name] == nil {
		return time.Time{}
	}
	return time.UnixMilli(d.int64(name)).UTC()
}

func (d *decoder) duration(name string) time.Duration {
	return time.Duration(d.int64(name)) * time.Millisecond
}

func (d *decoder) bool(name string) bool {
	switch v := d.item[name].(type) {
	case nil:
		return false
	case *types.AttributeValueMemberBOOL:
		return v.Value
	default:
		d.fail(name, "it is a %T, not a boolean", v)
		return false
	}
}

func (d *decoder) payload(name, id string) core.Payload {
	switch v := d.item[name].(type) {
	case nil:
		return core.Payload{}
	case *types.AttributeValueMemberB:
		if v.Value == nil {
			return core.Payload{Data: []byte{}}
		}
		return core.Payload{Data: v.Value}
	case *types.AttributeValueMemberS:
		return core.Payload{Ref: loadedRef(id, v.Value)}
	default:
		d.fail(name, "it is a %T, not a payload", v)
		return core.Payload{}
	}
}

func (d *decoder) numbers(name string) []int {
	switch v := d.item[name].(type) {
	case nil:
		return nil
	case *types.AttributeValueMemberNS:
		out := make([]int, len(v.Value))
		for i, s := range v.Value {
			n, err := strconv.Atoi(s)
			if err != nil {
				d.fail(name, "%q is not a whole number", s)
			}
			out[i] = n
		}
		slices.Sort(out)
		return out
	default:
		d.fail(name, "it is a %T, not a number set", v)
		return nil
	}
}

// decode returns the execution of an item. Payloads that are kept in parts come without data.
func decode(it item) (*core.Execution, error) {
	d := &decoder{item: it}
	id := d.text(keyPK)
	x := &core.Execution{
		ID: id, TaskID: d.text(aTask), RootID: d.text(aRoot), SleepKey: d.text(aSleepKey),
		Timeout: d.duration(aTimeout), Delay: d.duration(aDelay), Input: d.payload(aInput, id),
		Status: core.Status(d.text(aStatus)), ExecutorID: d.text(indexExecutor),
		Attempts: d.int(aAttempts), Recoveries: d.int(aRecoveries), UnknownSince: d.time(aUnknownSince),
		RunOutput: d.payload(aRunOutput, id), Output: d.payload(aOutput, id),
		CreatedAt: d.time(aCreated), StartAt: d.time(aStart), StartedAt: d.time(aStarted), ExpiresAt: d.time(aExpires),
		WaitingForChildrenAt: d.time(aWaitChildren), WaitingForFinalizeAt: d.time(aWaitFinalize),
		FinishedAt: d.time(aFinished), UpdatedAt: d.time(aUpdated),
		CloseStatus: core.CloseStatus(d.text(aClose)), CloseExpiresAt: d.time(aCloseExpires),
		CloseRecoveries: d.int(aCloseRecov), ClosedAt: d.time(aClosed),
		NeedsCancellation: d.item[indexCancel] != nil,
		Queue:             parseQueue(d.text(indexQueue)), DueAt: d.time(indexDueAt),
		Rev: d.int64(aRev), Nonce: d.text(aNonce),
	}
	if x.RootID == "" {
		x.RootID = x.ID
	}
	if x.StartAt.IsZero() {
		x.StartAt = x.CreatedAt.Add(x.Delay)
	}
	if x.CloseStatus == "" {
		x.CloseStatus = core.CloseIdle
	}
	if parent := d.text(aParent); parent != "" {
		x.Parent = &core.Parent{ID: parent, TaskID: d.text(aParentTask), Index: d.int(aIndex), Siblings: d.int(aSiblings)}
	}
	if d.item[aFailureCode] != nil {
		x.Failure = &core.Failure{
			Code: core.FailureCode(d.text(aFailureCode)), Message: d.text(aFailure), Detail: d.payload(aFailureDetail, id),
		}
	}
	if d.item[aFamily] != nil {
		x.Family = d.family(id)
	}
	x.Retry = d.retry()
	d.check(x)
	if d.err != nil {
		return nil, fmt.Errorf("item of execution %q: %w", id, d.err)
	}
	return x, nil
}

func (d *decoder) family(id string) *core.Family {
	f := &core.Family{
		Nonce: d.text(aFamily), Size: d.int(aSize), Manifest: d.payload(aManifest, id), Spawned: d.bool(aSpawned),
		Counted: d.numbers(aCounted), FinalizeTaskID: d.text(aFinalizeTask), FinalizeCounted: d.bool(aFinalized),
		Processing: core.ProcessingStatus(d.text(aProcessing)), ProcessingExpiresAt: d.time(aProcessingEnd),
		ProcessedAt: d.time(aProcessed), Recoveries: d.int(aProcessRecov),
	}
	if f.Processing == "" {
		f.Processing = core.ProcessingIdle
	}
	return f
}

func (d *decoder) retry() core.RetryPolicy {
	var p core.RetryPolicy
	s := d.text(aRetry)
	if s == "" {
		return p
	}
	var base, limit int64
	if n, err := fmt.Sscanf(strings.ReplaceAll(s, "/", " "), "%d %d %g %d %g", &p.MaxAttempts, &base, &p.Multiplier, &limit, &p.Jitter); n != 5 || err != nil {
		d.fail(aRetry, "%q is not a retry policy", s)
	}
	p.BaseDelay, p.MaxDelay = time.Duration(base)*time.Millisecond, time.Duration(limit)*time.Millisecond
	return p
}

// check fails on what no version of this package wrote.
func (d *decoder) check(x *core.Execution) {
	switch v := d.int64(aVersion); {
	case v > schemaVersion:
		d.fail(aVersion, "schema version %d is later than %d, which this program knows: deploy the newer one", v, schemaVersion)
	case v < 1:
		d.fail(aVersion, "schema version %d does not exist", v)
	}
	switch {
	case x.ID == "":
		d.fail(keyPK, "it is missing")
	case !slices.Contains(core.Statuses(), x.Status):
		d.fail(aStatus, "%q is no status", x.Status)
	case x.Rev < 1:
		d.fail(aRev, "revision %d", x.Rev)
	case x.Queue != core.QueueNone && !slices.Contains(core.Queues(), x.Queue):
		d.fail(indexQueue, "%q is no queue", x.Queue)
	case x.Status == core.StatusWaitingForChildren && x.Family == nil, x.Status == core.StatusWaitingForFinalize && x.Family == nil:
		d.fail(aFamily, "it is missing")
	}
}

package dynamostore

import (
	"errors"
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

// count is int for what is never negative.
func (d *decoder) count(name string) int {
	n := d.int(name)
	if n < 0 {
		d.fail(name, "%d is negative", n)
	}
	return n
}

// minTime and maxTime are the beginning of the year 1 and the end of the year 9999, in ms: JSON has no other times.
const (
	minTime = -62_135_596_800_000
	maxTime = 253_402_300_799_999
)

func (d *decoder) time(name string) time.Time {
	if d.item[name] == nil {
		return time.Time{}
	}
	n := d.int64(name)
	if n < minTime || n > maxTime {
		d.fail(name, "%d is no time in ms since 1970", n)
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

func (d *decoder) duration(name string) time.Duration {
	n := d.int64(name)
	if n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		d.fail(name, "%d is no duration in ms", n)
		return 0
	}
	return time.Duration(n) * time.Millisecond
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
		ID: id, TaskID: d.text(aTask), RootID: d.text(aRoot), RootTaskID: d.text(aRootTask), SleepKey: d.text(aSleepKey),
		Timeout: d.duration(aTimeout), Delay: d.duration(aDelay), Input: d.payload(aInput, id),
		Status: core.Status(d.text(aStatus)), ExecutorID: d.text(indexExecutor),
		Attempts: d.count(aAttempts), Recoveries: d.count(aRecoveries), UnknownSince: d.time(aUnknownSince),
		SleepRound: d.count(aSleepRound), Kept: d.bool(aKept), RedriveOf: d.text(aRedriveOf), OutputOf: d.text(aOutputOf),
		Source: d.source(), ScheduleToStart: d.duration(aSchedule), StartToFinish: d.duration(aStartToFinish),
		FinishBy: d.time(aFinishBy), RunOutput: d.payload(aRunOutput, id), Output: d.payload(aOutput, id),
		CreatedAt: d.time(aCreated), StartAt: d.time(aStart), StartedAt: d.time(aStarted), ExpiresAt: d.time(aExpires),
		WaitingForChildrenAt: d.time(aWaitChildren), WaitingForFinalizeAt: d.time(aWaitFinalize),
		FinishedAt: d.time(aFinished), UpdatedAt: d.time(aUpdated),
		CloseStatus: core.CloseStatus(d.text(aClose)), CloseExpiresAt: d.time(aCloseExpires),
		CloseRecoveries: d.count(aCloseRecov), ClosedAt: d.time(aClosed),
		NeedsCancellation: d.item[indexCancel] != nil,
		Queue:             parseQueue(d.text(indexQueue)), DueAt: d.time(indexDueAt),
		Rev: d.int64(aRev), Nonce: d.text(aNonce), WriteUnits: d.count(aUnits),
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
		x.Parent = &core.Parent{ID: parent, TaskID: d.text(aParentTask), Index: d.int(aIndex), Siblings: d.count(aSiblings)}
	}
	x.RootTaskID = x.RootTask()
	if d.item[aFailureCode] != nil {
		x.Failure = &core.Failure{
			Code: core.FailureCode(d.text(aFailureCode)), Message: d.text(aFailure), Detail: d.payload(aFailureDetail, id),
			Data: d.payload(aFailureData, id), Causes: d.payload(aFailureCauses, id), TooLarge: d.bool(aFailureLimit),
		}
	}
	if d.item[aFamily] != nil {
		x.Family = d.family(id)
	}
	x.Retry = d.retry()
	d.check(x)
	if d.err != nil {
		return nil, corruptItem(id, d.err)
	}
	return x, nil
}

func (d *decoder) family(id string) *core.Family {
	f := &core.Family{
		Nonce: d.text(aFamily), Size: d.count(aSize), Manifest: d.payload(aManifest, id), Spawned: d.bool(aSpawned),
		Counted: d.numbers(aCounted), FinalizeTaskID: d.text(aFinalizeTask), FinalizeCounted: d.bool(aFinalized),
		Processing: core.ProcessingStatus(d.text(aProcessing)), ProcessingExpiresAt: d.time(aProcessingEnd),
		ProcessedAt: d.time(aProcessed), Recoveries: d.count(aProcessRecov),
	}
	if f.Processing == "" {
		f.Processing = core.ProcessingIdle
	}
	switch kind := d.int(aSequence); kind {
	case 0:
	case 1, 2:
		f.Sequential, f.Loop = true, kind == 2
	default:
		d.fail(aSequence, "%d is no kind of sequence", kind)
	}
	f.Step, f.StepDone, f.Sleepers = d.count(aStep), d.bool(aStepDone), d.bool(aSleepers)
	return f
}

func (d *decoder) source() core.Source {
	kind, id, ok := strings.Cut(d.text(aSource), ":")
	switch {
	case d.text(aSource) == "":
		return core.Source{}
	case !ok || kind != "i" && kind != "o" || id == "":
		d.fail(aSource, "%q is no source", d.text(aSource))
	}
	return core.Source{ExecutionID: id, Output: kind == "o"}
}

func (d *decoder) retry() core.RetryPolicy {
	var p core.RetryPolicy
	s := d.text(aRetry)
	if s == "" {
		return p
	}
	f := strings.Split(s, "/")
	var errs []error
	whole := func(i int, most int64) int64 {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err == nil && (n < 0 || n > most) {
			err = strconv.ErrRange
		}
		errs = append(errs, err)
		return n
	}
	broken := func(i int) float64 {
		x, err := strconv.ParseFloat(f[i], 64)
		if err == nil && !(x >= 0 && x <= 1000) { // also what is no number
			err = strconv.ErrRange
		}
		errs = append(errs, err)
		return x
	}
	if len(f) == 5 {
		const longest = math.MaxInt64 / int64(time.Millisecond)
		p.MaxAttempts, p.BaseDelay, p.Multiplier = int(whole(0, math.MaxInt32)), time.Duration(whole(1, longest))*time.Millisecond, broken(2)
		p.MaxDelay, p.Jitter = time.Duration(whole(3, longest))*time.Millisecond, broken(4)
	}
	if err := errors.Join(errs...); len(f) != 5 || err != nil {
		d.fail(aRetry, "%q is not a retry policy", s)
		return core.RetryPolicy{}
	}
	return p
}

// check fails on what no version of this package wrote.
func (d *decoder) check(x *core.Execution) {
	switch v := d.int64(aVersion); {
	case v > schemaVersion: // whatever else does not decode, it need not be wrong
		d.err = fmt.Errorf("attribute %q: %w: %d is later than %d, which this program knows: deploy the newer one",
			aVersion, errLaterVersion, v, schemaVersion)
	case v < 1:
		d.fail(aVersion, "schema version %d does not exist", v)
	}
	switch {
	case x.ID == "":
		d.fail(keyPK, "it is missing")
	case x.TaskID == "":
		d.fail(aTask, "it is missing")
	case d.item[aTimeout] == nil:
		d.fail(aTimeout, "it is missing")
	case x.CreatedAt.IsZero():
		d.fail(aCreated, "it is missing")
	case !slices.Contains(core.Statuses(), x.Status):
		d.fail(aStatus, "%q is no status", x.Status)
	case x.Queue == QueueQuarantine:
		mark := decoder{item: markOf(d.item)}
		d.fail(indexQueue, "the item is in quarantine, because of %s", mark.text("why"))
	case x.Rev < 1 || x.Rev > 1<<53:
		d.fail(aRev, "revision %d", x.Rev)
	case x.Queue != core.QueueNone && !slices.Contains(core.Queues(), x.Queue):
		d.fail(indexQueue, "%q is no queue", x.Queue)
	case (x.Queue == core.QueueNone) != x.DueAt.IsZero():
		d.fail(indexDueAt, "it is there without a queue, or missing with one")
	case x.Parent != nil && x.Parent.Index < core.FinalizeIndex:
		d.fail(aIndex, "%d is no child's place", x.Parent.Index)
	case !slices.Contains([]core.CloseStatus{core.CloseIdle, core.CloseReady, core.CloseClosing, core.CloseClosed}, x.CloseStatus):
		d.fail(aClose, "%q is no close status", x.CloseStatus)
	case (x.Status == core.StatusWaitingForChildren || x.Status == core.StatusWaitingForFinalize) && x.Family == nil:
		d.fail(aFamily, "it is missing")
	case x.Family != nil:
		d.checkFamily(x.Family)
	}
}

func (d *decoder) checkFamily(f *core.Family) {
	switch f.Processing {
	case core.ProcessingIdle, core.ProcessingProcessing, core.ProcessingProcessed:
	default:
		d.fail(aProcessing, "%q is no processing status", f.Processing)
	}
	if f.Size > maxFamily || f.Step > maxFamily {
		d.fail(aSize, "%d children, at step %d", f.Size, f.Step)
	}
	if n := len(f.Counted); n > 0 && (f.Counted[0] < 0 || f.Counted[n-1] >= core.Units(f.Size)) {
		d.fail(aCounted, "a child of %d is counted that does not exist", f.Size)
	}
}

// maxFamily is more than core allows of children, steps or iterations.
const maxFamily = 1_000_000

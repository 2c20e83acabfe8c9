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

// item is a DynamoDB item.
type item = map[string]types.AttributeValue

// schemaVersion is the version of the items that this package writes. Items of a later one are refused.
const schemaVersion = 1

// Attributes of an execution, besides those of the table's and the indexes' keys. Names are short because they
// count in the item's size. An attribute that would hold a zero value is left out.
const (
	aVersion       = "v"
	aTask          = "t"
	aRoot          = "ro" // when it is not the id
	aParent        = "p"
	aParentTask    = "pt"
	aIndex         = "i"
	aSiblings      = "sb"
	aSleepKey      = "k"
	aRetry         = "re"
	aTimeout       = "to" // ms
	aDelay         = "d"  // ms
	aInput         = "in" // payloads are binary inline, text as a reference
	aStatus        = "s"
	aAttempts      = "a"
	aRecoveries    = "rc"
	aUnknownSince  = "us" // times are ms since 1970
	aRunOutput     = "rn"
	aOutput        = "out"
	aFailureCode   = "fc"
	aFailure       = "fm"
	aFailureDetail = "fd"
	aCreated       = "ca"
	aStart         = "sa" // when it is not the creation and the delay
	aStarted       = "st"
	aExpires       = "ea"
	aWaitChildren  = "wc"
	aWaitFinalize  = "wf"
	aFinished      = "fa"
	aUpdated       = "ua"
	aFamily        = "fn" // its nonce; present in every family
	aSize          = "fs"
	aManifest      = "mf"
	aSpawned       = "sp"
	aCounted       = "dn" // number set
	aFinalizeTask  = "ft"
	aFinalized     = "fx"
	aProcessing    = "pr" // when not idle
	aProcessingEnd = "pe"
	aProcessed     = "pd"
	aProcessRecov  = "px"
	aClose         = "cs" // when not idle
	aCloseExpires  = "ce"
	aCloseRecov    = "cr"
	aClosed        = "cl"
	aRev           = "r"
	aNonce         = "n"
)

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func numbers(set []int) types.AttributeValue {
	out := make([]string, len(set))
	for i, n := range set {
		out[i] = strconv.Itoa(n)
	}
	return &types.AttributeValueMemberNS{Value: out}
}

func primaryKey(pk, sk string) item { return item{keyPK: text(pk), keySK: text(sk)} }

// encoder builds an item, leaving zero values out.
type encoder struct{ item }

func (e encoder) text(name, s string) {
	if s != "" {
		e.item[name] = text(s)
	}
}

func (e encoder) int(name string, n int) {
	if n != 0 {
		e.item[name] = number(int64(n))
	}
}

func (e encoder) time(name string, t time.Time) {
	if !t.IsZero() {
		e.item[name] = number(t.UnixMilli())
	}
}

func (e encoder) duration(name string, d time.Duration) {
	if d != 0 {
		e.item[name] = number(d.Milliseconds())
	}
}

func (e encoder) bool(name string, b bool) {
	if b {
		e.item[name] = &types.AttributeValueMemberBOOL{Value: true}
	}
}

func (e encoder) payload(name string, p core.Payload) {
	switch {
	case p.Ref != "":
		_, inner, _ := strings.Cut(p.Ref, "|")
		e.item[name] = text(inner)
	case p.Data != nil:
		e.item[name] = &types.AttributeValueMemberB{Value: p.Data}
	}
}

// encode returns the item of an execution. Its payloads must be placed: see place.
func (s *Store) encode(x *core.Execution) item {
	e := encoder{item{
		keyPK: text(x.ID), keySK: text(sortExecution), aVersion: number(schemaVersion),
		aStatus: text(string(x.Status)), aRev: number(x.Rev),
	}}
	e.text(aTask, x.TaskID)
	if x.RootID != x.ID {
		e.text(aRoot, x.RootID)
	}
	if p := x.Parent; p != nil {
		e.text(aParent, p.ID)
		e.text(aParentTask, p.TaskID)
		e.item[aIndex] = number(int64(p.Index))
		e.int(aSiblings, p.Siblings)
	}
	e.text(aSleepKey, x.SleepKey)
	e.text(aRetry, encodeRetry(x.Retry))
	e.item[aTimeout] = number(x.Timeout.Milliseconds()) // a claim computes with it
	e.duration(aDelay, x.Delay)
	e.payload(aInput, x.Input)
	e.text(indexExecutor, x.ExecutorID)
	e.int(aAttempts, x.Attempts)
	e.int(aRecoveries, x.Recoveries)
	e.time(aUnknownSince, x.UnknownSince)
	e.payload(aRunOutput, x.RunOutput)
	e.payload(aOutput, x.Output)
	if f := x.Failure; f != nil {
		e.item[aFailureCode] = text(string(f.Code))
		e.text(aFailure, f.Message)
		e.payload(aFailureDetail, f.Detail)
	}
	e.time(aCreated, x.CreatedAt)
	if !x.StartAt.Equal(x.CreatedAt.Add(x.Delay)) {
		e.time(aStart, x.StartAt)
	}
	e.time(aStarted, x.StartedAt)
	e.time(aExpires, x.ExpiresAt)
	e.time(aWaitChildren, x.WaitingForChildrenAt)
	e.time(aWaitFinalize, x.WaitingForFinalizeAt)
	e.time(aFinished, x.FinishedAt)
	e.time(aUpdated, x.UpdatedAt)
	if f := x.Family; f != nil {
		e.item[aFamily] = text(f.Nonce)
		e.int(aSize, f.Size)
		e.payload(aManifest, f.Manifest)
		e.bool(aSpawned, f.Spawned)
		if len(f.Counted) > 0 {
			e.item[aCounted] = numbers(f.Counted)
		}
		e.text(aFinalizeTask, f.FinalizeTaskID)
		e.bool(aFinalized, f.FinalizeCounted)
		if f.Processing != core.ProcessingIdle {
			e.text(aProcessing, string(f.Processing))
		}
		e.time(aProcessingEnd, f.ProcessingExpiresAt)
		e.time(aProcessed, f.ProcessedAt)
		e.int(aProcessRecov, f.Recoveries)
	}
	if x.CloseStatus != core.CloseIdle {
		e.text(aClose, string(x.CloseStatus))
	}
	e.time(aCloseExpires, x.CloseExpiresAt)
	e.int(aCloseRecov, x.CloseRecoveries)
	e.time(aClosed, x.ClosedAt)
	if x.NeedsCancellation {
		e.item[indexCancel] = text(cancelKey(shardOf(x.ExecutorID, s.opts.Shards)))
	}
	if x.Queue != core.QueueNone {
		e.item[indexQueue] = text(queueKey(x.Queue, shardOf(x.ID, s.opts.Shards)))
		e.time(indexDueAt, x.DueAt)
	}
	e.text(aNonce, x.Nonce)
	if end := s.endOfLife(x); end > 0 {
		e.item[attributeTTL] = number(end)
	}
	return e.item
}

// siblingSlack is added to the retention of children and payload parts, since an ancestor may still wait.
const siblingSlack = 365 * 24 * time.Hour

// endOfLife returns when the record may be deleted, in seconds since 1970; 0 for never.
func (s *Store) endOfLife(x *core.Execution) int64 {
	if x.ClosedAt.IsZero() || s.opts.Retention < 0 {
		return 0
	}
	end := x.ClosedAt.Add(s.opts.Retention)
	if x.Parent != nil {
		end = end.Add(siblingSlack)
	}
	return end.Unix()
}

// encodeRetry returns the policy's fields in a short text; empty for the zero policy.
func encodeRetry(p core.RetryPolicy) string {
	if p == (core.RetryPolicy{}) {
		return ""
	}
	float := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	return fmt.Sprintf("%d/%d/%s/%d/%s", p.MaxAttempts, p.BaseDelay.Milliseconds(), float(p.Multiplier),
		p.MaxDelay.Milliseconds(), float(p.Jitter))
}

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
		return core.Payload{Ref: outerRef(id, v.Value)}
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

// itemSize returns the size of an item in bytes by DynamoDB's rules: names and text in UTF-8, numbers about a
// byte for two digits and one more, sets and lists with 3 bytes for themselves and one for each element (AWS
// documentation, "DynamoDB item sizes and formats").
func itemSize(it item) int {
	size := 0
	for name, v := range it {
		size += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			size += len(v.Value)
		case *types.AttributeValueMemberB:
			size += len(v.Value)
		case *types.AttributeValueMemberN:
			size += numberSize(v.Value)
		case *types.AttributeValueMemberNS:
			size += 3
			for _, n := range v.Value {
				size += 1 + numberSize(n)
			}
		case *types.AttributeValueMemberBOOL:
			size++
		}
	}
	return size
}

func numberSize(n string) int {
	digits := strings.TrimLeft(strings.TrimPrefix(n, "-"), "0")
	size := (len(digits)+1)/2 + 1
	if strings.HasPrefix(n, "-") {
		size++
	}
	return size
}

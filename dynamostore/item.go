package dynamostore

import (
	"fmt"
	"strconv"
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
	aRootTask      = "rt" // when the rest does not tell it: core.Execution.RootTask
	aParent        = "p"
	aParentTask    = "pt"
	aIndex         = "i"
	aSiblings      = "sb"
	aSleepKey      = "k"
	aSleepRound    = "kr"
	aKept          = "kp"
	aRedriveOf     = "rd"
	aOutputOf      = "oo"
	aSource        = "io" // "o:" and the id whose output, or "i:" and the id whose input, is the input
	aSchedule      = "ss" // ms
	aStartToFinish = "sf" // ms
	aFinishBy      = "fb"
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
	aFailureData   = "fv"
	aFailureCauses = "fw"
	aFailureLimit  = "fl" // something was too large
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
	aSequence      = "sq" // 1 a chain, 2 a loop
	aStep          = "sn"
	aStepDone      = "sx"
	aSleepers      = "sl"
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
	aUnits         = "u" // write units, its own writes included
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

func (e encoder) payload(name, id string, p core.Payload) {
	switch {
	case p.Ref != "":
		e.item[name] = text(storedRef(id, p.Ref))
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
	p := x.Parent
	if p == nil && x.RootTaskID != x.TaskID || p != nil && (p.ID != x.RootID || x.RootTaskID != p.TaskID) {
		e.text(aRootTask, x.RootTaskID)
	}
	if p != nil {
		e.text(aParent, p.ID)
		e.text(aParentTask, p.TaskID)
		e.item[aIndex] = number(int64(p.Index))
		e.int(aSiblings, p.Siblings)
	}
	e.text(aSleepKey, x.SleepKey)
	e.int(aSleepRound, x.SleepRound)
	e.bool(aKept, x.Kept)
	e.text(aRedriveOf, x.RedriveOf)
	e.text(aOutputOf, x.OutputOf)
	e.text(aSource, encodeSource(x.Source))
	e.duration(aSchedule, x.ScheduleToStart)
	e.duration(aStartToFinish, x.StartToFinish)
	e.time(aFinishBy, x.FinishBy)
	e.text(aRetry, encodeRetry(x.Retry))
	e.item[aTimeout] = number(x.Timeout.Milliseconds()) // a claim computes with it
	e.duration(aDelay, x.Delay)
	e.payload(aInput, x.ID, x.Input)
	e.text(indexExecutor, x.ExecutorID)
	e.int(aAttempts, x.Attempts)
	e.int(aRecoveries, x.Recoveries)
	e.time(aUnknownSince, x.UnknownSince)
	e.payload(aRunOutput, x.ID, x.RunOutput)
	e.payload(aOutput, x.ID, x.Output)
	if f := x.Failure; f != nil {
		e.item[aFailureCode] = text(string(f.Code))
		e.text(aFailure, f.Message)
		e.payload(aFailureDetail, x.ID, f.Detail)
		e.payload(aFailureData, x.ID, f.Data)
		e.payload(aFailureCauses, x.ID, f.Causes)
		e.bool(aFailureLimit, f.TooLarge)
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
		e.payload(aManifest, x.ID, f.Manifest)
		e.bool(aSpawned, f.Spawned)
		switch {
		case f.Loop:
			e.int(aSequence, 2)
		case f.Sequential:
			e.int(aSequence, 1)
		}
		e.int(aStep, f.Step)
		e.bool(aStepDone, f.StepDone)
		e.bool(aSleepers, f.Sleepers)
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
		e.item[indexCancel] = text(cancelKey(cancelShard(x.ExecutorID)))
	}
	if x.Queue != core.QueueNone {
		e.item[indexQueue] = text(queueKey(x.Queue, shardOf(x.ID, s.opts.Shards)))
		e.time(indexDueAt, x.DueAt)
	}
	s.encodeList(e.item, x)
	e.text(aNonce, x.Nonce)
	e.int(aUnits, x.WriteUnits)
	if end := s.endOfLife(x); end > 0 {
		e.item[attributeTTL] = number(end)
	}
	return e.item
}

// siblingSlack is added to the retention of children and payload parts, since an ancestor may still wait.
const siblingSlack = 365 * 24 * time.Hour

// endOfLife returns when the record may be deleted, in seconds since 1970; 0 for never.
func (s *Store) endOfLife(x *core.Execution) int64 {
	switch {
	case x.Kept:
		return x.ExpiresAt.Add(time.Second - 1).Unix() // DynamoDB must not delete it before
	case x.ClosedAt.IsZero() || s.opts.Retention < 0:
		return 0
	}
	end := x.ClosedAt.Add(s.opts.Retention)
	if x.Parent != nil {
		end = end.Add(siblingSlack)
	}
	return end.Unix()
}

func encodeSource(s core.Source) string {
	switch {
	case s.ExecutionID == "":
		return ""
	case s.Output:
		return "o:" + s.ExecutionID
	}
	return "i:" + s.ExecutionID
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

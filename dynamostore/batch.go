package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// Most of what a write costs its client's processor is the request around it. So writes that would wait for others go
// together, as statements of a batch, each with its own condition: units and outcomes are those of the writes alone. A
// batch is a short cut and nothing else. Whatever in it did not plainly succeed is written again by itself, and
// recognises by its nonce what the batch has written.

const (
	// aloneAtOnce is how many requests a store has under way before further writes wait and are gathered.
	aloneAtOnce = 8
	// batchStatements is how many statements a batch has at most (AWS documentation, BatchExecuteStatement).
	batchStatements = 25
	// statementBytes is the length of the longest statement (AWS documentation, "Service, account, and table quotas",
	// PartiQL statement length).
	statementBytes = 8192
	// batchWithin is the within of every batcher outside of tests.
	batchWithin = 15 * time.Second
)

// batchAPI is what an API has that can write in batches. One that cannot is written to by single requests.
type batchAPI interface {
	BatchExecuteStatement(context.Context, *dynamodb.BatchExecuteStatementInput, ...func(*dynamodb.Options)) (*dynamodb.BatchExecuteStatementOutput, error)
}

// statement is a write of one item as PartiQL has it.
type statement struct {
	id         string
	text       string
	parameters []types.AttributeValue
	units      int // what the write is billed at, for a DynamoDB that does not tell
	turn       chan turn
}

// turn is what becomes of a statement that waited.
type turn int

const (
	written    turn = iota
	goAlone         // it is to be written by itself, and has room for that
	notPlain        // it is to be written by itself, and needs no room: it was refused in a batch, or cannot be in one
	unanswered      // the same, and the batch may have written it
)

// batcher gathers the writes that wait.
type batcher struct {
	api    batchAPI
	report func(Usage)   // nil for nobody
	within time.Duration // of a batch, all tries included; who waits for it then writes by itself
	refuse func(error)   // is told once why there are no batches

	mu      sync.Mutex
	flying  int
	waiting []*statement
	off     bool
}

// write writes a statement, together with others when as many requests are under way as may be; alone does the same
// write by itself. The error is alone's.
func (b *batcher) write(ctx context.Context, st *statement, alone func() error) error {
	switch b.enter(st) {
	case goAlone:
		defer b.leave(ctx)
		return alone()
	case notPlain, unanswered:
		return alone()
	case written:
	}
	select {
	case t := <-st.turn:
		switch t {
		case written:
			return nil
		case goAlone:
			defer b.leave(ctx)
		case unanswered:
			return doubted(alone())
		case notPlain:
		}
		return alone()
	case <-ctx.Done():
		b.withdraw(ctx, st)
		return alone() // which says that the outcome is unknown
	}
}

// doubted returns the error of a write that an earlier request, which got no answer, may have done: unless the record itself
// tells, the outcome is not known.
func doubted(err error) error {
	var conflict *core.ConflictError
	if err == nil || errors.As(err, &conflict) || errors.Is(err, core.ErrAlreadyExists) || errors.Is(err, core.ErrNotFound) ||
		errors.Is(err, core.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w: an earlier request ended without an answer: %w", core.ErrUnknownOutcome, err)
}

// enter gives a statement room for a request of its own, or makes it wait; notPlain is for one that cannot.
func (b *batcher) enter(st *statement) turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.off || st == nil || len(st.text) > statementBytes:
		return notPlain
	case b.flying < aloneAtOnce:
		b.flying++
		return goAlone
	}
	st.turn = make(chan turn, 1)
	b.waiting = append(b.waiting, st)
	return written // in its time
}

// withdraw takes a statement back that nobody waits for any more.
func (b *batcher) withdraw(ctx context.Context, st *statement) {
	b.mu.Lock()
	i := slices.Index(b.waiting, st)
	if i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
	b.mu.Unlock()
	if i >= 0 {
		return
	}
	select {
	case t := <-st.turn: // it was given room just now
		if t == goAlone {
			b.leave(ctx)
		}
	default:
	}
}

// leave gives the room of a request on, to what waits.
func (b *batcher) leave(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := b.take()
	switch len(batch) {
	case 0:
		b.flying--
	case 1:
		batch[0].turn <- goAlone
	default:
		go b.send(context.WithoutCancel(ctx), batch)
	}
}

// take takes the statements of the next batch out of those that wait, each about another item. The caller holds b.mu.
func (b *batcher) take() []*statement {
	var batch []*statement
	ids := map[string]bool{}
	b.waiting = slices.DeleteFunc(b.waiting, func(st *statement) bool {
		if len(batch) == batchStatements || ids[st.id] {
			return false
		}
		ids[st.id] = true
		batch = append(batch, st)
		return true
	})
	return batch
}

// send writes a batch. No caller's context may end it: others wait for it as well.
func (b *batcher) send(ctx context.Context, batch []*statement) {
	ctx, cancel := context.WithTimeout(ctx, b.within)
	defer cancel()
	in := &dynamodb.BatchExecuteStatementInput{Statements: make([]types.BatchStatementRequest, len(batch))}
	for i, st := range batch {
		in.Statements[i] = types.BatchStatementRequest{Statement: aws.String(st.text), Parameters: st.parameters}
	}
	if b.report != nil {
		in.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
	}
	var t tries
	out, err := b.api.BatchExecuteStatement(ctx, in, t.counted(nil)...)
	if err != nil {
		out = &dynamodb.BatchExecuteStatementOutput{}
		if definite(err) {
			b.stop(err)
		}
	}
	b.tell(batch, out, t.throttled, err)
	b.leave(ctx)
	failed := notPlain
	if t.lostBefore || t.lost || err != nil && !definite(err) {
		failed = unanswered
	}
	for i, st := range batch {
		if i < len(out.Responses) && out.Responses[i].Error == nil {
			st.turn <- written
		} else {
			st.turn <- failed
		}
	}
}

// stop ends batches: DynamoDB takes none from this client.
func (b *batcher) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.off {
		b.off = true
		b.refuse(err)
	}
	for _, st := range b.waiting {
		st.turn <- notPlain
	}
	b.waiting = nil
}

// tell reports what each of a batch's statements consumed; tries of the whole batch that were throttled count for the
// first of them.
func (b *batcher) tell(batch []*statement, out *dynamodb.BatchExecuteStatementOutput, throttled int, err error) {
	if b.report == nil {
		return
	}
	consumed := shares(batch, out)
	for i, st := range batch {
		u := Usage{Operation: "BatchExecuteStatement", ID: st.id, Part: i > 0, Throttled: throttled, Err: err}
		throttled = 0
		var refused *types.BatchStatementError
		if i < len(out.Responses) {
			refused = out.Responses[i].Error
		}
		switch {
		case err != nil:
		case refused != nil:
			u.ConditionFailed = refused.Code == types.BatchStatementErrorCodeEnumConditionalCheckFailed ||
				refused.Code == types.BatchStatementErrorCodeEnumDuplicateItem
			if u.ConditionFailed {
				u.Write = 1 // a record stays within a unit
			}
			switch refused.Code { //nolint:exhaustive // all others are no throttling
			case types.BatchStatementErrorCodeEnumThrottlingError, types.BatchStatementErrorCodeEnumRequestLimitExceeded,
				types.BatchStatementErrorCodeEnumProvisionedThroughputExceeded:
				u.Throttled++
			}
		case consumed[i] != nil:
			u.add(&u.Write, consumed[i])
		default: // DynamoDB Local does not tell
			u.Write = float64(st.units)
		}
		b.report(u)
	}
}

// shares returns what each of a batch's statements consumed; nil for one of which DynamoDB does not tell. Where the answer
// has an entry for each table, in place of one for each statement, it is split by what the statements that were written are
// billed at, less the unit of each that a condition refused.
func shares(batch []*statement, out *dynamodb.BatchExecuteStatementOutput) []*types.ConsumedCapacity {
	consumed := make([]*types.ConsumedCapacity, len(batch))
	if len(out.ConsumedCapacity) == len(batch) {
		for i := range consumed {
			consumed[i] = &out.ConsumedCapacity[i]
		}
		return consumed
	}
	var all Usage
	for i := range out.ConsumedCapacity {
		all.add(&all.Write, &out.ConsumedCapacity[i])
	}
	written, refused := 0, 0
	for i, st := range batch {
		switch {
		case i >= len(out.Responses):
		case out.Responses[i].Error == nil:
			written += st.units
		default:
			switch out.Responses[i].Error.Code { //nolint:exhaustive // no other error is billed
			case types.BatchStatementErrorCodeEnumConditionalCheckFailed, types.BatchStatementErrorCodeEnumDuplicateItem:
				refused++
			}
		}
	}
	if all.Write == 0 || written == 0 {
		return consumed
	}
	for i, st := range batch {
		part := float64(st.units) / float64(written)
		c := &types.ConsumedCapacity{CapacityUnits: aws.Float64(max(0, all.Write-float64(refused)) * part)}
		for name, units := range all.Indexes {
			if c.GlobalSecondaryIndexes == nil {
				c.GlobalSecondaryIndexes = map[string]types.Capacity{}
			}
			c.GlobalSecondaryIndexes[name] = types.Capacity{CapacityUnits: aws.Float64(units * part)}
		}
		consumed[i] = c
	}
	return consumed
}

// insertStatement is putNew as a statement.
//
//	input:     the item of a new record
//	condition: there is none with its id
//	outcome:   the item
func insertStatement(table string, it item) *statement {
	st := &statement{id: partition(it), units: putUnits(it), parameters: make([]types.AttributeValue, 0, len(it))}
	names := slices.Sorted(maps.Keys(it))
	for i, name := range names {
		st.parameters = append(st.parameters, it[name])
		names[i] = "'" + name + "': ?"
	}
	st.text = `INSERT INTO "` + table + `" VALUE {` + strings.Join(names, ", ") + "}"
	return st
}

// differenceStatement is the write primitive as a statement: see difference. It is nil for a record that has a family,
// whose counted set others add to meanwhile, and for one whose units are not known.
//
//	input:     the items before and after a transition, what the change is billed at
//	condition: the stored revision is before's
//	outcome:   the attributes that differ are as after has them; the change is billed
func differenceStatement(table string, u core.Update, before, after item, billed, alone int) *statement {
	if u.Before.Family != nil || u.After.Family != nil || u.Before.WriteUnits == 0 {
		return nil
	}
	st := &statement{id: u.After.ID, units: alone}
	assigned, removed := changes(before, after)
	var b strings.Builder
	b.WriteString(`UPDATE "` + table + `"`)
	for _, name := range assigned {
		b.WriteString(` SET "` + name + `" = ?`)
		st.parameters = append(st.parameters, after[name])
	}
	b.WriteString(` SET "` + aUnits + `" = ?`)
	st.parameters = append(st.parameters, number(int64(u.Before.WriteUnits+billed)))
	for _, name := range removed {
		b.WriteString(` REMOVE "` + name + `"`)
	}
	b.WriteString(` WHERE "` + keyPK + `" = ? AND "` + keySK + `" = ? AND "` + aRev + `" = ?`)
	st.parameters = append(st.parameters, text(u.After.ID), text(sortExecution), before[aRev])
	st.text = b.String()
	return st
}

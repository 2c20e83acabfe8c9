package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// Insert implements core.Store.
func (s *Store) Insert(ctx context.Context, executions []*core.Execution) []error {
	errs := make([]error, len(executions))
	s.apart(len(executions), func(i int) string {
		if e := executions[i]; e != nil {
			return e.ID
		}
		return ""
	}, func(i int) { errs[i] = s.insert(ctx, executions[i]) })
	return errs
}

// putNew puts a new record, whose parts are placed, which were billed at some units.
//
//	input:     a record
//	condition: there is none with its id, or one whose retention is over
//	outcome:   the record, with the units that it and its parts were billed at
func (s *Store) putNew(e, placed *core.Execution, billed int) *dynamodb.PutItemInput {
	it := s.encode(placed)
	it[aUnits] = number(int64(billed + putUnits(it)))
	return &dynamodb.PutItemInput{
		TableName: aws.String(s.table), Item: it,
		ConditionExpression: aws.String("attribute_not_exists(#pk) OR attribute_exists(#kept) AND #end <= :ms" +
			" OR attribute_not_exists(#kept) AND #ttl <= :s"),
		ExpressionAttributeNames:            map[string]string{"#pk": keyPK, "#kept": aKept, "#end": aExpires, "#ttl": attributeTTL},
		ExpressionAttributeValues:           item{":ms": number(e.UpdatedAt.UnixMilli()), ":s": number(e.UpdatedAt.Unix())},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

// insert puts a new record, behind its parts and its pointer.
func (s *Store) insert(ctx context.Context, e *core.Execution) error {
	if err := core.CheckRecord(e); err != nil {
		return err
	}
	if err := s.announceShards(ctx); err != nil {
		return err
	}
	if e.Nonce == "" {
		named := *e
		named.Nonce = core.NewNonce()
		e = &named
	}
	placed, parts := s.place(e, nil)
	if err := s.putParts(ctx, e, parts); err != nil {
		return err
	}
	if e.Parent != nil && !core.DerivedID(e.ID) {
		if err := s.putPointer(ctx, e); err != nil {
			return err
		}
	}
	put := s.putNew(e, placed, s.partUnits(e, parts))
	err := s.batches.write(ctx, insertStatement(s.table, put.Item), func() error {
		_, err := s.api.PutItem(ctx, put)
		if old, failed := conditionFailed(err); failed {
			d := decoder{item: old}
			if d.text(aNonce) != e.Nonce {
				return fmt.Errorf("execution %s: %w", e.ID, core.ErrAlreadyExists)
			}
			return nil
		}
		return writeError(s.where, err)
	})
	if err == nil {
		tellPlaces(e, placed)
		e.WriteUnits = unitsOf(put.Item)
	}
	return err
}

// putPointer puts the pointer of a child that has an id of its own; one that is there is as good.
func (s *Store) putPointer(ctx context.Context, child *core.Execution) error {
	it := primaryKey(child.Parent.ID, pointerKey(child))
	if end := s.partEnd(child); end > 0 {
		it[attributeTTL] = number(end)
	}
	_, err := s.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(s.table), Item: it,
		ConditionExpression:      aws.String("attribute_not_exists(#pk)"),
		ExpressionAttributeNames: map[string]string{"#pk": keyPK},
	})
	if _, there := conditionFailed(err); there {
		return nil
	}
	return writeError(s.where, err)
}

// Update implements core.Store.
func (s *Store) Update(ctx context.Context, updates []core.Update) []error {
	errs := make([]error, len(updates))
	s.apart(len(updates), func(i int) string { return updated(updates[i]) }, func(i int) { errs[i] = s.update(ctx, updates[i]) })
	return errs
}

// updated returns the id of the execution that is updated; empty for an update of nothing.
func updated(u core.Update) string {
	if u.After == nil {
		return ""
	}
	return u.After.ID
}

// update is the write primitive: see difference.
func (s *Store) update(ctx context.Context, u core.Update) error {
	if err := core.CheckUpdate(u); err != nil {
		return err
	}
	if err := s.announceShards(ctx); err != nil {
		return err
	}
	placed, parts := s.place(u.After, u.Before)
	if err := s.putParts(ctx, u.After, parts); err != nil {
		return err
	}
	before, _ := s.place(u.Before, u.Before)
	old, changed := s.encode(before), s.encode(placed)
	alone := updateUnits(old, changed)
	billed := s.partUnits(u.After, parts) + alone
	moveInList(old, changed)
	err := s.batches.write(ctx, differenceStatement(s.table, u, old, changed, billed, alone), func() error {
		x := difference(old, changed, counted(u.Before), counted(u.After))
		x.bill(billed)
		return s.updateAlone(ctx, u, x)
	})
	if err == nil {
		tellPlaces(u.After, placed)
		if u.Before.WriteUnits > 0 {
			u.After.WriteUnits = u.Before.WriteUnits + billed
		}
	}
	return err
}

// updateAlone is the write primitive as a request of its own.
func (s *Store) updateAlone(ctx context.Context, u core.Update, x *expression) error {
	_, err := s.api.UpdateItem(ctx, x.input(s.table, primaryKey(u.After.ID, sortExecution), types.ReturnValueNone))
	stored, failed := conditionFailed(err)
	switch {
	case err == nil:
		return nil
	case !failed:
		return writeError(s.where, err)
	case stored == nil:
		return fmt.Errorf("execution %s: %w", u.After.ID, core.ErrNotFound)
	}
	current, err := decode(stored)
	if err != nil {
		return err
	}
	if current.Nonce == u.After.Nonce && current.Rev == u.After.Rev {
		return nil // this very write, whose answer was lost
	}
	return &core.ConflictError{Current: current}
}

func counted(e *core.Execution) []int {
	if e.Family == nil {
		return nil
	}
	return e.Family.Counted
}

// UpdateAndInsertChildren implements core.Store.
func (s *Store) UpdateAndInsertChildren(ctx context.Context, spawns []core.Spawn) []core.SpawnResult {
	results := make([]core.SpawnResult, len(spawns))
	s.apart(len(spawns), func(i int) string { return updated(spawns[i].Update) }, func(i int) {
		if results[i].Err = s.update(ctx, spawns[i].Update); results[i].Err == nil {
			results[i].Children = s.Insert(ctx, spawns[i].Children)
		}
	})
	return results
}

// UpdateChildren implements core.Store.
func (s *Store) UpdateChildren(
	ctx context.Context, parentID string, finished bool, ev core.Event, now time.Time,
) ([]*core.Execution, error) {
	if err := core.CheckChildrenUpdate(parentID, ev); err != nil {
		return nil, err
	}
	families, err := s.Children(ctx, []string{parentID})
	if err != nil {
		return nil, err
	}
	children := families[0]
	changed := make([]*core.Execution, len(children))
	errs := make([]error, len(children))
	s.parallel(len(children), func(i int) {
		changed[i], errs[i] = s.decide(ctx, children[i], now, func(e *core.Execution) core.Event {
			if e.Status.Finished() != finished {
				return nil
			}
			return ev
		})
	})
	out := changed[:0]
	for _, e := range changed {
		if e != nil {
			out = append(out, e)
		}
	}
	return out, errors.Join(errs...)
}

// decide writes what an event makes of a record, deciding again as long as it changes meanwhile. It returns nil
// when there is no event or it is not allowed.
func (s *Store) decide(
	ctx context.Context, e *core.Execution, now time.Time, event func(*core.Execution) core.Event,
) (*core.Execution, error) {
	for {
		ev := event(e)
		if ev == nil {
			return nil, nil //nolint:nilnil // nothing is to be done, and nothing went wrong
		}
		after, err := core.Transition(e, ev, now)
		if err != nil {
			return nil, nil //nolint:nilnil,nilerr // not allowed in its state
		}
		after.Nonce = core.NewNonce()
		err = s.update(ctx, core.Update{Before: e, After: after})
		var conflict *core.ConflictError
		switch {
		case err == nil:
			return after, nil
		case !errors.As(err, &conflict):
			return nil, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		e = conflict.Current
	}
}

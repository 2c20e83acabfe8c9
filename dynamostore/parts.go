package dynamostore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

const (
	// unit is what one write request unit pays for, in bytes.
	unit = 1024
	// reserveNew is what a new record's item grows by until it is closed, without its output.
	reserveNew = 154
	// reserveLater is the same for the item of any later record.
	reserveLater = 40
	// partBytes is the size of the largest part; an item has at most 400 KB.
	partBytes = 350 << 10

	codecPlain = "p"
	codecFlate = "f" // RFC 1951

	aPartData = "b"
)

// part is an item that holds a part of a payload.
type part struct {
	sk   string
	data []byte
}

// slot is a payload of a record, with the name of its attribute.
type slot struct {
	field   string
	payload *core.Payload
	old     core.Payload // the same in the record before
}

// slots returns the payloads of a record.
func slots(e, before *core.Execution) []slot {
	var old core.Execution
	if before != nil {
		old = *before
	}
	out := []slot{
		{aInput, &e.Input, old.Input}, {aRunOutput, &e.RunOutput, old.RunOutput}, {aOutput, &e.Output, old.Output},
	}
	if e.Failure != nil {
		before := core.Failure{}
		if old.Failure != nil {
			before = *old.Failure
		}
		out = append(out, slot{aFailureDetail, &e.Failure.Detail, before.Detail}, slot{aFailureData, &e.Failure.Data, before.Data},
			slot{aFailureCauses, &e.Failure.Causes, before.Causes})
	}
	if e.Family != nil {
		s := slot{field: aManifest, payload: &e.Family.Manifest}
		if old.Family != nil {
			s.old = old.Family.Manifest
		}
		out = append(out, s)
	}
	return out
}

// place returns a copy of a record whose new payloads are inline as far as its item stays within one write
// unit, and the parts that hold the others.
func (s *Store) place(e, before *core.Execution) (*core.Execution, []part) {
	placed := shallow(e)
	var fresh []slot
	for _, sl := range slots(placed, before) {
		switch {
		case sl.payload.Ref != "":
			sl.payload.Data = nil
		case sl.payload.Data == nil:
		case sl.old.Ref == "" && sl.old.Data != nil && bytes.Equal(sl.old.Data, sl.payload.Data):
			// It is inline in the stored item.
		default:
			fresh = append(fresh, sl)
		}
	}
	if len(fresh) == 0 {
		return placed, nil
	}
	reserve := reserveLater
	if before == nil {
		reserve = reserveNew
	}
	// The smallest stay inline first.
	var parts []part
	for {
		size := itemSize(s.encode(placed)) + reserve
		largest := -1
		for i, sl := range fresh {
			if sl.payload.Ref == "" && (largest < 0 || len(sl.payload.Data) > len(fresh[largest].payload.Data)) {
				largest = i
			}
		}
		if size <= unit || largest < 0 || len(fresh[largest].payload.Data) <= 64 {
			return placed, parts
		}
		sl := fresh[largest]
		ref, more := split(sl.field, e.Nonce, sl.payload.Data)
		*sl.payload = core.Payload{Ref: outerRef(e.ID, ref.String())}
		parts = append(parts, more...)
	}
}

// tellPlaces tells the record that a write took from where its payloads are, so that its next write knows.
func tellPlaces(e, placed *core.Execution) {
	if e.Failure != nil {
		own := *e.Failure // records share it
		e.Failure = &own
	}
	to := slots(e, nil)
	for i, from := range slots(placed, nil) {
		if from.payload.Ref != "" {
			to[i].payload.Ref = from.payload.Ref
		}
	}
}

// shallow returns a copy of e whose payloads can be replaced.
func shallow(e *core.Execution) *core.Execution {
	c := *e
	if e.Failure != nil {
		f := *e.Failure
		c.Failure = &f
	}
	if e.Family != nil {
		f := *e.Family
		c.Family = &f
	}
	return &c
}

// split returns the parts of a payload, compressed when that saves a write unit.
func split(field, nonce string, data []byte) (partsRef, []part) {
	ref := partsRef{codec: codecPlain, size: len(data), field: field, nonce: nonce}
	if small := deflate(data); units(len(small)) < units(len(data)) {
		ref.codec, data = codecFlate, small
	}
	var parts []part
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), partBytes)
		parts = append(parts, part{partKey(field, nonce, len(parts)), data[:n]})
		data = data[n:]
	}
	ref.count = len(parts)
	return ref, parts
}

func units(n int) int { return (n + unit - 1) / unit }

// putParts puts the parts of a record's payloads, before the record names them. They are written once: a part
// that is there was put by an earlier try of the same write.
func (s *Store) putParts(ctx context.Context, e *core.Execution, parts []part) error {
	errs := make([]error, len(parts))
	s.parallel(len(parts), func(i int) {
		_, err := s.api.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: aws.String(s.table), Item: s.partItem(e, parts[i]),
			ConditionExpression:      aws.String("attribute_not_exists(#pk)"),
			ExpressionAttributeNames: map[string]string{"#pk": keyPK},
		})
		if _, there := conditionFailed(err); there {
			err = nil
		}
		errs[i] = writeError(s.where, err)
	})
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("put a part of execution %s: %w", e.ID, err)
		}
	}
	return nil
}

// partItem returns the item of a part of a record's payloads.
func (s *Store) partItem(e *core.Execution, p part) item {
	it := primaryKey(e.ID, p.sk)
	it[aPartData] = &types.AttributeValueMemberB{Value: p.data}
	if end := s.partEnd(e); end > 0 {
		it[attributeTTL] = number(end)
	}
	return it
}

// partEnd returns when a part that is written with a record may be deleted, in seconds since 1970; 0 for never.
func (s *Store) partEnd(e *core.Execution) int64 {
	if s.opts.Retention < 0 {
		return 0
	}
	from := e.UpdatedAt
	for _, t := range []time.Time{e.StartAt, e.ExpiresAt} {
		if t.After(from) {
			from = t
		}
	}
	return from.Add(s.opts.Retention + siblingSlack).Unix()
}

// Load implements core.Store.
func (s *Store) Load(ctx context.Context, payloads ...*core.Payload) error {
	if err := core.CheckPayloads(payloads...); err != nil {
		return err
	}
	type target struct {
		payload *core.Payload
		ref     partsRef
		keys    []item
	}
	var targets []target
	var keys []item
	for _, p := range payloads {
		if p.Loaded() {
			continue
		}
		id, inner, err := splitOuterRef(p.Ref)
		if err != nil {
			return fmt.Errorf("%w %w", core.ErrCorrupt, err)
		}
		ref, err := parseRef(inner)
		if err != nil {
			return fmt.Errorf("execution %s: %w %w", id, core.ErrCorrupt, err)
		}
		t := target{payload: p, ref: ref}
		for n := range ref.count {
			t.keys = append(t.keys, primaryKey(id, partKey(ref.field, ref.nonce, n)))
		}
		keys = append(keys, t.keys...)
		targets = append(targets, t)
	}
	items, err := s.batchGet(ctx, keys)
	if err != nil {
		return err
	}
	for _, t := range targets {
		var data []byte
		for _, key := range t.keys {
			it := items[itemID(key)]
			b, ok := it[aPartData].(*types.AttributeValueMemberB)
			if !ok {
				return fmt.Errorf("%w payload %s: a part of it is gone: %w", core.ErrCorrupt, t.payload.Ref, core.ErrNotFound)
			}
			if data == nil {
				data = b.Value // as a rule there is one
			} else {
				data = append(data, b.Value...)
			}
		}
		if t.ref.codec == codecFlate {
			if data, err = inflate(data, t.ref.size); err != nil {
				return fmt.Errorf("%w payload %s: %w", core.ErrCorrupt, t.payload.Ref, err)
			}
		}
		if len(data) != t.ref.size {
			return fmt.Errorf("%w payload %s: it has %d bytes, not %d", core.ErrCorrupt, t.payload.Ref, len(data), t.ref.size)
		}
		if data == nil {
			data = []byte{}
		}
		t.payload.Data = data
	}
	s.renew(ctx, items, time.Now())
	return nil
}

// renew keeps parts that are read when most of their time is over, since an execution may live longer than was thought
// when it was written: a loop that goes on for years reads its input at each iteration. What cannot be renewed, as by whoever
// may only read, is left as it is.
func (s *Store) renew(ctx context.Context, parts map[string]item, now time.Time) {
	if s.opts.Retention < 0 {
		return
	}
	var old []item
	for _, it := range parts {
		if d := (decoder{item: it}); it[attributeTTL] != nil && time.Unix(d.int64(attributeTTL), 0).Before(now.Add(siblingSlack/2)) {
			old = append(old, it)
		}
	}
	s.parallel(len(old), func(i int) {
		d := decoder{item: old[i]}
		if _, err := s.api.UpdateItem(ctx, s.renewPart(d.text(keyPK), d.text(keySK), now)); err != nil {
			s.opts.Logger.DebugContext(ctx, "a part is not renewed", "execution_id", d.text(keyPK), logError, err)
		}
	})
}

// renewPart puts off when a part may be deleted.
//
//	input:     the part's key
//	condition: it is there
//	outcome:   it is kept as long as one that is written now
func (s *Store) renewPart(id, part string, now time.Time) *dynamodb.UpdateItemInput {
	x := newExpression()
	x.assign(attributeTTL, number(now.Add(s.opts.Retention+siblingSlack).Unix()))
	x.when = append(x.when, "attribute_exists("+x.name(keyPK)+")")
	return x.input(s.table, primaryKey(id, part), types.ReturnValueNone)
}

package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// CountFinished implements core.Store. Counts of one parent are written together.
func (s *Store) CountFinished(ctx context.Context, now time.Time, counts []core.Count) []core.CountResult {
	merged := map[string]*core.Count{}
	var order []string
	out := make([]core.CountResult, len(counts))
	for i, c := range counts {
		if out[i].Err = core.CheckIDs(c.ParentID); out[i].Err != nil {
			continue
		}
		m := merged[c.ParentID]
		if m == nil {
			m = &core.Count{ParentID: c.ParentID}
			merged[c.ParentID] = m
			order = append(order, c.ParentID)
		}
		m.Siblings = max(m.Siblings, c.Siblings)
		m.Indexes = append(m.Indexes, c.Indexes...)
	}
	results := make([]core.CountResult, len(order))
	s.parallel(len(order), func(i int) {
		parent, err := s.countOne(ctx, now, *merged[order[i]])
		if errors.Is(err, core.ErrCorrupt) {
			err = s.putParentAside(ctx, now, order[i])
		}
		if err != nil {
			err = fmt.Errorf("count children of execution %s: %w", order[i], err)
		}
		results[i] = core.CountResult{Parent: parent, Err: err}
	})
	for i, c := range counts {
		if out[i].Err == nil {
			out[i] = results[slices.Index(order, c.ParentID)]
		}
	}
	return out
}

func (s *Store) countOne(ctx context.Context, now time.Time, c core.Count) (*core.Execution, error) {
	slices.Sort(c.Indexes)
	c.Indexes = slices.Compact(c.Indexes)
	finalize := slices.Contains(c.Indexes, core.FinalizeIndex)
	c.Indexes = slices.DeleteFunc(c.Indexes, func(index int) bool { return index < 0 })
	size := c.Siblings
	var family string
	if size == 0 || finalize || size > core.CountDirect {
		parent, err := s.getParent(ctx, c.ParentID)
		if err != nil || parent == nil || parent.Family == nil || parent.Status.Finished() {
			return parent, err
		}
		size, family = parent.Family.Size, parent.Family.Nonce
		if parent.Family.Sequential && len(c.Indexes) > 0 {
			return s.complete(ctx, now, parent, c.Indexes, finalize)
		}
		if finalize {
			if parent, err = s.complete(ctx, now, parent, nil, true); err != nil || len(c.Indexes) == 0 {
				return parent, err
			}
		}
	}
	units := slices.DeleteFunc(slices.Clone(c.Indexes), func(index int) bool { return index >= size })
	if len(units) == 0 {
		return s.getParent(ctx, c.ParentID)
	}
	if size > core.CountDirect {
		var err error
		if units, err = s.countBuckets(ctx, now, core.Count{ParentID: c.ParentID, Indexes: units}, family, size); err != nil {
			return nil, err
		}
		if len(units) == 0 {
			return nil, nil //nolint:nilnil // no bucket is whole: the parent is as it was
		}
	}
	return s.countOnParent(ctx, now, c, units, size)
}

// putParentAside puts a parent that does not decode in quarantine; to its children it is as good as gone. Once it is
// restored the check that its children exist counts those that finished meanwhile.
func (s *Store) putParentAside(ctx context.Context, now time.Time, id string) error {
	_, _, err := s.records(ctx, []entry{{id: id}}, now)
	return err
}

func (s *Store) getParent(ctx context.Context, id string) (*core.Execution, error) {
	found, err := s.Get(ctx, []string{id}, core.Filter{})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// countOnParent adds units by a plain union, or, where that may complete the set, by a write that makes the
// parent due as well.
func (s *Store) countOnParent(ctx context.Context, now time.Time, c core.Count, units []int, size int) (*core.Execution, error) {
	complete := func(parent *core.Execution) (*core.Execution, error) {
		if f := parent.Family; f != nil && (f.Size != size || f.Sequential) {
			c.Siblings = 0 // that was told wrongly
			return s.countOne(ctx, now, c)
		}
		return s.complete(ctx, now, parent, units, false)
	}
	if core.Units(size)-len(units) <= 0 {
		parent, err := s.getParent(ctx, c.ParentID)
		if err != nil || parent == nil {
			return nil, err
		}
		return complete(parent)
	}
	out, err := s.api.UpdateItem(ctx, s.countUnits(c.ParentID, units, size))
	if err == nil {
		return decode(out.Attributes)
	}
	old, failed := conditionFailed(err)
	switch {
	case !failed:
		return nil, writeError(s.where, err)
	case old == nil:
		return nil, nil //nolint:nilnil // the parent is gone: there is nothing to count
	}
	parent, err := decode(old)
	if err != nil {
		return nil, err
	}
	return complete(parent)
}

// complete writes what core.CountChildren makes of the parent, deciding again as long as it changes meanwhile.
func (s *Store) complete(ctx context.Context, now time.Time, parent *core.Execution, units []int, finalize bool) (*core.Execution, error) {
	last := parent
	after, err := s.decide(ctx, parent, now, func(e *core.Execution) core.Event {
		last = e
		return core.CountChildren{Units: units, Finalize: finalize}
	})
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil, nil //nolint:nilnil // the parent is gone: there is nothing to count
	case err != nil:
		return nil, err
	case after == nil:
		return last, nil
	}
	return after, nil
}

// countBuckets adds children to their buckets and returns the buckets that are whole.
func (s *Store) countBuckets(ctx context.Context, now time.Time, c core.Count, family string, size int) ([]int, error) {
	var buckets []int
	for _, index := range c.Indexes {
		if b := index / core.CountBucket; len(buckets) == 0 || buckets[len(buckets)-1] != b {
			buckets = append(buckets, b)
		}
	}
	var end int64
	if s.opts.Retention > 0 {
		end = now.Add(s.opts.Retention + siblingSlack).Unix()
	}
	whole := make([]bool, len(buckets))
	errs := make([]error, len(buckets))
	s.parallel(len(buckets), func(i int) {
		b := buckets[i]
		members := slices.DeleteFunc(slices.Clone(c.Indexes), func(index int) bool { return index/core.CountBucket != b })
		out, err := s.api.UpdateItem(ctx, s.countBucket(c.ParentID, bucketKey(family, b), members, core.BucketSize(size, b), end))
		if _, failed := conditionFailed(err); failed {
			whole[i] = true
			return
		}
		if err != nil {
			errs[i] = writeError(s.where, err)
			return
		}
		set, _ := out.Attributes[aCounted].(*types.AttributeValueMemberNS)
		whole[i] = set != nil && len(set.Value) >= core.BucketSize(size, b)
	})
	var done []int
	for i, b := range buckets {
		if whole[i] {
			done = append(done, b)
		}
	}
	return done, errors.Join(errs...)
}

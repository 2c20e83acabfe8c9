package dynamostore

import (
	"context"
	"errors"
	"slices"

	"github.com/perdure-dev/perdure/core"
)

// ClaimReady implements core.Store.
func (s *Store) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	if len(c.IDs) > 0 {
		return s.claimIDs(ctx, c)
	}
	l := look{queue: core.QueueReady, now: c.Now, left: c.Left, limit: c.Limit}
	return s.rounds(ctx, l, func(entries []entry) ([]*core.Execution, error) { return s.claimAll(ctx, entries, c) })
}

// claimIDs claims executions that are known by id, in the order of the ids.
func (s *Store) claimIDs(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	var swept core.Swept
	// Two claims of one id at once would leave to chance which of them wins.
	named := map[string]bool{}
	ids := slices.DeleteFunc(slices.Clone(c.IDs), func(id string) bool {
		twice := named[id]
		named[id] = true
		return twice
	})
	for len(ids) > 0 && len(swept.Executions) < c.Limit {
		entries := make([]entry, min(c.Limit-len(swept.Executions), len(ids)))
		for i := range entries {
			entries[i] = entry{id: ids[i]}
		}
		ids = ids[len(entries):]
		claimed, err := s.claimAll(ctx, entries, c)
		for _, e := range claimed {
			if e == nil {
				swept.Lost++ // its entry is not known, so it is not passed over
				continue
			}
			swept.Executions = append(swept.Executions, e)
		}
		if err != nil {
			return s.outcome(ctx, swept, err)
		}
	}
	return swept, nil
}

func (s *Store) claimAll(ctx context.Context, entries []entry, c core.ReadyClaim) ([]*core.Execution, error) {
	claimed := make([]*core.Execution, len(entries))
	errs := make([]error, len(entries))
	s.parallel(len(entries), func(i int) { claimed[i], errs[i] = s.claim(ctx, entries[i], c) })
	return claimed, errors.Join(errs...)
}

// claim starts an attempt of an execution; nil when it cannot be had.
func (s *Store) claim(ctx context.Context, e entry, c core.ReadyClaim) (*core.Execution, error) {
	if err := s.announceShards(ctx); err != nil {
		return nil, err
	}
	nonce := core.NewNonce()
	out, err := s.api.UpdateItem(ctx, s.claimReady(e.id, c, nonce))
	if err == nil {
		return decode(out.Attributes)
	}
	old, failed := conditionFailed(err)
	if !failed {
		return nil, writeError(s.where, err)
	}
	d := decoder{item: old}
	if old != nil && d.text(aNonce) == nonce {
		return decode(old) // this very claim, whose answer was lost
	}
	timeout := d.duration(aTimeout)
	switch {
	case d.int64(indexDueAt) != e.dueAt: // it is gone, somebody else was faster, or the entry is of no account
	case d.int64(aVersion) > schemaVersion:
		s.opts.Logger.ErrorContext(ctx, "an item is of a later schema version and is left alone: deploy the newer program",
			logExecution, e.id)
		s.passOver(e, c.Now, skip{until: c.Now.Add(skipUnfit)})
	case timeout > c.Left:
		s.passOver(e, c.Now, skip{until: c.Now.Add(skipUnfit), timeout: timeout})
	}
	return nil, nil //nolint:nilnil // it cannot be had
}

package dynamostore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// ClaimReady implements core.Store.
func (s *Store) ClaimReady(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	if c.Limit < 1 {
		return core.Swept{}, nil
	}
	if err := core.CheckExecutor(c.ExecutorID); err != nil {
		return core.Swept{}, err
	}
	if len(c.IDs) > 0 {
		return s.claimIDs(ctx, c)
	}
	l := look{queue: core.QueueReady, now: c.Now, dueBy: c.Look(), left: c.Left, limit: c.Limit, executor: c.ExecutorID, shared: c.Shared}
	var swept core.Swept
	for range maxRounds {
		if c.Shared {
			l.rivals, l.spread = s.others.bounds(c.ExecutorID, c.Now)
		}
		v, err := s.due(ctx, l)
		if err != nil {
			return s.outcome(ctx, swept, err)
		}
		v.note(&swept)
		all := len(v.found)
		again, err := s.claimFound(ctx, c, &l, v.found, &swept)
		if err != nil || !again || all == 0 {
			return s.outcome(ctx, swept, err)
		}
	}
	return swept, nil
}

// claimFound claims from due entries, a part of them at a time as long as it may be that others do the same. It reports
// whether another look at the queue is worth it: there is room left, and some entries came to nothing.
func (s *Store) claimFound(ctx context.Context, c core.ReadyClaim, l *look, found []entry, swept *core.Swept) (again bool, _ error) {
	for l.limit > 0 && len(found) > 0 {
		chosen, last, held := s.choose(*l, found)
		if !held.IsZero() && (swept.NextDue.IsZero() || held.Before(swept.NextDue)) {
			swept.NextDue = held
		}
		if len(chosen) == 0 {
			return false, nil
		}
		claimed, recovered, fates, err := s.claimAll(ctx, chosen, c)
		swept.Corrupt += fates[corrupt]
		before := len(swept.Executions)
		s.collect(swept, chosen, claimed, l.now)
		swept.Recovered = append(swept.Recovered, recovered...)
		swept.Lost -= len(recovered)
		took := len(swept.Executions) - before
		l.limit -= took
		if c.Shared {
			switch tell, ask := s.others.learn(c.Now, took, fates[outrun]); {
			case tell:
				s.meet(ctx, c.ExecutorID, c.Now)
			case ask:
				s.askForOthers(ctx, c.Now)
			}
			l.rivals, l.spread = s.others.bounds(c.ExecutorID, c.Now)
		}
		if err != nil {
			return false, err
		}
		again = again || took < len(chosen)
		if last || 2*fates[outrun] > len(chosen) {
			return again, nil // what is left is others', or was seen too long ago
		}
		found = slices.DeleteFunc(found, func(e entry) bool { return slices.Contains(chosen, e) })
	}
	return again && l.limit > 0, nil
}

// claimIDs claims executions that are known by id, in the order of the ids.
func (s *Store) claimIDs(ctx context.Context, c core.ReadyClaim) (core.Swept, error) {
	var swept core.Swept
	// Two claims of one id at once would leave to chance which of them wins.
	named := map[string]bool{}
	ids := slices.DeleteFunc(slices.Clone(c.IDs), func(id string) bool {
		twice := named[id]
		named[id] = true
		if twice {
			return true
		}
		none := core.CheckIDs(id) != nil // nothing can have it
		if none {
			swept.Lost++
		}
		return none
	})
	for len(ids) > 0 && len(swept.Executions) < c.Limit {
		entries := make([]entry, min(c.Limit-len(swept.Executions), len(ids)))
		for i := range entries {
			entries[i] = entry{id: ids[i], queue: core.QueueReady}
		}
		ids = ids[len(entries):]
		claimed, recovered, fates, err := s.claimAll(ctx, entries, c)
		swept.Corrupt += fates[corrupt]
		for _, e := range claimed {
			if e == nil {
				swept.Lost++ // its entry is not known, so it is not passed over
				continue
			}
			swept.Executions = append(swept.Executions, e)
		}
		swept.Recovered = append(swept.Recovered, recovered...)
		swept.Lost -= len(recovered)
		if err != nil {
			return s.outcome(ctx, swept, err)
		}
	}
	return swept, nil
}

// fate is what became of a claim.
type fate int

const (
	lost    fate = iota // it is ours, or it came to nothing
	outrun              // another executor has claimed it since the index was read
	corrupt             // the item does not decode and was put aside
	apart               // it was recovered too often for this claim: core.ReadyClaim.RecoveredBelow
)

// claimAll claims executions at once. Those that cannot be had are nil; recovered are those of them that have to run
// apart. fates has what became of each.
func (s *Store) claimAll(
	ctx context.Context, entries []entry, c core.ReadyClaim,
) (claimed, recovered []*core.Execution, fates map[fate]int, _ error) {
	claimed = make([]*core.Execution, len(entries))
	each := make([]fate, len(entries))
	errs := make([]error, len(entries))
	s.parallel(len(entries), func(i int) {
		claimed[i], each[i], errs[i] = s.claim(ctx, entries[i], c)
		if claimed[i] != nil && each[i] != apart {
			// The index may show it for a while.
			s.passOver(entry{entries[i].id, claimed[i].StartAt.UnixMilli(), core.QueueReady}, c.Now, skip{until: c.Now.Add(skipFor)})
		}
	})
	fates = map[fate]int{}
	for i, f := range each {
		fates[f]++
		if f == apart {
			recovered = append(recovered, claimed[i])
			claimed[i] = nil
		}
	}
	return claimed, recovered, fates, errors.Join(errs...)
}

// claim starts an attempt of an execution; nil when it cannot be had. One that has to run apart is returned as it is.
func (s *Store) claim(ctx context.Context, e entry, c core.ReadyClaim) (*core.Execution, fate, error) {
	if err := s.announceShards(ctx); err != nil {
		return nil, lost, err
	}
	nonce := core.NewNonce()
	out, err := s.api.UpdateItem(ctx, s.claimReady(e.id, c, nonce))
	if err == nil {
		return s.readClaimed(ctx, e, out.Attributes, c)
	}
	old, failed := conditionFailed(err)
	if !failed {
		if refused(err) {
			// DynamoDB could not compute it, from a number that is none.
			if _, n, readErr := s.records(ctx, []entry{e}, c.Now); readErr == nil && n > 0 {
				return nil, corrupt, nil
			}
		}
		return nil, lost, writeError(s.where, err)
	}
	d := decoder{item: old}
	if old != nil && d.text(aNonce) == nonce {
		return s.readClaimed(ctx, e, old, c) // this very claim, whose answer was lost
	}
	timeout := d.duration(aTimeout)
	unfit := timeout > c.Left && d.err == nil
	recovered := c.RecoveredBelow > 0 && d.count(aRecoveries) >= c.RecoveredBelow
	if unfit || recovered {
		if claimed, err := s.claimUnfit(ctx, old, c); claimed != nil || err != nil {
			return claimed, lost, err
		}
	}
	if recovered {
		if e, err := decode(old); err == nil {
			if _, recovered := c.Claim(e); recovered {
				return e, apart, nil
			}
		}
	}
	switch {
	case d.int64(indexDueAt) != e.dueAt && d.text(indexExecutor) != c.ExecutorID:
		return nil, outrun, nil
	case d.int64(indexDueAt) != e.dueAt: // or the index lags
		return nil, lost, nil
	case unfit:
		s.passOver(e, c.Now, skip{until: c.Now.Add(skipUnfit), timeout: timeout, ends: endOfWait(old)})
		return nil, lost, nil
	}
	_, f, err := s.readClaimed(ctx, e, old, c)
	return nil, f, err
}

// claimUnfit starts an attempt of an execution that does not fit the time left, or was recovered too often, where no code
// is to run: see core.StartAttempt. It is nil for any other, and when somebody else was faster.
func (s *Store) claimUnfit(ctx context.Context, old item, c core.ReadyClaim) (*core.Execution, error) {
	before, err := decode(old)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // it is put aside as any that does not decode
	}
	after, err := core.Transition(before, core.StartAttempt{
		ExecutorID: c.ExecutorID, Left: c.Left, Most: c.Most, Leeway: c.Leeway, RecoveredBelow: c.RecoveredBelow,
	}, c.Now)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // not allowed in its state
	}
	after.Nonce = core.NewNonce()
	err = s.update(ctx, core.Update{Before: before, After: after})
	if errors.Is(err, core.ErrConflict) || errors.Is(err, core.ErrNotFound) {
		return nil, nil //nolint:nilnil // somebody else was faster
	}
	if err != nil {
		return nil, err
	}
	return after, nil
}

// endOfWait returns when an execution is to be ended that waits for an executor; zero for never.
func endOfWait(it item) time.Time {
	e, err := decode(it)
	if err != nil {
		return time.Time{}
	}
	end := e.FinishBy
	if e.ScheduleToStart > 0 {
		if latest := e.StartAt.Add(e.ScheduleToStart); end.IsZero() || latest.Before(end) {
			end = latest
		}
	}
	return end
}

// readClaimed returns the execution of an item that was just claimed. One that does not decode is put aside.
func (s *Store) readClaimed(ctx context.Context, e entry, it item, c core.ReadyClaim) (*core.Execution, fate, error) {
	claimed, err := decode(it)
	if err == nil {
		return claimed, lost, nil
	}
	s.passOver(e, c.Now, skip{until: c.Now.Add(skipUnfit)})
	if s.putAside(ctx, it, c.Now, err) {
		return nil, corrupt, nil
	}
	return nil, lost, nil
}

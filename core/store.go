package core

import (
	"context"
	"time"
)

// Store keeps executions. Every implementation must pass storetest.Run; memstore is the reference.
//
// A record is only ever changed by what Transition made of it, and every write of a record but one is
// conditional on its revision: it takes effect as a whole, or not at all with an error that matches
// ErrConflict. The one exception is the counting union of CountFinished. A write whose record already
// carries the write's own nonce has taken effect before (its answer was lost) and succeeds. Calls on several
// records are not atomic together: each record is written or not by itself.
//
// Queue entries are read from an index that may lag behind the records, late and out of order. An entry is a
// hint: it is held against the record's own Queue and DueAt, then the conditional write decides. Nothing
// else is read from an index but List, by which nothing is decided.
//
// Claims and expiries treat entries that are due at Now, oldest due first (by what the index shows), at most
// Limit, and return the executions as they are after the change, in that order. Of two callers at once
// exactly one gets an execution; the other skips it. An entry that came to nothing may be passed over for up to
// 5 s of the callers' time.
//
// Arguments out of range have one answer on every store. A limit below 1 takes nothing, without a look at the queue, and a
// call about no ids or records does nothing. An error that matches ErrInvalid refuses what CheckIDs, CheckRecord, CheckUpdate,
// CheckExecutor, CheckLease, CheckChildrenUpdate and CheckPayloads refuse, and a nil parent; in a call on several records that
// of one is refused, and the others are written. What a call says twice of one record is done in the call's order.
//
// A store never reads a clock for a decision: now is an argument. Only how long a database keeps an item may go by the
// clock by which the database deletes it. Methods are safe for concurrent use. The
// records that a caller passes in or gets back are its own only as far as it does not change payload bytes
// in place; a write that took effect may have set the Ref of their payloads, and WriteUnits. An error that is not one of
// core's sentinels means that the outcome of the writes of the call is unknown; it matches ErrUnknownOutcome where the store can tell that much.
type Store interface {
	// Insert puts new records. The errors are in the order of the executions; nil means put, ErrAlreadyExists
	// that a record with that id is there, which stays as it was. One whose retention is over at the new record's UpdatedAt
	// is as good as gone, and is replaced.
	Insert(ctx context.Context, executions []*Execution) []error

	// Get reads records consistently. The results are in the order of the ids, nil for one that does not exist
	// or does not pass the filter. Payloads that do not fit the record come without Data: see Load.
	Get(ctx context.Context, ids []string, filter Filter) ([]*Execution, error)

	// GetBySleepKey is Get for the sleeping executions with the given unique keys. A wake-up that is kept for a
	// sleeper is not one.
	GetBySleepKey(ctx context.Context, keys []string) ([]*Execution, error)

	// Load fills in the Data of payloads that the store returned without. The error matches ErrCorrupt when one is gone.
	Load(ctx context.Context, payloads ...*Payload) error

	// Update writes After for each update on the condition that the stored revision is Before's. The errors are
	// in the order of the updates: nil, a *ConflictError with the record as it is, or ErrNotFound. Unions raise
	// no revision: those that went in since Before was read are kept, and an update that adds to the counted set
	// conflicts with them.
	Update(ctx context.Context, updates []Update) []error

	// UpdateAndInsertChildren is Update of a parent followed by Insert of its children. The update commits: when
	// it did not take effect no child is put. A child that exists already is left as it is; one that could not be
	// put is put later, by the parent's spawn check.
	UpdateAndInsertChildren(ctx context.Context, spawns []Spawn) []SpawnResult

	// ClaimReady applies StartAttempt to due executions in queue ready. Executions that do not fit claim.Left
	// are skipped, but for those that StartAttempt gives out all the same; those that claim.RecoveredBelow excludes are
	// skipped and returned.
	ClaimReady(ctx context.Context, claim ReadyClaim) (Swept, error)

	// ClaimChildrenFinished applies ClaimChildren to due parents in queue parent: those whose children are all
	// counted, and those that are due for the check that all children exist. Those that claim.RecoveredBelow excludes are
	// skipped and returned.
	ClaimChildrenFinished(ctx context.Context, claim Claim) (Swept, error)

	// CheckSpawn returns the indexes of the parent's committed children that do not exist, ascending, with
	// FinalizeIndex first for the finalize execution. It reads consistently.
	CheckSpawn(ctx context.Context, parent *Execution) ([]int, error)

	// CountFinished adds finished children to the sets of their parents. Doing so again changes nothing, and those
	// that a family does not have count for nothing. The results are in the order of the counts.
	CountFinished(ctx context.Context, now time.Time, counts []Count) []CountResult

	// MarkClosable takes finished executions from queue finished: it counts each on its parent, then applies
	// MarkClosable.
	MarkClosable(ctx context.Context, sweep Sweep) (Swept, error)

	// ClaimClosable applies ClaimClose to due executions in queue close.
	ClaimClosable(ctx context.Context, claim Claim) (Swept, error)

	// ExpireRunning applies ExpireLease to due executions in queue running.
	ExpireRunning(ctx context.Context, sweep Sweep) (Swept, error)

	// ExpireSleeping applies ExpireSleep to due executions in queue sleeping.
	ExpireSleeping(ctx context.Context, sweep Sweep) (Swept, error)

	// ExpireChildrenFinished applies ExpireChildren to due parents in queue parent-claimed.
	ExpireChildrenFinished(ctx context.Context, sweep Sweep) (Swept, error)

	// ExpireClosing applies ExpireClose to due executions in queue closing.
	ExpireClosing(ctx context.Context, sweep Sweep) (Swept, error)

	// ClaimCancelled applies ClearCancellation to at most limit flagged executions of an executor and returns
	// them, those first that were updated first, as a rule by their cancellation; their code is to be stopped.
	ClaimCancelled(ctx context.Context, executorID string, now time.Time, limit int) ([]*Execution, error)

	// ExpireCancelled applies ClearCancellation to flagged executions whose executor's lease is over. They are due when it is.
	ExpireCancelled(ctx context.Context, sweep Sweep) (Swept, error)

	// Children returns the children of each parent, in order of their index: those made from its family, and
	// those that somebody inserted with it as their parent under ids of their own. The finalize execution
	// comes last. Of those with one index the committed one comes first. Committed children that do not exist yet are
	// left out.
	Children(ctx context.Context, parentIDs []string) ([][]*Execution, error)

	// UpdateChildren applies an event to those children of a parent that are finished, or are not, and returns
	// the changed ones in the order of Children. A child in whose state the event is not allowed is skipped.
	UpdateChildren(ctx context.Context, parentID string, finished bool, ev Event, now time.Time) ([]*Execution, error)

	// List returns a page of the root executions that match the listing (Listing.Match), in the order of their
	// Places, from the one behind After on. It finds them in an index: one that was created or has finished a moment
	// ago may be missing. Their records are read consistently and held against the listing as they are then, so that
	// nothing else is returned; those whose retention is over at now are left out. A page may have fewer executions
	// than Limit, or none, and still have a Next, so that one call reads a bounded number of entries; it has none
	// only at the end of the list. What Listing.Resolve refuses is refused. A store may keep no list: the error then
	// matches ErrNotListed and says how to switch it on.
	List(ctx context.Context, now time.Time, l Listing) (Page, error)
}

// TestStore is what tests may do to a store besides. No engine does.
type TestStore interface {
	Store
	// Delete removes an execution and all that is kept for it; it need not exist.
	Delete(ctx context.Context, id string) error
	// DeleteAll empties the store.
	DeleteAll(ctx context.Context) error
}

// Filter restricts what Get returns; the zero value restricts nothing.
type Filter struct {
	Status   Status // empty: any
	Sleeping *bool
	Finished *bool
	// UnexpiredAt leaves out records whose retention is over at that time, which the store may delete at any moment: closed
	// executions that were kept for long enough, and kept wake-ups whose ExpiresAt has come. The engine reads them as long as
	// they are there; to users they are gone. Zero leaves out none.
	UnexpiredAt time.Time
}

// Match reports whether e passes the filter, as far as its record tells: how long closed executions are kept is the store's
// to know.
func (f Filter) Match(e *Execution) bool {
	return (!e.Kept || f.UnexpiredAt.IsZero() || e.ExpiresAt.After(f.UnexpiredAt)) &&
		(f.Status == "" || f.Status == e.Status) &&
		(f.Sleeping == nil || *f.Sleeping == e.Sleeping()) &&
		(f.Finished == nil || *f.Finished == e.Status.Finished())
}

// Update is one conditional write: After replaces Before. After is made by Transition and carries a nonce of
// its own.
type Update struct{ Before, After *Execution }

// Spawn is an Update of a parent with the children that it commits to.
type Spawn struct {
	Update
	Children []*Execution
}

// SpawnResult is what became of a Spawn.
type SpawnResult struct {
	// Err is Update's.
	Err error
	// Children are Insert's errors, in the order of the children; nil when Err is not.
	Children []error
}

// Sweep bounds a sweep over a queue.
type Sweep struct {
	Now   time.Time
	Limit int // below 1 nothing is looked at
	// MaxRecoveries is how often a claim may run out before its execution fails.
	MaxRecoveries int
}

// Claim bounds a sweep that gives executions to an executor until ExpiresAt.
type Claim struct {
	Sweep
	ExecutorID string    // of a claim of parents
	ExpiresAt  time.Time // not zero
	// RecoveredBelow is ReadyClaim's, for the processing of parents. It concerns ClaimChildrenFinished alone.
	RecoveredBelow int
}

// ReadyClaim bounds a claim of ready executions. The lease of each ends its timeout and Leeway after Now.
type ReadyClaim struct {
	Now        time.Time
	Limit      int           // of executions claimed; below 1 nothing is looked at
	ExecutorID string        // not empty
	Left       time.Duration // what is left of the executor's life
	Most       time.Duration // the longest timeout that any executor has time for; 0 for no bound
	Leeway     time.Duration
	// Shared says that other executors may claim from the same queue. A store in which a lost claim costs something may
	// then leave some of the due executions to them for a few seconds, and others than the oldest, so that they do not all
	// want the same.
	Shared bool
	// DueBy, when not zero, makes a look at the queue leave alone what became due after it, as what is not due yet.
	DueBy time.Time
	// IDs, when not empty, are claimed as far as they are due, without looking at the queue, and returned in
	// their order here. They are hints: what CheckIDs refuses is lost, as what is not due.
	IDs []string
	// RecoveredBelow leaves executions alone that were recovered that often or more, and returns them in Swept.Recovered: they
	// have to run apart. 0 leaves none.
	RecoveredBelow int
}

// Look returns the time at which the queue is looked at: what is due later is left alone.
func (c ReadyClaim) Look() time.Time {
	if c.DueBy.IsZero() {
		return c.Now
	}
	return c.DueBy
}

// Claim returns the execution as the claim makes it. One that it may not have is nil; apart tells that this is for
// RecoveredBelow alone.
func (c ReadyClaim) Claim(e *Execution) (claimed *Execution, apart bool) {
	ev := StartAttempt{ExecutorID: c.ExecutorID, Left: c.Left, Most: c.Most, Leeway: c.Leeway, RecoveredBelow: c.RecoveredBelow}
	if claimed, err := Transition(e, ev, c.Now); err == nil {
		return claimed, false
	}
	ev.RecoveredBelow = 0
	_, err := Transition(e, ev, c.Now)
	return nil, err == nil
}

// Claim is ReadyClaim.Claim for a parent.
func (c Claim) Claim(e *Execution) (claimed *Execution, apart bool) {
	ev := ClaimChildren{ExecutorID: c.ExecutorID, ExpiresAt: c.ExpiresAt, RecoveredBelow: c.RecoveredBelow}
	if claimed, err := Transition(e, ev, c.Now); err == nil {
		return claimed, false
	}
	ev.RecoveredBelow = 0
	_, err := Transition(e, ev, c.Now)
	return nil, err == nil
}

// Swept is what a sweep did.
type Swept struct {
	// Executions are the changed records, oldest due first. They are the caller's even when there is an error
	// beside them, which then says that others could not be treated.
	Executions []*Execution
	// Recovered are executions that a claim left alone for its RecoveredBelow, unchanged and as far as the store came across
	// them.
	Recovered []*Execution
	// NextDue is when another look at the queue is worth it, after Now: the earliest due time that the sweep saw in it,
	// or when it may take what it leaves to other executors for now. Zero when there is none.
	NextDue time.Time
	// Due counts the entries that were due at Now when the sweep first looked, whatever became of them, those included
	// that it passes over for now. It is at least 1 where there was one, and may stop counting at what the sweep was to
	// take: it costs nothing that the sweep does not read anyway. OldestDue is the due time of the oldest of them. Claims
	// by id do not tell.
	Due       int
	OldestDue time.Time
	// Corrupt counts due entries whose record cannot be read and that the store took out of the queue, for a person to
	// look at.
	Corrupt int
	// Lost counts due entries that came to nothing: somebody else was faster, the entry was out of date, or the
	// task did not fit what was left of the executor's life. Recovered are not among them.
	Lost int
}

// Count names children of one parent that are finished.
type Count struct {
	ParentID string
	// Siblings is the children's Parent.Siblings; 0 makes the store read the parent to learn it, as a number that is not the
	// parent's does.
	Siblings int
	Indexes  []int // FinalizeIndex for the finalize execution
}

// CountResult is what became of a Count.
type CountResult struct {
	// Parent is the parent's record after the union, or, when the parent is finished, as it is. It is nil when
	// the parent is gone, and where no bucket of a large family became whole, which leaves the record as it was.
	Parent *Execution
	Err    error
}

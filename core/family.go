package core

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Family is a parent's record of its children. It names none of them: their ids are derived from the
// parent's id, Nonce and their index, so that the record stays small.
type Family struct {
	// Nonce makes the ids of this family's children unlike those of any other.
	Nonce string
	// Size is how many children are committed.
	Size int
	// Manifest is what is needed to make the children (see EncodeManifest). Of a loop it holds the present
	// iteration alone.
	Manifest Payload
	// Sequential tells that the children run one after the other: only those up to Step are committed.
	Sequential bool
	// Loop tells that the sequence is a loop: its children are iterations of one task.
	Loop bool
	// Step is the index of the last committed child of a sequence.
	Step int
	// StepDone tells that the child at Step is known to be finished.
	StepDone bool
	// Sleepers tells that children may sleep: such a child has the id of its key, not one of this family.
	Sleepers bool
	// Spawned is false while committed children, or the committed finalize task, may not all exist.
	Spawned bool
	// Counted holds the units of the children that are known to be finished, ascending: the children's indexes
	// in a family of at most CountDirect, else the numbers of the buckets of CountBucket children in which
	// every child is counted.
	Counted []int
	// FinalizeTaskID is the task of the committed finalize execution; empty before.
	FinalizeTaskID string
	// FinalizeCounted tells that the finalize execution is known to be finished.
	FinalizeCounted bool

	Processing          ProcessingStatus
	ProcessingExpiresAt time.Time
	ProcessedAt         time.Time
	// Recoveries counts the leases on the finished children's processing that ran out since the family last got on by a
	// stage: all its children exist, a step is done, the finalize task is committed.
	Recoveries int
}

const (
	// CountDirect is the size of the largest family whose children are counted one by one in their parent's
	// record, which has to stay within 1 KB.
	CountDirect = 150
	// CountBucket is how many children of a larger family are counted together beside the record.
	CountBucket = 256
)

// Units returns how many units the counted set of a whole family of the given size has.
func Units(size int) int {
	if size <= CountDirect {
		return size
	}
	return (size + CountBucket - 1) / CountBucket
}

// BucketSize returns how many children of a family of the given size, over CountDirect, fall in a bucket.
func BucketSize(size, bucket int) int {
	return min(CountBucket, size-bucket*CountBucket)
}

// AllCounted reports whether nothing that the execution waits for is unfinished: all children, or the
// finalize task.
func (e *Execution) AllCounted() bool {
	switch {
	case e.Family == nil:
		return true
	case e.Status == StatusWaitingForFinalize:
		return e.Family.FinalizeCounted
	case e.Family.Sequential:
		return e.Family.StepDone
	}
	return len(e.Family.Counted) >= Units(e.Family.Size) &&
		(e.Family.FinalizeTaskID == "" || e.Family.FinalizeCounted)
}

// ActiveChildren returns how many committed children, the finalize task included, are not counted yet. In a
// family of more than CountDirect children a bucket is taken off only when it is whole.
func (e *Execution) ActiveChildren() int {
	f := e.Family
	if f == nil {
		return 0
	}
	if f.Sequential {
		if f.StepDone {
			return 0
		}
		return 1
	}
	n := f.Size
	for _, unit := range f.Counted {
		if f.Size <= CountDirect {
			n--
		} else {
			n -= BucketSize(f.Size, unit)
		}
	}
	if f.FinalizeTaskID != "" && !f.FinalizeCounted {
		n++
	}
	return n
}

// ChildID returns the id of the execution's i-th child; i may be FinalizeIndex.
func (e *Execution) ChildID(i int) string {
	return deriveID("c.", e.ID, e.Family.Nonce, strconv.Itoa(i))
}

// ChildIndexes returns the indexes of the committed children in order, with FinalizeIndex last when the finalize
// execution is committed. It is empty for an execution without a family.
func (e *Execution) ChildIndexes() []int {
	f := e.Family
	if f == nil {
		return nil
	}
	n := f.Size
	if f.Sequential {
		n = f.Step + 1
	}
	indexes := make([]int, n, n+1)
	for i := range indexes {
		indexes[i] = i
	}
	if f.FinalizeTaskID != "" {
		indexes = append(indexes, FinalizeIndex)
	}
	return indexes
}

// openIndexes is ChildIndexes without the steps of a sequence that are known to exist and to be finished.
func (e *Execution) openIndexes() []int {
	indexes := e.ChildIndexes()
	if f := e.Family; f != nil && f.Sequential && (f.Spawned || e.RedriveOf == "") {
		indexes = indexes[f.Step:]
	}
	return indexes
}

// Reader is the part of a Store that reads records.
type Reader interface {
	Get(ctx context.Context, ids []string, filter Filter) ([]*Execution, error)
	Load(ctx context.Context, payloads ...*Payload) error
}

// CompareChildren sorts the children of one parent by their index, the finalize execution last.
func CompareChildren(a, b *Execution) int {
	place := func(e *Execution) int {
		if e.Parent.Index == FinalizeIndex {
			return math.MaxInt
		}
		return e.Parent.Index
	}
	return cmp.Compare(place(a), place(b))
}

// ReadChildren reads a parent's committed children at the given indexes, in that order; nil stands for one that
// does not exist. A sleeping child is found under its key, or, where that was taken, under its derived id.
func ReadChildren(ctx context.Context, r Reader, parent *Execution, indexes []int) ([]*Execution, error) {
	var specs []Spec
	if parent.Family != nil && parent.Family.Sleepers {
		var err error
		if specs, err = readManifest(ctx, r, parent); err != nil {
			return nil, err
		}
	}
	ids := make([]string, len(indexes))
	for n, i := range indexes {
		ids[n] = parent.ChildID(i)
	}
	sleepers := map[int]int{} // by place in ids
	for n, i := range indexes {
		if spec, ok := parent.specAt(specs, i); ok && spec.SleepKey != "" {
			sleepers[len(ids)] = n
			ids = append(ids, sleepID(spec.SleepKey, spec.SleepRound))
		}
	}
	found, err := r.Get(ctx, ids, Filter{})
	if err != nil {
		return nil, err
	}
	for at, n := range sleepers {
		if s := found[at]; s != nil && found[n] == nil && s.childOf(parent, indexes[n]) {
			found[n] = s
		}
	}
	return found[:len(indexes)], nil
}

// MissingChildren returns the indexes of the parent's committed children that do not exist, ascending, with
// FinalizeIndex first.
func MissingChildren(ctx context.Context, r Reader, parent *Execution) ([]int, error) {
	if parent == nil {
		return nil, invalidf("spawn check: the parent is nil")
	}
	indexes := parent.openIndexes()
	children, err := ReadChildren(ctx, r, parent, indexes)
	if err != nil {
		return nil, err
	}
	var missing []int
	for n, i := range indexes {
		if children[n] == nil {
			missing = append(missing, i)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// readManifest reads the specs of a parent's children; a parent of none has no manifest.
func readManifest(ctx context.Context, r Reader, parent *Execution) ([]Spec, error) {
	manifest := parent.Family.Manifest
	if manifest.IsZero() {
		return nil, nil
	}
	if err := r.Load(ctx, &manifest); err != nil {
		return nil, err
	}
	specs, err := DecodeManifest(manifest.Data)
	if err != nil {
		return nil, fmt.Errorf("execution %s: %w", parent.ID, err)
	}
	return specs, nil
}

// specAt returns the spec of the child at index i. The manifest of a loop ends with its present iteration.
func (e *Execution) specAt(specs []Spec, i int) (Spec, bool) {
	if e.Family.Loop {
		i += len(specs) - 1 - e.Family.Step
	}
	if i < 0 || i >= len(specs) {
		return Spec{}, false
	}
	return specs[i], true
}

// childOf reports whether the execution is the parent's child at index i.
func (e *Execution) childOf(parent *Execution, i int) bool {
	return e.Parent != nil && e.Parent.ID == parent.ID && e.Parent.Index == i
}

// SleepID returns the id of the execution that sleeps under a unique key, the first of them where some were
// redriven.
func SleepID(key string) string { return sleepID(key, 0) }

func sleepID(key string, round int) string {
	if round == 0 {
		return deriveID("s.", key)
	}
	return deriveID("s.", key, strconv.Itoa(round))
}

// KeyID returns the id of the execution that was enqueued with an idempotency key.
func KeyID(key string) string { return deriveID("k.", key) }

// RedriveID returns the id of the execution that redrives another one.
func RedriveID(id string) string { return deriveID("r.", id) }

// DerivedID reports whether the id is one that children have: derived from a parent or from a sleeper's key. No
// id that a caller may choose is.
func DerivedID(id string) bool { return strings.HasPrefix(id, "c.") || strings.HasPrefix(id, "s.") }

// idEncoding has lower-case letters and digits only.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// deriveID hashes the parts, each with its length so that no two lists of parts run together, to 120 bits.
func deriveID(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // a hash takes everything
	}
	return prefix + idEncoding.EncodeToString(h.Sum(nil)[:15])
}

// NewID returns a new random execution id of 26 letters and digits (130 bits of room, 128 used).
func NewID() string { return randomText(16) }

// NewNonce returns a new random nonce of 13 letters and digits (64 bits).
func NewNonce() string { return randomText(8) }

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return idEncoding.EncodeToString(b)
}

// manifestEntry is the persisted form of a child's spec. An input that is JSON is kept as it is, any other as
// base64.
type manifestEntry struct {
	TaskID          string          `json:"t"`
	JSON            json.RawMessage `json:"i,omitempty"`
	Bytes           []byte          `json:"b,omitzero"`
	Retry           *RetryPolicy    `json:"r,omitempty"`
	Timeout         int64           `json:"m"`
	ScheduleToStart int64           `json:"q,omitempty"`
	StartToFinish   int64           `json:"f,omitempty"`
	Delay           int64           `json:"d,omitempty"`
	SleepKey        string          `json:"k,omitempty"`
	SleepRound      int             `json:"kr,omitempty"`
	RedriveOf       string          `json:"ro,omitempty"`
	OutputOf        string          `json:"o,omitempty"`
}

// EncodeManifest encodes the specs of a family's children, without their sources.
func EncodeManifest(specs []Spec) ([]byte, error) {
	entries := make([]manifestEntry, len(specs))
	for i, s := range specs {
		m := manifestEntry{
			TaskID: s.TaskID, SleepKey: s.SleepKey, SleepRound: s.SleepRound, RedriveOf: s.RedriveOf, OutputOf: s.OutputOf,
			Timeout: s.Timeout.Milliseconds(), Delay: s.Delay.Milliseconds(),
			ScheduleToStart: s.ScheduleToStart.Milliseconds(), StartToFinish: s.StartToFinish.Milliseconds(),
		}
		if s.Retry != (RetryPolicy{}) {
			m.Retry = &s.Retry
		}
		switch {
		case s.Input == nil:
		case compactJSON(s.Input):
			m.JSON = s.Input
		default:
			m.Bytes = s.Input
		}
		entries[i] = m
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // so that an input comes back byte for byte
	if err := enc.Encode(entries); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// compactJSON reports whether b is JSON that encoding it again would leave as it is.
func compactJSON(b []byte) bool {
	if !json.Valid(b) {
		return false
	}
	var buf bytes.Buffer
	return json.Compact(&buf, b) == nil && bytes.Equal(buf.Bytes(), b)
}

// DecodeManifest is the inverse of EncodeManifest.
func DecodeManifest(data []byte) ([]Spec, error) {
	var entries []manifestEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	specs := make([]Spec, len(entries))
	for i, m := range entries {
		s := Spec{
			TaskID: m.TaskID, SleepKey: m.SleepKey, SleepRound: m.SleepRound, RedriveOf: m.RedriveOf, OutputOf: m.OutputOf,
			Input:           m.Bytes,
			Timeout:         time.Duration(m.Timeout) * time.Millisecond,
			Delay:           time.Duration(m.Delay) * time.Millisecond,
			ScheduleToStart: time.Duration(m.ScheduleToStart) * time.Millisecond,
			StartToFinish:   time.Duration(m.StartToFinish) * time.Millisecond,
		}
		if m.JSON != nil {
			s.Input = m.JSON
		}
		if m.Retry != nil {
			s.Retry = *m.Retry
		}
		specs[i] = s
	}
	return specs, nil
}

// newChild returns the first record of the parent's child at index i, which may be FinalizeIndex.
func newChild(parent *Execution, i int, spec Spec, now time.Time) *Execution {
	id := parent.ChildID(i)
	if spec.SleepKey != "" {
		id = sleepID(spec.SleepKey, spec.SleepRound)
	}
	child := NewExecution(id, spec, now)
	child.RootID, child.RootTaskID = parent.RootID, parent.RootTask()
	if parent.Parent != nil && len(child.RootTaskID) > maxRootTask {
		child.RootTaskID = ""
	}
	child.Parent = &Parent{ID: parent.ID, TaskID: parent.TaskID, Index: i}
	if i != FinalizeIndex && !parent.Family.Sequential {
		child.Parent.Siblings = parent.Family.Size
	}
	return child
}

// Counts reports whether the execution is counted on a parent when it is finished: it is one of those that its
// parent committed to. A child that somebody inserted under an id of its own is not.
func (e *Execution) Counts() bool { return e.Parent != nil && DerivedID(e.ID) }

// addUnits returns the union of two sets of units, ascending; neither is changed.
func addUnits(set, units []int) []int {
	union := append(slices.Clone(set), units...)
	slices.Sort(union)
	return slices.Compact(union)
}

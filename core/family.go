package core

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
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
	// Manifest is what is needed to make the children (see EncodeManifest).
	Manifest Payload
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
	// Recoveries counts leases on the finished children's processing that ran out.
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

// ChildIDs returns the ids of the children in order, without the finalize task's. It is empty for an
// execution without a family.
func (e *Execution) ChildIDs() []string {
	if e.Family == nil {
		return nil
	}
	ids := make([]string, e.Family.Size)
	for i := range ids {
		ids[i] = e.ChildID(i)
	}
	return ids
}

// SleepID returns the id of the execution that sleeps under a unique key.
func SleepID(key string) string { return deriveID("s.", key) }

// DerivedID reports whether the id was derived by ChildID or SleepID. No id that a caller may choose is.
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
	TaskID   string          `json:"t"`
	JSON     json.RawMessage `json:"i,omitempty"`
	Bytes    []byte          `json:"b,omitempty"`
	Retry    *RetryPolicy    `json:"r,omitempty"`
	Timeout  int64           `json:"m"`
	Delay    int64           `json:"d,omitempty"`
	SleepKey string          `json:"k,omitempty"`
}

// EncodeManifest encodes the specs of a family's children.
func EncodeManifest(specs []Spec) ([]byte, error) {
	entries := make([]manifestEntry, len(specs))
	for i, s := range specs {
		m := manifestEntry{
			TaskID: s.TaskID, SleepKey: s.SleepKey,
			Timeout: s.Timeout.Milliseconds(), Delay: s.Delay.Milliseconds(),
		}
		if s.Retry != (RetryPolicy{}) {
			m.Retry = &s.Retry
		}
		if compactJSON(s.Input) {
			m.JSON = s.Input
		} else {
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
			TaskID: m.TaskID, SleepKey: m.SleepKey, Input: m.Bytes,
			Timeout: time.Duration(m.Timeout) * time.Millisecond,
			Delay:   time.Duration(m.Delay) * time.Millisecond,
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
	child := NewExecution(parent.ChildID(i), spec, now)
	child.RootID = parent.RootID
	child.Parent = &Parent{ID: parent.ID, TaskID: parent.TaskID, Index: i}
	if i != FinalizeIndex {
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

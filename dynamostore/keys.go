package dynamostore

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// All keys are built and parsed in this file.
//
//	item            pk                 sk
//	execution       execution id       e
//	payload part    execution id       p#<field>#<nonce of the write>#<number>
//	count bucket    parent's id        n#<family's nonce>#<bucket>
//	child pointer   parent's id        c#<index>#<child's id>
//	effect          execution id       x#<the effect's name>
//	settings        perdure#settings   s
//	executors       perdure#settings   x
//
//	index    partition                     sort
//	queue    <queue>#<shard of the id>     due time in ms
//	cancel   cancel#<shard of executor>    executor id (cancelShards, whatever the queues have)
//	list     <class>#<shard of the id>     creation time in ms, 6 bytes, and the id

const (
	sortExecution = "e"
	pointerPrefix = "c#"
	settingsKey   = "perdure#settings"
	sortSettings  = "s"
	sortExecutors = "x"
)

// shardOf spreads ids over shards by FNV-1a.
func shardOf(id string, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int(h.Sum32() % uint32(shards)) //nolint:gosec // shards is from 1 to MaxShards
}

// queueKey is the partition of the queue index for a shard.
func queueKey(q core.Queue, shard int) string { return fmt.Sprintf("%s#%02d", q, shard) }

// cancelShards is over how many keys the cancel index is spread. It is fixed: flags are rare, and an executor has
// to find its own under one key whoever set them.
const cancelShards = 4

func cancelShard(executorID string) int { return shardOf(executorID, cancelShards) }

// cancelKey is the partition of the cancel index for a shard of the executors.
func cancelKey(shard int) string { return fmt.Sprintf("cancel#%02d", shard) }

// listKey is the partition of the list index for a class and a shard.
func listKey(class string, shard int) string { return fmt.Sprintf("%s#%02d", class, shard) }

// listClass names the executions that the list index keeps together: those with one of the finished statuses each,
// and all unfinished ones, so that only the end of an execution moves it.
func listClass(status core.Status) string {
	switch status {
	case core.StatusCompleted:
		return "c"
	case core.StatusFailed:
		return "f"
	case core.StatusTimedOut:
		return "t"
	case core.StatusFinalizeFailed:
		return "z"
	case core.StatusCancelled:
		return "x"
	case core.StatusReady, core.StatusRunning, core.StatusWaitingForChildren, core.StatusWaitingForFinalize:
	}
	return "u"
}

// listClasses returns the classes in which executions with a status are; all for none.
func listClasses(status core.Status) []string {
	if status != "" {
		return []string{listClass(status)}
	}
	var all []string
	for _, s := range core.Statuses() {
		if class := listClass(s); !slices.Contains(all, class) {
			all = append(all, class)
		}
	}
	return all
}

// listEpoch makes creation times from 2,500 BC to 6,400 AD ascend as 6 bytes.
const listEpoch = 1 << 47

// listPlace is the sort key of the list index.
func listPlace(p core.Place) []byte {
	ms := max(-listEpoch, min(listEpoch-1, p.CreatedAt.UnixMilli())) + listEpoch
	b := binary.BigEndian.AppendUint64(nil, uint64(ms)) //nolint:gosec // it is not negative
	return append(b[2:], p.ID...)
}

func parseListPlace(b []byte) (core.Place, error) {
	if len(b) < 7 {
		return core.Place{}, fmt.Errorf("place in the list %x: it has %d bytes, must have a time's 6 and an id", b, len(b))
	}
	ms := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, b[:6]...))) - listEpoch //nolint:gosec // it has 48 bits
	return core.Place{CreatedAt: time.UnixMilli(ms).UTC(), ID: string(b[6:])}, nil
}

// parseQueue returns the queue of a partition of the queue index.
func parseQueue(key string) core.Queue {
	name, _, _ := strings.Cut(key, "#")
	return core.Queue(name)
}

func partKey(field, nonce string, number int) string {
	return fmt.Sprintf("p#%s#%s#%02d", field, nonce, number)
}

// effectKey is where the completion of an effect is noted: see Once. Of a root it names the time as well, since its id may
// be used again once its retention is over.
func effectKey(info core.Info, name string) string {
	if info.ParentID != "" {
		return effectPrefix + name
	}
	return fmt.Sprintf("%s%s#%d", effectPrefix, name, info.CreatedAt.UnixMilli())
}

const effectPrefix = "x#"

// bucketKey names the family, since a parent's id may be used again once its retention is over.
func bucketKey(family string, bucket int) string { return fmt.Sprintf("n#%s#%03d", family, bucket) }

// pointerKey sorts by index; a finalize execution comes last.
func pointerKey(child *core.Execution) string {
	index := child.Parent.Index
	if index == core.FinalizeIndex {
		index = 99_999
	}
	return fmt.Sprintf("%s%05d#%s", pointerPrefix, index, child.ID)
}

func parsePointer(sk string) (childID string) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(sk, pointerPrefix), "#")
	return rest
}

// partsRef names the parts of a payload beside a record, in the record: how they are encoded, how many there
// are, how many bytes they hold, and the parts of their keys.
type partsRef struct {
	codec string
	count int
	size  int
	field string
	nonce string
}

func (r partsRef) String() string {
	return fmt.Sprintf("%s.%d.%d.%s.%s", r.codec, r.count, r.size, r.field, r.nonce)
}

func parseRef(text string) (partsRef, error) {
	f := strings.SplitN(text, ".", 5)
	if len(f) != 5 {
		return partsRef{}, fmt.Errorf("payload reference %q: it has %d fields, not 5", text, len(f))
	}
	count, err1 := strconv.Atoi(f[1])
	size, err2 := strconv.Atoi(f[2])
	if err1 != nil || err2 != nil || count < 1 || count > 99 || size < 0 {
		return partsRef{}, fmt.Errorf("payload reference %q: bad numbers", text)
	}
	return partsRef{codec: f[0], count: count, size: size, field: f[3], nonce: f[4]}, nil
}

// outerRef is a core.Payload's Ref: the reference with the id of the record that the parts belong to before it.
func outerRef(id, ref string) string { return id + "|" + ref }

func splitOuterRef(ref string) (id, inner string, err error) {
	i := strings.LastIndex(ref, "|") // an id may have one, what follows it has none
	if i < 0 {
		return "", "", fmt.Errorf("payload reference %q: it names no execution", ref)
	}
	return ref[:i], ref[i+1:], nil
}

// storedRef is what the record of an execution holds of a reference: its own id is left out. A reference to
// another execution's parts, from a payload that was taken over, stays whole.
func storedRef(id, ref string) string { return strings.TrimPrefix(ref, id+"|") }

// loadedRef is the inverse of storedRef.
func loadedRef(id, stored string) string {
	if strings.Contains(stored, "|") {
		return stored
	}
	return outerRef(id, stored)
}

package dynamostore

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/perdure-dev/perdure/core"
)

// All keys are built and parsed in this file.
//
//	item            pk                 sk
//	execution       execution id       e
//	payload part    execution id       p#<field>#<nonce of the write>#<number>
//	count bucket    parent's id        n#<bucket>
//	child pointer   parent's id        c#<index>#<child's id>
//	settings        perdure#settings   s
//
//	index    partition                     sort
//	queue    <queue>#<shard of the id>     due time in ms
//	cancel   cancel#<shard of executor>    executor id

const (
	sortExecution = "e"
	pointerPrefix = "c#"
	settingsKey   = "perdure#settings"
	sortSettings  = "s"
)

// shardOf spreads ids over shards by FNV-1a.
func shardOf(id string, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int(h.Sum32() % uint32(shards)) //nolint:gosec // shards is from 1 to MaxShards
}

// queueKey is the partition of the queue index for a shard.
func queueKey(q core.Queue, shard int) string { return fmt.Sprintf("%s#%02d", q, shard) }

// cancelKey is the partition of the cancel index for an executor: one, so that it looks in one place.
func cancelKey(shard int) string { return fmt.Sprintf("cancel#%02d", shard) }

// parseQueue returns the queue of a partition of the queue index.
func parseQueue(key string) core.Queue {
	name, _, _ := strings.Cut(key, "#")
	return core.Queue(name)
}

func partKey(field, nonce string, number int) string {
	return fmt.Sprintf("p#%s#%s#%02d", field, nonce, number)
}

func bucketKey(bucket int) string { return fmt.Sprintf("n#%03d", bucket) }

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
	f := strings.Split(text, ".")
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

// outerRef is a core.Payload's Ref: the reference with the record's id before it.
func outerRef(id, ref string) string { return id + "|" + ref }

func splitOuterRef(ref string) (id, inner string, err error) {
	id, inner, ok := strings.Cut(ref, "|")
	if !ok {
		return "", "", fmt.Errorf("payload reference %q: it names no execution", ref)
	}
	return id, inner, nil
}

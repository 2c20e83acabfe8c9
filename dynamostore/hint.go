package dynamostore

import (
	"strconv"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// ReadyHint returns what a new image in the table's stream hints at, by the text of its attributes, whether they are
// strings or numbers; that of one that is missing is empty. It is false for an image of anything but a ready execution.
func ReadyHint(attribute func(name string) string) (core.Hint, bool) {
	id := attribute(keyPK)
	if id == "" || attribute(keySK) != sortExecution || parseQueue(attribute(indexQueue)) != core.QueueReady {
		return core.Hint{}, false
	}
	due, err := strconv.ParseInt(attribute(indexDueAt), 10, 64)
	if err != nil {
		return core.Hint{}, false
	}
	return core.Hint{ID: id, DueAt: time.UnixMilli(due).UTC()}, true
}

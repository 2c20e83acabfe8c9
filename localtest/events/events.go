// Package events has an event for each function of template.yaml and for each action of the enqueue function, as Lambda
// delivers them, and what the function must answer. `sam local invoke` takes the files too.
package events

import (
	"bytes"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"
)

//go:embed *.json
var files embed.FS

// Event is one invocation. They are in an order in which each finds what those before it left.
type Event struct {
	// Function is the name of the function's folder below functions/.
	Function string
	// File is the event's name in this folder.
	File string
	// Answer has what must be in the answer.
	Answer []string
}

// Resource is the function's name in template.yaml.
func (e Event) Resource() string {
	return map[string]string{
		"startready": "StartReadyFunction", "processchildren": "ProcessChildrenFunction", "close": "CloseFunction",
		"timeouts": "TimeoutsFunction", "cancellation": "CancellationFunction", "enqueue": "EnqueueFunction",
	}[e.Function]
}

// Payload returns the event itself, made now: the file of the stream's is of the time in written, and what has been due for
// that long is not started for a hint's sake.
func (e Event) Payload() ([]byte, error) {
	file, err := files.ReadFile(e.File)
	if err != nil {
		return nil, err
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	return bytes.ReplaceAll(file, []byte(written), []byte(now)), nil
}

// written is the time at which the files say they were made, in seconds since 1970; with three more digits it is in
// milliseconds.
const written = "1767225600"

// Check returns an error unless an answer is as it must be.
func (e Event) Check(answer []byte) error {
	flat := strings.NewReplacer(" ", "", "\n", "").Replace(string(answer))
	for _, part := range e.Answer {
		if !strings.Contains(flat, strings.ReplaceAll(part, " ", "")) {
			return fmt.Errorf("%s: %s answered %s, which has no %s", e.File, e.Function, answer, part)
		}
	}
	return nil
}

// All returns the events in their order.
func All() []Event {
	return []Event{
		{"enqueue", "enqueue-enqueue.json", []string{`"execution_id":"hamlet"`}},
		{"enqueue", "enqueue-tasks.json", []string{`"task":"count_words"`, `"timeout_ms":`}},
		{"startready", "startready-stream.json", []string{`"loop":"start_ready"`, `"done":1`}},
		{"enqueue", "enqueue-get.json", []string{`"status":"completed"`, `"be":2`}},
		{"enqueue", "enqueue-tree.json", []string{`"execution_id":"hamlet"`, `"attempts":1`}},
		{"enqueue", "enqueue-delayed.json", []string{`"execution_id":"lear"`}},
		{"startready", "startready-tick.json", []string{`"loop":"start_ready"`, `"done":0`}},
		{"enqueue", "enqueue-cancel.json", []string{`"status":"cancelled"`}},
		{"enqueue", "enqueue-redrive.json", []string{`"redrive_of":"lear"`}},
		{"enqueue", "enqueue-sleep.json", []string{`"execution_id":"s.`}},
		{"enqueue", "enqueue-wakeup.json", []string{`"execution_id":"s.`}},
		{"enqueue", "enqueue-list.json", []string{`"code":"not_listed"`}}, // the template's ListIndex is no
		{"enqueue", "enqueue-unknown-task.json", []string{`"code":"unknown_task"`, "count_wrods"}},
		{"processchildren", "processchildren-tick.json", []string{`"loop":"process_children"`}},
		{"close", "close-tick.json", []string{`"loop":"close"`}},
		{"timeouts", "timeouts-tick.json", []string{`"loop":"timeouts"`}},
		{"cancellation", "cancellation-tick.json", []string{`"loop":"cancellation"`}},
	}
}

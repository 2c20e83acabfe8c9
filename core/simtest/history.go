package simtest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/perdure-dev/perdure/core"
)

// History remembers the records of a store from one look to the next. Its zero value has seen nothing. It is not safe
// for concurrent use.
type History struct{ seen map[string]moment }

// moment is what must not change of a record, or only grow.
type moment struct {
	rev      int64
	kept     bool
	finished bool
	status   core.Status
	at       time.Time
	output   []byte
	ref      string
	outputOf string
	failure  string
	closed   bool
}

func momentOf(e *core.Execution) moment {
	m := moment{rev: e.Rev, kept: e.Kept, finished: e.Status.Finished(), closed: e.CloseStatus == core.CloseClosed}
	if m.finished {
		m.status, m.at, m.output, m.ref, m.outputOf = e.Status, e.FinishedAt, e.Output.Data, e.Output.Ref, e.OutputOf
		if e.Failure != nil {
			m.failure = string(e.Failure.Code) + " " + e.Failure.Message
		}
	}
	return m
}

// See looks at the records of a store and returns what has become of earlier ones that must not: an execution is gone, a
// revision went down, what is finished has changed, what is closed is not closed any more. deleted tells that records may be
// gone.
func (h *History) See(records iter.Seq[*core.Execution], deleted bool) error {
	var broken []error
	now := map[string]moment{}
	for e := range records {
		m := momentOf(e)
		now[e.ID] = m
		before, known := h.seen[e.ID]
		switch {
		case !known:
		case m.rev < before.rev:
			broken = append(broken, fmt.Errorf("execution %s: its revision went from %d to %d", e.ID, before.rev, m.rev))
		case !before.finished || before.kept:
		case m.status != before.status || !m.at.Equal(before.at) || m.failure != before.failure || m.outputOf != before.outputOf ||
			m.ref != before.ref || before.output != nil && m.output != nil && !bytes.Equal(m.output, before.output):
			broken = append(broken, fmt.Errorf("execution %s: it was finished and changed, from %+v to %+v", e.ID, before, m))
		case before.closed && !m.closed:
			broken = append(broken, fmt.Errorf("execution %s: it was closed and is not any more", e.ID))
		}
	}
	for id := range h.seen {
		if _, there := now[id]; !there && !deleted {
			broken = append(broken, fmt.Errorf("execution %s: it was there and is gone", id))
		}
	}
	h.seen = now
	return errors.Join(broken...)
}

package memstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

func TestAWriteThatBreaksAnInvariantIsReported(t *testing.T) {
	t.Parallel()
	start := core.StartAttempt{ExecutorID: "x", Left: time.Hour, Leeway: time.Second}
	for name, c := range map[string]struct {
		events []core.Event // that lead to the record before
		last   core.Event   // that makes the record after, but for what spoil does to it
		spoil  func(*core.Execution)
		want   string
	}{
		"the revision stays": {
			last: start, spoil: func(e *core.Execution) { e.Rev-- }, want: "revision goes from 1 to 1",
		},
		"the revision jumps": {
			last: start, spoil: func(e *core.Execution) { e.Rev++ }, want: "revision goes from 1 to 3",
		},
		"the nonce stays": {
			last: start, spoil: func(e *core.Execution) { e.Nonce = "first" }, want: "nonce of the write before",
		},
		"no entry": {
			last: start, spoil: func(e *core.Execution) { e.Queue, e.DueAt = core.QueueNone, time.Time{} },
			want: "nobody looks at it again",
		},
		"a due time without an entry": {
			last: core.Cancel{}, spoil: func(e *core.Execution) { e.DueAt = now }, want: "no queue entry",
		},
		"an entry where it does not belong": {
			last: start, spoil: func(e *core.Execution) { e.Queue = core.QueueReady }, want: "is running, but has its entry in queue ready",
		},
		"closed with an entry": {
			last: core.Cancel{}, spoil: func(e *core.Execution) { e.Queue, e.DueAt = core.QueueFinished, now },
			want: "closed, but has an entry",
		},
		"closed and unfinished": {
			last: start, spoil: func(e *core.Execution) { e.CloseStatus = core.CloseClosed }, want: "closed, but running",
		},
		"another status than at the end": {
			events: []core.Event{start, core.Cancel{}}, last: core.ClearCancellation{},
			spoil: func(e *core.Execution) { e.Status = core.StatusFailed }, want: "status of a finished execution changes",
		},
		"another output than at the end": {
			events: []core.Event{start, core.Cancel{}}, last: core.ClearCancellation{},
			spoil: func(e *core.Execution) { e.Output.Data = []byte("late") }, want: "output of a finished execution changes",
		},
		"another failure than at the end": {
			events: []core.Event{start, core.Cancel{}}, last: core.ClearCancellation{},
			spoil: func(e *core.Execution) { e.Failure = nil }, want: "failure of a finished execution changes",
		},
		"another end": {
			events: []core.Event{start, core.Cancel{}}, last: core.ClearCancellation{},
			spoil: func(e *core.Execution) { e.FinishedAt = now.Add(time.Second) }, want: "end of a finished execution changes",
		},
		"opened again": {
			events: []core.Event{start, core.Cancel{}}, last: core.ClearCancellation{},
			spoil: func(e *core.Execution) {
				e.CloseStatus, e.Queue, e.DueAt = core.CloseReady, core.QueueClose, now
			}, want: "from closed back to ready",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var broken []error
			s := memstore.New(memstore.Options{Broken: func(err error) { broken = append(broken, err) }})
			e := ready("a")
			e.Nonce = "first"
			insert(t, s, e)
			for _, ev := range c.events {
				after := transition(t, e, ev)
				if err := update(t, s, e, after); err != nil {
					t.Fatal(err)
				}
				e = after
			}
			if len(broken) > 0 {
				t.Fatalf("before: %v", broken)
			}
			after := transition(t, e, c.last)
			c.spoil(after)
			// A record with the nonce and revision of the stored one would be taken for the same write.
			if err := update(t, s, e, after); err != nil {
				t.Fatal(err)
			}
			if len(broken) != 1 || !strings.Contains(broken[0].Error(), c.want) || !strings.Contains(broken[0].Error(), "execution a") {
				t.Errorf("reported %v, want %q", broken, c.want)
			}
		})
	}
}

func TestABrokenInvariantPanicsByDefault(t *testing.T) {
	t.Parallel()
	defer func() {
		if err, _ := recover().(error); err == nil || !strings.Contains(err.Error(), "nobody looks at it again") {
			t.Errorf("recovered %v", err)
		}
	}()
	e := ready("a")
	e.Queue, e.DueAt = core.QueueNone, time.Time{}
	insert(t, memstore.New(memstore.Options{}), e)
}

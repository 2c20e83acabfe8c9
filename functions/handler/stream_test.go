package handler

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// image is a record of the stream as DynamoDB makes it of an execution that went to a queue.
func image(id, sort, queue string, due time.Time) events.DynamoDBEventRecord {
	return events.DynamoDBEventRecord{
		EventName: "MODIFY", EventSource: "aws:dynamodb",
		Change: events.DynamoDBStreamRecord{
			ApproximateCreationDateTime: events.SecondsEpochTime{Time: time.Now().Truncate(time.Second)},
			NewImage: map[string]events.DynamoDBAttributeValue{
				"pk": events.NewStringAttribute(id), "sk": events.NewStringAttribute(sort),
				"queue": events.NewStringAttribute(queue), "dueAt": events.NewNumberAttribute(strconv.FormatInt(due.UnixMilli(), 10)),
				"in": events.NewBinaryAttribute([]byte{1}),
			},
		},
	}
}

func ready(id string) events.DynamoDBEventRecord { return image(id, "e", "ready#03", time.Now()) }

// stream is the function that starts executions, on a store whose index shows nothing unless it is settled.
type stream struct {
	*testing.T
	store  *memstore.Store
	client *core.Client
	handle func(context.Context, json.RawMessage) (Report, error)
}

func newStream(t *testing.T) *stream {
	t.Helper()
	store := memstore.New(memstore.Options{Lag: func(memstore.Change) int { return -1 }})
	tasks, err := registry()
	if err != nil {
		t.Fatal(err)
	}
	client, err := core.NewClient(store, core.ClientOptions{Registry: tasks})
	if err != nil {
		t.Fatal(err)
	}
	app := &App{Store: store, Config: Config{Tick: time.Minute, Leeway: time.Second}}
	handle, err := app.Loop(core.LoopStartReady, registry)
	if err != nil {
		t.Fatal(err)
	}
	return &stream{t, store, client, handle}
}

func (s *stream) enqueue(id string, delay time.Duration) {
	s.Helper()
	if _, err := s.client.EnqueueRaw(s.Context(), "t", []byte("1"), core.EnqueueOptions{ID: id, Delay: delay}); err != nil {
		s.Fatal(err)
	}
}

func (s *stream) event(records ...events.DynamoDBEventRecord) Report {
	s.Helper()
	event, err := json.Marshal(events.DynamoDBEvent{Records: records})
	if err != nil {
		s.Fatal(err)
	}
	return s.send(string(event))
}

func (s *stream) send(event string) Report {
	s.Helper()
	report, err := s.handle(s.Context(), json.RawMessage(event))
	if err != nil {
		s.Fatal(err)
	}
	return report
}

func (s *stream) statuses() map[string]core.Status {
	all := map[string]core.Status{}
	s.store.Each(func(e *core.Execution) { all[e.ID] = e.Status })
	return all
}

func TestAStreamEventStartsWhatItNamesBeforeTheQueueShowsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		for _, id := range []string{"a", "b", "other"} {
			s.enqueue(id, 0)
		}
		report := s.event(ready("b"), ready("a"), ready("a"))
		want := map[string]core.Status{"a": core.StatusCompleted, "b": core.StatusCompleted, "other": core.StatusReady}
		if diff := cmp.Diff(want, s.statuses()); diff != "" || report.Done != 2 {
			t.Errorf("%+v\n%s", report, diff)
		}
	})
}

func TestAnEventThatIsLateDoubledOrWrongDoesNoHarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.enqueue("a", 0)
		s.event(ready("a"))
		before := s.statuses()
		for name, records := range map[string][]events.DynamoDBEventRecord{
			"doubled":         {ready("a")},
			"of nothing":      {ready("gone")},
			"of a part":       {image("a", "p#in#n#00", "", time.Now())},
			"of another kind": {image("a", "s", "ready#03", time.Now())},
			"in another queue": {image("a", "e", "running#03", time.Now()), image("a", "e", "readying#03", time.Now()),
				image("a", "e", "", time.Now())},
			"a removal": {{EventName: "REMOVE", EventSource: "aws:dynamodb"}},
		} {
			if report := s.event(records...); report.Done != 0 {
				t.Errorf("%s: %+v", name, report)
			}
		}
		for _, event := range []string{`{}`, `[1]`, `"x"`, `{"Records":[{"dynamodb":{"NewImage":{"pk":{"Q":1}}}}]}`, `{"Records":"x"}`, `null`} {
			if report := s.send(event); report.Done != 0 {
				t.Errorf("%s: %+v", event, report)
			}
		}
		if diff := cmp.Diff(before, s.statuses()); diff != "" {
			t.Error(diff)
		}
	})
}

// A hint that is older than the queue's lag is not worth a claim, which would be billed though it failed.
func TestAHintThatComesLateIsLeftToTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.enqueue("a", 0)
		late := ready("a")
		time.Sleep(10 * time.Second)
		if report := s.event(late); report.Done != 0 || report.Lost != 0 {
			t.Errorf("while the queue does not show it: %+v", report)
		}
		s.store.Settle()
		if report := s.event(late); report.Done != 1 {
			t.Errorf("once the queue shows it: %+v", report)
		}
	})
}

func TestAHintOfALaterStartIsWaitedForWithoutTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.enqueue("soon", 20*time.Second)
		s.enqueue("tomorrow", 24*time.Hour)
		began := time.Now()
		s.event(image("soon", "e", "ready#00", began.Add(20*time.Second)), image("tomorrow", "e", "ready#00", began.Add(24*time.Hour)))
		e, err := s.client.Get(t.Context(), "soon")
		if err != nil {
			t.Fatal(err)
		}
		if late := e.StartedAt.Sub(e.StartAt); e.Status != core.StatusCompleted || late > 250*time.Millisecond {
			t.Errorf("it is %s, %s late", e.Status, late)
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("returned after %s", took)
		}
	})
}

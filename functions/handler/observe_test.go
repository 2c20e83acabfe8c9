package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// The functions tell an observer what they do, the enqueue function included, and have it send that before they return.
func TestAnObserverIsToldAndFlushedByEachInvocation(t *testing.T) {
	t.Parallel()
	var (
		mu   sync.Mutex
		told []string
		log  bytes.Buffer
	)
	tell := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, what)
	}
	app := &App{
		Config: Config{Tick: time.Millisecond}, Store: memstore.New(memstore.Options{}), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Options: Options{
			Observer: core.Observer{Finished: func(_ context.Context, e *core.Execution) { tell(e.ID + " " + string(e.Status)) }},
			Flush: func(context.Context) error {
				tell("flush")
				return errors.New("no network")
			},
		},
	}
	enqueue, err := app.Enqueue(registry)
	if err != nil {
		t.Fatal(err)
	}
	start, err := app.Loop(core.LoopStartReady, registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{
		`{"action":"enqueue","task":"t","input":2,"execution_id":"a"}`,
		`{"action":"enqueue","task":"t","input":2,"execution_id":"b","delay_ms":100000}`,
		`{"action":"cancel","execution_id":"b"}`,
	} {
		if r, err := enqueue(t.Context(), json.RawMessage(event)); err != nil || r.Error != nil {
			t.Fatalf("%s: %+v, error %v", event, r.Error, err)
		}
	}
	if _, err := start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"flush", "flush", "b cancelled", "flush", "a completed", "flush"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if n := strings.Count(log.String(), "no network"); n != 4 {
		t.Errorf("a flush that failed was logged %d times, want 4:\n%s", n, log.String())
	}
}

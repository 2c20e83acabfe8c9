package core_test

import (
	"context"
	"errors"
	"testing"

	"github.com/perdure-dev/perdure/core"
)

// unanswering is a store whose first insert is made and gets no answer, and which then answers as it is told.
type unanswering struct {
	core.Store
	then  error
	calls int
}

func (l *unanswering) Insert(ctx context.Context, executions []*core.Execution) []error {
	l.calls++
	switch l.calls {
	case 1:
		l.Store.Insert(ctx, executions)
		return []error{core.ErrUnknownOutcome}
	case 2:
		return []error{l.then}
	}
	return l.Store.Insert(ctx, executions)
}

// The second try was refused, and the error said so: the execution existed, and its handle was withheld.
func TestEnqueue_IsOfUnknownOutcomeWhenItsFirstAnswerWasLostAndTheNextTryIsRefused(t *testing.T) {
	refused := errors.New("access denied")
	inWorld(t, []core.Definition{double}, func(w *world) {
		client, err := core.NewClient(&unanswering{Store: w.store, then: refused}, core.ClientOptions{})
		if err != nil {
			w.Fatal(err)
		}
		h, err := double.Enqueue(w.ctx, client, 1)
		if h == nil || !errors.Is(err, core.ErrUnknownOutcome) || !errors.Is(err, refused) {
			w.Fatalf("handle %v, error %v", h, err)
		}
		if out, err := double.HandleOf(w.client, h.ID()).Wait(w.ctx); out != 2 || err != nil {
			w.Errorf("it came to %d, %v", out, err)
		}
	})
}

package docs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// Greet is the task that perdure init writes.
var Greet = core.NewTask("greet", func(_ context.Context, name string) (string, error) {
	return "hello, " + name, nil
}, core.TaskOptions{})

// GreetAll greets everybody at once and makes one text of it.
var GreetAll = core.NewParentTaskWithFinalize("greet_all", eachGreeted, joined, core.TaskOptions{})

func eachGreeted(_ context.Context, names []string) (int, []core.Child, error) {
	var children []core.Child
	for _, name := range names {
		children = append(children, Greet.Child(name))
	}
	return len(names), children, nil
}

func joined(_ context.Context, r core.Results[int]) (string, error) {
	var texts []string
	for _, child := range r.Children {
		text, err := Greet.Result(child)
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; "), nil
}

// Confirmed waits, for a day at most, for somebody to confirm.
var Confirmed = core.NewSleepingTask[bool]("confirmed", core.TaskOptions{Timeout: 24 * time.Hour})

func TestGreetAll(t *testing.T) {
	t.Parallel()
	coretest.Run(t, []core.Definition{Greet, GreetAll, Confirmed}, func(w *coretest.World) {
		h := coretest.Enqueue(w, GreetAll, []string{"ann", "bob"})
		if text := coretest.Wait(w, h); text != "hello, ann; hello, bob" {
			w.Errorf("it says %q", text)
		}
	})
}

package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

func TestAgainWithNilDoesNotStartOver(t *testing.T) {
	for name, codec := range map[string]core.Codec{"JSON": core.JSON{}, "another codec": gobCodec{}} {
		t.Run(name, func(t *testing.T) {
			var seen [][]string
			drain := core.NewTask("drain", func(_ context.Context, left []string) (core.Iteration[[]string, string], error) {
				seen = append(seen, left)
				if len(left) == 0 {
					return core.Done[[]string]("drained"), nil
				}
				var rest []string // stays nil for the last
				rest = append(rest, left[1:]...)
				return core.AgainWith[[]string, string](rest), nil
			}, core.TaskOptions{})
			loop := core.NewLoopingTask("loop", drain, core.LoopOptions{MaxIterations: 5}, core.TaskOptions{})
			inIdleWorld(t, []core.Definition{loop, drain}, func(w *world) {
				w.config.Codec = codec
				client, err := core.NewClient(w.store, core.ClientOptions{Codec: codec})
				if err != nil {
					w.Fatal(err)
				}
				w.client = client
				defer w.start()()
				got := wait(w, enqueue(w, loop, []string{"a", "b"}))
				if diff := cmp.Diff(core.LoopResult[string]{Succeeded: true, Output: "drained", Iterations: 3}, got); diff != "" {
					w.Errorf("result (-want +got):\n%s", diff)
				}
				if len(seen) != 3 || len(seen[2]) != 0 {
					w.Errorf("iterations saw %q", seen)
				}
			})
		})
	}
}

// Next inputs that are null in JSON are told from none, whatever their type.
func TestAgainWithIsToldFromAgain(t *testing.T) {
	type state struct{ N *int }
	again := core.NewTask("again", func(ctx context.Context, s *state) (core.Iteration[*state, bool], error) {
		if core.InfoOf(ctx).Index == 0 {
			return core.AgainWith[*state, bool](nil), nil
		}
		return core.Done[*state](s == nil), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", again, core.LoopOptions{MaxIterations: 3}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, again}, func(w *world) {
		n := 1
		if got := wait(w, enqueue(w, loop, &state{&n})); !got.Output || got.Iterations != 2 {
			w.Errorf("%+v: the second iteration was not given nil", got)
		}
	})
}

// money says that it is zero when one of its fields is.
type money struct {
	Cents    int    `json:"cents"`
	Currency string `json:"currency"`
}

func (m money) IsZero() bool { return m.Cents == 0 }

func TestDoneKeepsAnOutputThatSaysItIsZero(t *testing.T) {
	pay := core.NewTask("pay", func(context.Context, string) (core.Iteration[string, money], error) {
		return core.Done[string](money{Currency: "EUR"}), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", pay, core.LoopOptions{MaxIterations: 1}, core.TaskOptions{})
	chained := core.NewTask("chained", func(_ context.Context, r core.LoopResult[money]) (core.LoopResult[money], error) { return r, nil }, core.TaskOptions{})
	chain := core.NewSequentialTask("chain", core.Then(loop, chained), core.TaskOptions{})
	inWorld(t, []core.Definition{loop, pay, chained, chain}, func(w *world) {
		want := core.LoopResult[money]{Succeeded: true, Output: money{Currency: "EUR"}, Iterations: 1}
		if got := wait(w, enqueue(w, chain, "")); got != want {
			w.Errorf("%+v, want %+v", got, want)
		}
	})
}

// strictly encodes some values only.
type strictly string

func (s strictly) MarshalText() ([]byte, error) {
	if s != "good" {
		return nil, errors.New("not good")
	}
	return []byte(s), nil
}

func TestALoopThatDoesNotSucceedEncodesNoOutput(t *testing.T) {
	never := core.NewTask("never", func(context.Context, int) (core.Iteration[int, strictly], error) {
		return core.Again[int, strictly](), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", never, core.LoopOptions{MaxIterations: 2}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, never}, func(w *world) {
		if got := wait(w, enqueue(w, loop, 0)); got.Succeeded || got.Iterations != 2 {
			w.Errorf("%+v", got)
		}
	})
}

func TestIterationsAndLoopResultsKeepTheirJSON(t *testing.T) {
	for name, c := range map[string]struct {
		value any
		json  string
		into  any
	}{
		"done":      {core.Done[string]("x<y"), `{"done":true,"output":"x<y"}`, new(core.Iteration[string, string])},
		"done zero": {core.Done[string](0), `{"done":true,"output":0}`, new(core.Iteration[string, int])},
		"again":     {core.Again[string, string](), `{"done":false}`, new(core.Iteration[string, string])},
		"with":      {core.AgainWith[string, string]("a"), `{"done":false,"next":"a","has_next":true}`, new(core.Iteration[string, string])},
		"with nil":  {core.AgainWith[[]string, string](nil), `{"done":false,"next":null,"has_next":true}`, new(core.Iteration[[]string, string])},
		"result":    {core.LoopResult[string]{true, "", 3}, `{"succeeded":true,"output":"","iterations":3}`, new(core.LoopResult[string])},
		"no result": {core.LoopResult[string]{Iterations: 3}, `{"succeeded":false,"iterations":3}`, new(core.LoopResult[string])},
	} {
		data, err := core.JSON{}.Encode(map[string]any{"in": c.value}) // inside of another value, too
		if want := `{"in":` + c.json + `}`; err != nil || string(data) != want {
			t.Errorf("%s: %s, want %s, error %v", name, data, want, err)
		}
		if err := json.Unmarshal([]byte(c.json), c.into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := json.Marshal(c.into); err != nil || !jsonEqual(again, []byte(c.json)) {
			t.Errorf("%s: read and written it is %s, want %s, error %v", name, again, c.json, err)
		}
	}
	var old core.Iteration[string, string]
	if err := json.Unmarshal([]byte(`{"done":false,"next":"a","sleep":5}`), &old); err != nil || old.Next == nil || *old.Next != "a" || old.Sleep != 5 {
		t.Errorf("a record of before: %+v, error %v", old, err)
	}
}

func jsonEqual(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && cmp.Equal(x, y)
}

func TestALoopKeepsItsIterationTasksDelay(t *testing.T) {
	var starts []time.Time
	tick := core.NewTask("tick", func(ctx context.Context, n int) (core.Iteration[int, int], error) {
		starts = append(starts, time.Now())
		it := core.Again[int, int]()
		if core.InfoOf(ctx).Index == 1 {
			it.Sleep = -1 // none, whatever the loop says
		}
		return it, nil
	}, core.TaskOptions{Delay: time.Minute})
	loop := core.NewLoopingTask("loop", tick, core.LoopOptions{MaxIterations: 3, Sleep: time.Hour}, core.TaskOptions{})
	inWorld(t, []core.Definition{loop, tick}, func(w *world) {
		begun := time.Now()
		wait(w, enqueue(w, loop, 0))
		var got []time.Duration
		for _, at := range starts {
			got = append(got, at.Sub(begun).Round(10*time.Second))
			begun = at
		}
		if diff := cmp.Diff([]time.Duration{time.Minute, time.Hour + time.Minute, time.Minute}, got); diff != "" {
			w.Errorf("waits (-want +got):\n%s", diff)
		}
	})
}

// setting is null in JSON when it is set to nothing, which is not its zero value.
type setting struct {
	Set   bool
	Value *int
}

func (s setting) MarshalJSON() ([]byte, error) {
	if !s.Set {
		return []byte(`"unset"`), nil
	}
	return json.Marshal(s.Value)
}

func (s *setting) UnmarshalJSON(data []byte) error {
	if *s = (setting{}); string(data) == `"unset"` {
		return nil
	}
	s.Set = true
	return json.Unmarshal(data, &s.Value)
}

func TestALoopKeepsWhatIsNullInJSON(t *testing.T) {
	nothing := setting{Set: true}
	iteration := core.NewTask("iteration", func(ctx context.Context, in setting) (core.Iteration[setting, setting], error) {
		switch i := core.InfoOf(ctx).Index; {
		case i == 0:
			return core.AgainWith[setting, setting](nothing), nil
		case in != nothing:
			return core.Iteration[setting, setting]{}, fmt.Errorf("iteration %d is given %+v", i, in)
		case i == 2:
			return core.Done[setting](nothing), nil
		}
		return core.AgainWith[setting, setting](in), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", iteration, core.LoopOptions{MaxIterations: 5}, core.TaskOptions{})
	inWorld(t, []core.Definition{iteration, loop}, func(w *world) {
		if got := wait(w, enqueue(w, loop, setting{})); got.Output != nothing || got.Iterations != 3 {
			w.Errorf("%+v", got)
		}
	})
	// A record of before has no output that said it is zero.
	var old core.LoopResult[setting]
	if err := json.Unmarshal([]byte(`{"succeeded":true,"iterations":1}`), &old); err != nil || old.Output != (setting{}) {
		t.Errorf("%+v, error %v", old, err)
	}
}

func TestAPointerToALoopResultMayBeNil(t *testing.T) {
	all := []*core.LoopResult[int]{nil, {Succeeded: true, Output: 7, Iterations: 2}}
	task := core.NewTask("task", func(_ context.Context, i int) (*core.LoopResult[int], error) { return all[i], nil }, core.TaskOptions{})
	inWorld(t, []core.Definition{task}, func(w *world) {
		for i, want := range all {
			if diff := cmp.Diff(want, wait(w, enqueue(w, task, i))); diff != "" {
				w.Error(diff)
			}
		}
	})
}

package showcase

import (
	"context"
	"errors"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

// key returns a unique key or id.
func key() string { return core.NewID() }

// scenarios are what a user may want to see. The tasks are those of functions/tasks.
var scenarios = map[string]func(v visitor){
	// Kinds.
	"task": func(v visitor) { v.outcome(v.enqueue("reserve_item", "lamp"), 400) },
	"parent without finalize, recursive": func(v visitor) {
		id := v.enqueue("pack_box", 3)
		v.end(id, core.StatusCompleted)
		depth := 0
		for n := v.done(handler.Request{Action: "tree", ExecutionID: id}); len(n.Children) > 0; n = n.Children[0] {
			depth++
		}
		if depth != 3 {
			v.Errorf("the tree is %d deep, want 3", depth)
		}
	},
	"parent with finalize function": func(v visitor) {
		order := tasks.Order{ID: key(), Items: []string{"lamp", "flaky", "book"}}
		v.outcome(v.enqueue("reserve_order", order), tasks.Reserved{Order: order, Cents: 1300})
	},
	"finalize function sees failed children": func(v visitor) {
		id := v.enqueue("reserve_order", tasks.Order{ID: key(), Items: []string{"lamp", "unicorn"}})
		v.fails(id, core.StatusFinalizeFailed, core.CodeFailed, "unicorn")
	},
	"parent with finalize task that is a parent": func(v visitor) {
		v.outcome(v.enqueue("shipment", []string{"lamp", "unicorn", "book"}), "2 of 3 labels")
	},
	"sequential with a parent and a sleeper for steps": func(v visitor) {
		order := tasks.Order{ID: key(), Items: []string{"lamp"}}
		id := v.enqueue("place_order", order)
		v.done(handler.Request{Action: "wakeup", Task: "await_payment", Key: order.ID, Output: jsonOf(tasks.Payment{Reference: "card", Cents: 400})})
		v.outcome(id, "paid 4.00 by card")
	},
	"a failing step ends the chain and is named": func(v visitor) {
		id := v.enqueue("place_order", tasks.Order{ID: key(), Items: []string{"unicorn"}})
		v.fails(id, core.StatusFailed, core.CodeFailed, "step 0")
	},
	"looping": func(v visitor) {
		v.outcome(v.enqueue("track_parcel", 2), core.LoopResult[string]{Succeeded: true, Output: "arrived", Iterations: 3})
	},
	"looping that is never done": func(v visitor) {
		v.outcome(v.enqueue("track_parcel", 99), core.LoopResult[string]{Iterations: 5})
	},
	"sleeping, woken twice": func(v visitor) {
		k := key()
		id := v.enqueue("await_payment", k)
		wake := handler.Request{Action: "wakeup", Task: "await_payment", Key: k, Output: jsonOf(tasks.Payment{Cents: 1})}
		v.done(wake)
		wake.Output = jsonOf(tasks.Payment{Cents: 2})
		v.refused(handler.CodeFinished, wake)
		v.outcome(id, tasks.Payment{Cents: 1})
	},
	"sleeping, woken before it exists": func(v visitor) {
		k := key()
		v.done(handler.Request{Action: "wakeup", Task: "await_payment", Key: k, Output: jsonOf(tasks.Payment{Cents: 3})})
		v.outcome(v.enqueue("await_payment", k), tasks.Payment{Cents: 3})
	},
	"sleeping, woken with an error": func(v visitor) {
		k := key()
		id := v.enqueue("await_payment", k)
		v.done(handler.Request{Action: "wakeup", Task: "await_payment", Key: k, Failure: "card declined"})
		v.fails(id, core.StatusFailed, core.CodeFailed, "card declined")
	},
	"sleeping too long": func(v visitor) {
		id := v.enqueue("await_payment", key(), func(r *handler.Request) { r.TimeoutMS = 200 })
		v.fails(id, core.StatusTimedOut, core.CodeTimedOut, "nobody woke it")
	},

	// Options.
	"retry": func(v visitor) {
		id := v.enqueue("reserve_item", "flaky")
		if r := v.end(id, core.StatusCompleted); r.Attempts != 2 {
			v.Errorf("%d attempts, want 2", r.Attempts)
		}
	},
	"an error that is not retried": func(v visitor) {
		if r := v.fails(v.enqueue("reserve_item", "unicorn"), core.StatusFailed, core.CodeFailed, "out of stock"); r.Attempts != 1 {
			v.Errorf("%d attempts, want 1", r.Attempts)
		}
	},
	"a panic is a failed attempt, retried as the enqueue says": func(v visitor) {
		id := v.enqueue("crash", "boom", func(r *handler.Request) {
			r.Retry = &handler.Retry{MaxAttempts: 2, BaseDelayMS: 10}
		})
		if r := v.fails(id, core.StatusFailed, core.CodePanicked, "boom"); r.Attempts != 2 {
			v.Errorf("%d attempts, want 2", r.Attempts)
		}
	},
	"attempt timeout": func(v visitor) {
		id := v.enqueue("slow", 60_000, func(r *handler.Request) { r.TimeoutMS = 100 })
		v.fails(id, core.StatusTimedOut, core.CodeTimedOut, "")
	},
	"start-to-finish timeout": func(v visitor) {
		id := v.enqueue("slow", 60_000, func(r *handler.Request) { r.StartToFinishMS = 150 })
		v.fails(id, core.StatusTimedOut, core.CodeStartToFinish, "")
	},
	"schedule-to-start timeout": func(v visitor) {
		// A start in the past is one at once, so one in many is started within the millisecond that it may wait.
		for range 100 {
			id := v.enqueue("reserve_item", "lamp", func(r *handler.Request) {
				r.StartAt, r.ScheduleToStartMS = time.Now().Add(-time.Minute), 1
			})
			if v.until(handler.Request{Action: "get", ExecutionID: id}, finished).Status == core.StatusTimedOut {
				v.fails(id, core.StatusTimedOut, core.CodeScheduleToStart, "")
				return
			}
		}
		v.Error("none of 100 waited for longer than a millisecond")
	},
	"delay": func(v visitor) {
		began := time.Now()
		id := v.enqueue("reserve_item", "lamp", func(r *handler.Request) { r.DelayMS = 700 })
		if r := v.end(id, core.StatusCompleted); r.StartedAt.Sub(r.CreatedAt) < 700*time.Millisecond || time.Since(began) < 700*time.Millisecond {
			v.Errorf("started %s after it was made, want 700 ms", r.StartedAt.Sub(r.CreatedAt))
		}
	},
	"start at a given time": func(v visitor) {
		at := time.Now().Add(600 * time.Millisecond)
		id := v.enqueue("reserve_item", "lamp", func(r *handler.Request) { r.StartAt = at })
		if r := v.end(id, core.StatusCompleted); r.StartedAt.Before(core.Millis(at)) {
			v.Errorf("started at %s, want %s", r.StartedAt, at)
		}
	},
	"idempotent enqueue": func(v visitor) {
		k := key()
		keyed := func(r *handler.Request) { r.Key = k }
		first := v.enqueue("reserve_item", "lamp", keyed)
		if second := v.enqueue("reserve_item", "lamp", keyed); second != first {
			v.Errorf("the same key made %s and %s", first, second)
		}
		v.refused(handler.CodeAlreadyExists, handler.Request{Action: "enqueue", Task: "reserve_item", Input: jsonOf("book"), Key: k})
		v.refused(handler.CodeAlreadyExists, handler.Request{Action: "enqueue", Task: "slow", Input: jsonOf(1), Key: k})
	},
	"bulk enqueue": func(v visitor) {
		items := make([]core.BulkItem[int], 500)
		for i := range items {
			items[i].Input = i // 0 is refused
		}
		ctx, cancel := context.WithTimeout(v.Context(), 5*time.Minute)
		defer cancel()
		for i, r := range tasks.Checked.EnqueueMany(ctx, v.client, items, nil) {
			if i == 0 {
				if !errors.Is(r.Err, core.ErrInvalid) {
					v.Errorf("item 0: %v", r.Err)
				}
				continue
			}
			if r.Err != nil {
				v.Fatalf("item %d: %v", i, r.Err)
			}
			if out, err := r.Handle.Wait(ctx); out != i || err != nil {
				v.Errorf("item %d came to %d, %v", i, out, err)
			}
		}
	},
	"a chosen execution id": func(v visitor) {
		id := "order-" + key()
		v.enqueue("reserve_item", "lamp", func(r *handler.Request) { r.ExecutionID = id })
		v.outcome(id, 400)
		v.refused(handler.CodeAlreadyExists, handler.Request{Action: "enqueue", Task: "reserve_item", Input: jsonOf("lamp"), ExecutionID: id})
	},
	"validation": func(v visitor) {
		v.refused(handler.CodeBadRequest, handler.Request{Action: "enqueue", Task: "checked", Input: jsonOf(-1)})
		v.outcome(v.enqueue("checked", 5), 5)
	},

	// Life and death.
	"cancel": func(v visitor) {
		id := v.enqueue("slow", 15_000)
		v.until(handler.Request{Action: "get", ExecutionID: id}, func(r handler.Response) bool { return r.Status == core.StatusRunning })
		v.done(handler.Request{Action: "cancel", ExecutionID: id, Reason: "changed my mind"})
		v.fails(id, core.StatusCancelled, core.CodeCancelled, "changed my mind")
		v.refused(handler.CodeFinished, handler.Request{Action: "cancel", ExecutionID: id})
	},
	"cancel of a tree": func(v visitor) {
		order := tasks.Order{ID: key(), Items: []string{"lamp"}}
		id := v.enqueue("place_order", order)
		below := func() []handler.Response { return v.done(handler.Request{Action: "tree", ExecutionID: id}).Children }
		v.until(handler.Request{Action: "tree", ExecutionID: id}, func(r handler.Response) bool { return len(r.Children) == 3 })
		v.done(handler.Request{Action: "cancel", ExecutionID: id})
		for _, child := range below() {
			if want := map[bool]core.Status{true: core.StatusCancelled, false: core.StatusCompleted}[child.Task == "await_payment"]; child.Status != want {
				v.Errorf("child %s is %s, want %s", child.Task, child.Status, want)
			}
		}
	},
	"redrive does finished work once": func(v visitor) {
		order := tasks.Order{ID: key(), Items: []string{"lamp"}}
		id := v.enqueue("place_order", order)
		v.done(handler.Request{Action: "wakeup", Task: "await_payment", Key: order.ID, Failure: "card declined"})
		v.fails(id, core.StatusFailed, core.CodeFailed, "card declined")
		again := v.done(handler.Request{Action: "redrive", ExecutionID: id})
		if twice := v.done(handler.Request{Action: "redrive", ExecutionID: id}); twice.ExecutionID != again.ExecutionID {
			v.Errorf("redriven as %s and as %s", again.ExecutionID, twice.ExecutionID)
		}
		v.until(handler.Request{Action: "tree", ExecutionID: again.ExecutionID}, func(r handler.Response) bool { return len(r.Children) == 3 })
		v.done(handler.Request{Action: "wakeup", Task: "await_payment", Key: order.ID, Output: jsonOf(tasks.Payment{Reference: "cash", Cents: 400})})
		v.outcome(again.ExecutionID, "paid 4.00 by cash")
		if r := v.done(handler.Request{Action: "get", ExecutionID: again.ExecutionID}); r.RedriveOf != id {
			v.Errorf("it is a redrive of %q, want %s", r.RedriveOf, id)
		}
		reserved := v.done(handler.Request{Action: "tree", ExecutionID: again.ExecutionID}).Children[0]
		if reserved.Attempts != 0 || reserved.Status != core.StatusCompleted {
			v.Errorf("the finished step is %s after %d attempts, want it born completed", reserved.Status, reserved.Attempts)
		}
	},
	"what completed is not redriven": func(v visitor) {
		id := v.enqueue("reserve_item", "lamp")
		v.end(id, core.StatusCompleted)
		v.refused(handler.CodeNotAllowed, handler.Request{Action: "redrive", ExecutionID: id})
	},
	"list": func(v visitor) {
		id := v.enqueue("checked", 7)
		v.end(id, core.StatusCompleted)
		v.until(handler.Request{Action: "list", Task: "checked", Status: core.StatusCompleted}, func(r handler.Response) bool {
			for _, e := range r.Executions {
				if e.ExecutionID == id {
					return true
				}
			}
			return false
		})
	},
}

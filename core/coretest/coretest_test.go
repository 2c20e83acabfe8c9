package coretest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
	"github.com/perdure-dev/perdure/core/faultstore"
)

// The workflow under test: an order reserves its items, waits for its payment for up to thirty days, and makes a receipt.
var (
	reserve = core.NewTask("reserve", func(ctx context.Context, item string) (string, error) {
		if core.InfoOf(ctx).Attempt == 1 && item == "lamp" {
			return "", errors.New("the warehouse does not answer")
		}
		if item == "unicorn" {
			return "", core.NonRetryable(errors.New("no such item"))
		}
		return item + " reserved", nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3, BaseDelay: time.Hour}})

	payment = core.NewSleepingTask[int]("payment", core.TaskOptions{Timeout: 30 * 24 * time.Hour})

	order = core.NewParentTaskWithFinalize("order", func(_ context.Context, items []string) (int, []core.Child, error) {
		children := []core.Child{payment.Child("order of " + strings.Join(items, ", "))}
		for _, item := range items {
			children = append(children, reserve.Child(item))
		}
		return len(items), children, nil
	}, func(_ context.Context, r core.Results[int]) (string, error) {
		cents, err := payment.Result(r.Children[0])
		if err != nil {
			return "", err
		}
		if cents < 100*r.Output {
			return "", errors.New("too little was paid")
		}
		return "thank you", nil
	}, core.TaskOptions{})

	orders = []core.Definition{order, payment, reserve}
)

func TestAnOrderIsPaidAndItsItemsAreReserved(t *testing.T) {
	t.Parallel()
	coretest.Run(t, orders, func(w *coretest.World) {
		h := coretest.Enqueue(w, order, []string{"lamp", "rug"})
		w.Until(h, core.StatusWaitingForChildren)
		w.Skip(29 * 24 * time.Hour)
		coretest.Wake(w, payment, "order of lamp, rug", 200)
		if receipt := coretest.Wait(w, h); receipt != "thank you" {
			w.Errorf("the receipt is %q", receipt)
		}
		w.CheckTree(h, `
			order completed attempts=1 output="thank you"
			  [0] payment completed key="order of lamp, rug" output=200
			  [1] reserve completed attempts=2 output="lamp reserved"
			  [2] reserve completed attempts=1 output="rug reserved"`)
		w.Skip(time.Minute)
		w.CheckNothingLeft()
	})
}

func TestAPaymentThatComesBeforeTheOrderIsKept(t *testing.T) {
	t.Parallel()
	coretest.Run(t, orders, func(w *coretest.World) {
		coretest.Wake(w, payment, "order of rug", 100)
		coretest.Wait(w, coretest.Enqueue(w, order, []string{"rug"}))
	})
}

func TestAnOrderThatNobodyPaysFails(t *testing.T) {
	t.Parallel()
	coretest.Run(t, orders, func(w *coretest.World) {
		began := time.Now()
		h := coretest.Enqueue(w, order, []string{"unicorn"})
		if err := coretest.WaitError(w, h); err.Status != core.StatusFinalizeFailed {
			w.Errorf("it ended %s", err.Status)
		}
		if days := time.Since(began).Hours() / 24; days < 30 || days > 30.1 {
			w.Errorf("it took %v days", days)
		}
		w.CheckTree(h, `
			order finalize_failed attempts=1 failure="timed_out: nobody woke it within its timeout"
			  [0] payment timed_out key="order of unicorn" failure="timed_out: nobody woke it within its timeout"
			  [1] reserve failed attempts=1 failure="failed: no such item"`)
	})
}

func TestACancelledOrderStopsItsPayment(t *testing.T) {
	t.Parallel()
	coretest.Run(t, orders, func(w *coretest.World) {
		h := coretest.EnqueueWith(w, order, []string{"rug"}, core.EnqueueOptions{ID: "first"})
		w.Until(h, core.StatusWaitingForChildren)
		w.Skip(time.Second)
		w.Cancel(coretest.ID("first"), "changed my mind")
		w.CheckTree(h, `
			order cancelled attempts=1 failure="cancelled: changed my mind"
			  [0] payment cancelled key="order of rug" failure="cancelled: its parent is cancelled"
			  [1] reserve completed attempts=1 output="rug reserved"`)
	})
}

func TestACardIsChargedAgainAfterACrashBeforeTheChargeIsKnown(t *testing.T) {
	t.Parallel()
	var w *coretest.World
	charges := map[string]int{} // what the bank knows, by idempotency key
	charge := core.NewTask("charge", func(ctx context.Context, cents int) (int, error) {
		id := core.InfoOf(ctx).ExecutionID
		if charges[id]++; charges[id] == 1 {
			w.Crash()
		}
		return cents, nil
	}, core.TaskOptions{})
	coretest.Run(t, []core.Definition{charge}, func(world *coretest.World) {
		w = world
		h := coretest.Enqueue(w, charge, 400)
		coretest.Wait(w, h)
		w.CheckTree(h, `charge completed attempts=1 recoveries=1 output=400`)
		if charges[h.ID()] != 2 {
			w.Errorf("charged %d times", charges[h.ID()])
		}
	})
}

func TestAnOrderSurvivesACrashAfterEachOperation(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 12; n++ {
		coretest.Run(t, orders, func(w *coretest.World) {
			w.CrashAfter(n)
			h := coretest.Enqueue(w, order, []string{"lamp"})
			coretest.Wake(w, payment, "order of lamp", 100)
			coretest.Wait(w, h)
			w.Skip(time.Hour)
			w.CheckNothingLeft()
		})
	}
}

func TestACrashIsPutAtAnOperation(t *testing.T) {
	t.Parallel()
	coretest.RunWith(t, orders, coretest.Options{NoExecutors: true}, func(w *coretest.World) {
		h := coretest.Enqueue(w, order, []string{"rug"})
		w.CrashAt(func(op faultstore.Op) bool { return op.Name == "Update" && op.ID == h.ID() })
		w.Start()
		w.Until(h, core.StatusWaitingForChildren)
		w.CheckTree(h, `order waiting_for_children attempts=1`) // committed, and no child is put
		coretest.Wake(w, payment, "order of rug", 100)
		coretest.Wait(w, h)
	})
}

func TestADeployGivesCodeTheTimeItNeeds(t *testing.T) {
	t.Parallel()
	polite := core.NewTask("polite", func(ctx context.Context, _ int) (string, error) {
		select {
		case <-core.ShuttingDown(ctx):
			return "ended early", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}, core.TaskOptions{Timeout: time.Hour})
	coretest.Run(t, []core.Definition{polite}, func(w *coretest.World) {
		h := coretest.Enqueue(w, polite, 1)
		w.Until(h, core.StatusRunning)
		w.Restart()
		if out := coretest.Wait(w, h); out != "ended early" {
			w.Errorf("output %q", out)
		}
	})
}

func TestAStoreThatLosesAnswersChangesNothing(t *testing.T) {
	t.Parallel()
	coretest.Run(t, orders, func(w *coretest.World) {
		lost := map[string]bool{} // the first answer about each record
		w.Fault(func(op faultstore.Op) faultstore.Fault {
			if op.ID == "" || lost[op.Name+op.ID] {
				return faultstore.None
			}
			lost[op.Name+op.ID] = true
			return faultstore.Unanswered
		})
		h := coretest.Enqueue(w, order, []string{"lamp", "rug"})
		coretest.WakeWithError(w, payment, "order of lamp, rug", errors.New("declined"))
		coretest.WaitError(w, h)
		w.CheckTree(h, `
			order finalize_failed attempts=1 failure="failed: declined"
			  [0] payment failed key="order of lamp, rug" failure="failed: declined"
			  [1] reserve completed attempts=2 output="lamp reserved"
			  [2] reserve completed attempts=1 output="rug reserved"`)
	})
}

// Ninety days of an hourly poll are some 6,500 writes, and little besides.
func TestALongTimeCostsWhatHappensInIt(t *testing.T) {
	t.Parallel()
	poll := core.NewTask("poll", func(context.Context, int) (core.Iteration[int, int], error) {
		return core.Again[int, int](), nil
	}, core.TaskOptions{})
	loop := core.NewLoopingTask("loop", poll, core.LoopOptions{MaxIterations: 24 * 90, Sleep: time.Hour}, core.TaskOptions{})
	coretest.RunWith(t, []core.Definition{loop, poll}, coretest.Options{Operations: 50_000}, func(w *coretest.World) {
		if r := coretest.Wait(w, coretest.Enqueue(w, loop, 1)); r.Succeeded || r.Iterations != 24*90 {
			w.Errorf("the loop came to %+v", r)
		}
	})
}

// failing are tests that must fail, and what they say. They are run by TestWhatIsWrongFailsTheTestAndIsSaid only.
var failing = map[string]struct {
	test func(t *testing.T)
	says []string
}{
	"another output than wanted": {func(t *testing.T) {
		coretest.Run(t, orders, func(w *coretest.World) {
			h := coretest.Enqueue(w, reserve, "rug")
			coretest.Wait(w, h)
			w.CheckTree(h, `reserve completed attempts=1 output="lamp reserved"`)
		})
	}, []string{`- reserve completed attempts=1 output="lamp reserved"`, `+ reserve completed attempts=1 output="rug reserved"`}},
	"a failure that was not wanted": {func(t *testing.T) {
		coretest.Run(t, orders, func(w *coretest.World) { coretest.Wait(w, coretest.Enqueue(w, reserve, "unicorn")) })
	}, []string{"no such item", "reserve failed attempts=1"}},
	"a failure that was wanted": {func(t *testing.T) {
		coretest.Run(t, orders, func(w *coretest.World) { coretest.WaitError(w, coretest.Enqueue(w, reserve, "rug")) })
	}, []string{"did not fail", "reserve completed"}},
	"a status that never comes": {func(t *testing.T) {
		coretest.Run(t, orders, func(w *coretest.World) {
			w.Until(coretest.Enqueue(w, reserve, "rug"), core.StatusWaitingForChildren)
		})
	}, []string{"is completed and will never be waiting_for_children"}},
	"nothing is left to happen": {func(t *testing.T) {
		coretest.RunWith(t, orders, coretest.Options{NoExecutors: true}, func(w *coretest.World) {
			coretest.Wait(w, coretest.Enqueue(w, reserve, "rug"))
		})
	}, []string{"is ready after 9600h0m0s and not finished", "in queue ready, due 2000-01-01"}},
	"a retry without end": {func(t *testing.T) {
		again := core.NewTask("again", func(context.Context, int) (int, error) {
			return 0, core.RetryAfter(errors.New("again"), 0)
		}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 1000}})
		coretest.RunWith(t, []core.Definition{again}, coretest.Options{Operations: 500}, func(w *coretest.World) {
			coretest.Wait(w, coretest.Enqueue(w, again, 1))
		})
	}, []string{"after 500 operations of the store", "does it go on for ever?", `failure="failed: again"`}},
	"a sleeper that is left": {func(t *testing.T) {
		coretest.Run(t, orders, func(w *coretest.World) {
			coretest.Enqueue(w, payment, "order 1")
			w.CheckNothingLeft()
		})
	}, []string{"left behind", "of task payment is running, in queue sleeping, due 2000-01-31"}},
	"a task that is not registered": {func(t *testing.T) {
		coretest.Run(t, []core.Definition{order, payment}, func(w *coretest.World) {
			h := coretest.Enqueue(w, order, []string{"rug"})
			coretest.Wait(w, h)
		})
	}, []string{`unknown task "reserve"`}},
	"a bad task": {func(t *testing.T) {
		coretest.Run(t, []core.Definition{core.NewTask[int, int]("nil", nil, core.TaskOptions{})}, func(*coretest.World) {})
	}, []string{`task "nil"`}},
}

func TestWhatIsWrongFailsTheTestAndIsSaid(t *testing.T) {
	const variable = "CORETEST_FAILING"
	if name := os.Getenv(variable); name != "" {
		failing[name].test(t)
		return
	}
	t.Parallel()
	for name, c := range failing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWhatIsWrongFailsTheTestAndIsSaid$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), variable+"="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || strings.Contains(string(out), "panic:") {
				t.Fatalf("it did not fail as a test does: error %v\n%s", err, out)
			}
			for _, text := range c.says {
				if !strings.Contains(string(out), text) {
					t.Errorf("it does not say %q:\n%s", text, out[max(0, len(out)-4000):])
				}
			}
		})
	}
}

// The tests had lists of tasks of their own, and what the program's registry does not name was found when it ran.
func TestATaskThatTheProgramDoesNotRegisterIsFound(t *testing.T) {
	t.Parallel()
	registry, err := core.NewRegistry(order, payment)
	if err != nil {
		t.Fatal(err)
	}
	coretest.RunWith(t, nil, coretest.Options{Registry: registry}, func(w *coretest.World) {
		failed := coretest.WaitError(w, coretest.Enqueue(w, order, []string{"lamp"}))
		if !strings.Contains(failed.Error(), `unknown task "reserve": it is not registered`) {
			w.Error(failed)
		}
	})
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
)

// embedded runs f with a client of an engine that runs in this process and knows the tasks, as Example does at
// length.
func embedded(f func(ctx context.Context, c *core.Client), tasks ...core.Definition) {
	embeddedAfter(nil, f, tasks...)
}

// embeddedAfter is embedded with something that is done before the engine runs.
func embeddedAfter(before, f func(ctx context.Context, c *core.Client), tasks ...core.Definition) {
	ctx, stop := context.WithCancel(context.Background())
	registry, err := core.NewRegistry(tasks...)
	if err != nil {
		fmt.Println(err)
		stop()
		return
	}
	store := memstore.New(memstore.Options{})
	engine := must(core.NewEngine(core.Config{Store: store, Registry: registry, Poll: 10 * time.Millisecond}))
	client := must(core.NewClient(store, core.ClientOptions{Registry: registry}))
	if before != nil {
		before(ctx, client)
	}
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	f(ctx, client)
	stop()
	<-ended
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Tasks of an order, which the examples put together.
var (
	reserve = core.NewTask("reserve", func(_ context.Context, item string) (string, error) {
		if item == "unicorn" {
			return "", errors.New("out of stock")
		}
		return item + " reserved", nil
	}, core.TaskOptions{})
	price = core.NewTask("price", func(_ context.Context, item string) (int, error) { return 10 * len(item), nil }, core.TaskOptions{})
	tax   = core.NewTask("tax", func(_ context.Context, amount int) (float64, error) { return float64(amount) * 1.2, nil }, core.TaskOptions{})
	label = core.NewTask("label", func(_ context.Context, total float64) (string, error) { return fmt.Sprintf("%.2f", total), nil }, core.TaskOptions{})
)

func reserveEach(_ context.Context, items []string) (int, []core.Child, error) {
	children := make([]core.Child, len(items))
	for i, item := range items {
		children[i] = reserve.Child(item)
	}
	return len(items), children, nil
}

// A parent without finalize completes with what its run returned and every child's result, completed or not, in
// order.
func ExampleNewParentTask() {
	order := core.NewParentTask("order", reserveEach, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		r := must(must(order.Enqueue(ctx, c, []string{"lamp", "unicorn"})).Wait(ctx))
		fmt.Println(r.Output, "items")
		for _, child := range r.Children {
			text, err := reserve.Result(child)
			fmt.Println(child.Status, text, err != nil)
		}
	}, order, reserve)
	// Output:
	// 2 items
	// completed lamp reserved false
	// failed  true
}

// A finalize function makes the parent's output of the family's results, failed children included.
func ExampleNewParentTaskWithFinalize() {
	order := core.NewParentTaskWithFinalize("order", reserveEach,
		func(_ context.Context, r core.Results[int]) (string, error) {
			reserved := 0
			for _, child := range r.Children {
				if child.Status == core.StatusCompleted {
					reserved++
				}
			}
			return fmt.Sprintf("%d of %d", reserved, r.Output), nil
		}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(order.Enqueue(ctx, c, []string{"lamp", "unicorn", "desk"})).Wait(ctx)))
	}, order, reserve)
	// Output: 2 of 3
}

// A finalize task is an execution of its own, with retries of its own. It may be a task of any kind: here it is a
// parent, which has children in turn.
func ExampleNewParentTaskWithFinalizeTask() {
	notify := core.NewTask("notify", func(_ context.Context, who string) (string, error) { return "told " + who, nil }, core.TaskOptions{})
	report := core.NewParentTaskWithFinalize("report",
		func(_ context.Context, r core.Results[int]) (int, []core.Child, error) {
			return len(r.Children), []core.Child{notify.Child("sales"), notify.Child("stock")}, nil
		},
		func(_ context.Context, r core.Results[int]) (string, error) {
			texts := []string{fmt.Sprint(r.Output, " items")}
			for _, child := range r.Children {
				text, err := notify.Result(child)
				if err != nil {
					return "", err
				}
				texts = append(texts, text)
			}
			return strings.Join(texts, ", "), nil
		}, core.TaskOptions{})
	order := core.NewParentTaskWithFinalizeTask("order", reserveEach, report, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(order.Enqueue(ctx, c, []string{"lamp", "desk"})).Wait(ctx)))
	}, order, reserve, report, notify)
	// Output: 2 items, told sales, told stock
}

// The steps of a sequence hand on what they came to; the compiler checks that the types fit.
func ExampleNewSequentialTask() {
	total := core.NewSequentialTask("total", core.Then(core.Then(price, tax), label), core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(total.Enqueue(ctx, c, "lamp")).Wait(ctx)))
	}, total, price, tax, label)
	// Output: 48.00
}

// A looping task polls until an iteration says that it is done; each may hand an input to the next.
func ExampleNewLoopingTask() {
	track := core.NewTask("track", func(_ context.Context, hubs int) (core.Iteration[int, string], error) {
		if hubs == 0 {
			return core.Done[int]("delivered"), nil
		}
		return core.AgainWith[int, string](hubs - 1), nil
	}, core.TaskOptions{})
	delivery := core.NewLoopingTask("delivery", track,
		core.LoopOptions{MaxIterations: 10, Sleep: 5 * time.Millisecond}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Printf("%+v\n", must(must(delivery.Enqueue(ctx, c, 2)).Wait(ctx)))
		fmt.Printf("%+v\n", must(must(delivery.Enqueue(ctx, c, 99)).Wait(ctx)))
	}, delivery, track)
	// Output:
	// {Succeeded:true Output:delivered Iterations:3}
	// {Succeeded:false Output: Iterations:10}
}

// A sleeping task waits, at no cost, for a wake-up from anywhere: here, from what would be a payment's webhook.
func ExampleWakeup() {
	payment := core.NewSleepingTask[int]("payment", core.TaskOptions{Timeout: time.Hour})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(payment.Enqueue(ctx, c, "order 17"))
		_, err := core.Wakeup(ctx, c, payment, "order 17", 4800)
		fmt.Println(must(h.Wait(ctx)), err)

		again, err := core.Wakeup(ctx, c, payment, "order 17", 9999)
		fmt.Println(must(again.Wait(ctx)), errors.Is(err, core.ErrFinished))
	}, payment)
	// Output:
	// 4800 <nil>
	// 4800 true
}

// A wake-up that comes before its sleeper is kept, and delivered as soon as that appears.
func ExampleWakeup_early() {
	payment := core.NewSleepingTask[int]("payment", core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		must(core.Wakeup(ctx, c, payment, "order 17", 4800))
		fmt.Println(must(must(payment.Enqueue(ctx, c, "order 17")).Wait(ctx)))
	}, payment)
	// Output: 4800
}

// What wakes a sleeper may be an error.
func ExampleWakeupWithError() {
	payment := core.NewSleepingTask[int]("payment", core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(payment.Enqueue(ctx, c, "order 17"))
		must(core.WakeupWithError(ctx, c, payment, "order 17", errors.New("card declined")))
		_, err := h.Wait(ctx)
		var ended *core.ExecutionError
		fmt.Println(errors.As(err, &ended), ended.Status, ended.Failure.Message)
	}, payment)
	// Output: true failed card declined
}

// A task may have children of its own kind. Go wants the variable declared before the function that uses it.
func ExampleTask_Child_recursive() {
	type part struct {
		Name  string
		Parts []part
	}
	var count *core.Task[part, int]
	count = core.NewParentTaskWithFinalize("count", func(_ context.Context, p part) (int, []core.Child, error) {
		var children []core.Child
		for _, sub := range p.Parts {
			children = append(children, count.Child(sub))
		}
		return 1, children, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		total := r.Output
		for _, child := range r.Children {
			n, err := count.Result(child)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		bike := part{"bike", []part{{"frame", nil}, {"wheel", []part{{"rim", nil}, {"tyre", nil}}}}}
		fmt.Println(must(must(count.Enqueue(ctx, c, bike)).Wait(ctx)), "parts")
	}, count)
	// Output: 5 parts
}

// An attempt that fails is retried as the policy says; an error may say better.
func ExampleRetryPolicy() {
	var attempts []string
	call := core.NewTask("call", func(ctx context.Context, service string) (string, error) {
		info := core.InfoOf(ctx)
		attempts = append(attempts, service+" "+strconv.Itoa(info.Attempt))
		switch {
		case service == "gone":
			return "", core.NonRetryable(errors.New("410"))
		case info.Attempt == 1:
			return "", core.RetryAfter(errors.New("429"), time.Millisecond)
		}
		return "after " + info.Previous.Message, nil
	}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 5, BaseDelay: time.Second, Jitter: 0.2}})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(call.Enqueue(ctx, c, "busy")).Wait(ctx)))
		_, err := must(call.Enqueue(ctx, c, "gone")).Wait(ctx)
		fmt.Println(err != nil, attempts)
	}, call)
	// Output:
	// after 429
	// true [busy 1 busy 2 gone 1]
}

// Three timeouts bound an attempt, the wait for an executor, and an execution as a whole; a failure's code tells
// which it was.
func ExampleTaskOptions_timeouts() {
	wait := core.NewTask("wait", func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}, core.TaskOptions{
		Timeout: 20 * time.Millisecond, Retry: core.RetryPolicy{MaxAttempts: 100, BaseDelay: time.Millisecond},
		ScheduleToStart: time.Hour,
	})
	var late *core.Handle[string]
	embeddedAfter(func(ctx context.Context, c *core.Client) {
		late = must(wait.EnqueueWith(ctx, c, "", core.EnqueueOptions{ScheduleToStart: time.Millisecond}))
		time.Sleep(3 * time.Millisecond) // nobody is there to start it
	}, func(ctx context.Context, c *core.Client) {
		for _, h := range []*core.Handle[string]{
			must(wait.EnqueueWith(ctx, c, "", core.EnqueueOptions{Retry: &core.RetryPolicy{}})),
			must(wait.EnqueueWith(ctx, c, "", core.EnqueueOptions{StartToFinish: 100 * time.Millisecond})),
			late,
		} {
			_, err := h.Wait(ctx)
			var ended *core.ExecutionError
			if errors.As(err, &ended) {
				fmt.Println(ended.Status, ended.Failure.Code)
			}
		}
	}, wait)
	// Output:
	// timed_out timed_out
	// timed_out start_to_finish
	// timed_out schedule_to_start
}

// An execution may start later: after a delay, or at a given time.
func ExampleEnqueueOptions_delay() {
	embedded(func(ctx context.Context, c *core.Client) {
		start := time.Now()
		h := must(price.EnqueueWith(ctx, c, "lamp", core.EnqueueOptions{StartAt: start.Add(50 * time.Millisecond)}))
		fmt.Println(must(h.Wait(ctx)), time.Since(start) > 50*time.Millisecond)
	}, price)
	// Output: 40 true
}

// The same key gives the same execution, so that a caller who is not sure may simply ask again.
func ExampleEnqueueOptions_key() {
	embedded(func(ctx context.Context, c *core.Client) {
		key := core.EnqueueOptions{Key: "invoice of order 17"}
		first, again := must(price.EnqueueWith(ctx, c, "lamp", key)), must(price.EnqueueWith(ctx, c, "lamp", key))
		fmt.Println(first.ID() == again.ID())
		_, err := price.EnqueueWith(ctx, c, "desk", key)
		fmt.Println(errors.Is(err, core.ErrAlreadyExists))
	}, price)
	// Output:
	// true
	// true
}

// Many executions are enqueued in one call, which tells what became of each.
func ExampleTask_EnqueueMany() {
	embedded(func(ctx context.Context, c *core.Client) {
		items := make([]core.BulkItem[string], 1000)
		for i := range items {
			items[i].Input = fmt.Sprint("item ", i)
		}
		items[500].Options.Delay = -time.Second
		batches := 0
		results := price.EnqueueMany(ctx, c, items, func(int) { batches++ })
		for i, r := range results {
			if r.Err != nil {
				fmt.Println(i, r.Err)
			}
		}
		fmt.Println(must(results[999].Handle.Wait(ctx)), batches)
	}, price)
	// Output:
	// 500 enqueue: invalid options of task "price": Delay is -1s, must be from 0 to 87600h0m0s
	// 80 10
}

// A task may refuse inputs before anything is written.
func ExampleTask_Validate() {
	ship := core.NewTask("ship", func(_ context.Context, kg int) (string, error) { return fmt.Sprint(kg, " kg shipped"), nil },
		core.TaskOptions{}).Validate(func(kg int) error {
		if kg > 30 {
			return fmt.Errorf("%d kg are too heavy", kg)
		}
		return nil
	})
	embedded(func(ctx context.Context, c *core.Client) {
		_, err := ship.Enqueue(ctx, c, 31)
		fmt.Println(errors.Is(err, core.ErrInvalid), err)
	}, ship)
	// Output: true enqueue: invalid input of task ship: 31 kg are too heavy
}

// Code can ask which execution it runs for, and gets a logger that carries the ids.
func ExampleInfoOf() {
	who := core.NewTask("who", func(ctx context.Context, _ struct{}) (string, error) {
		info := core.InfoOf(ctx)
		core.LoggerOf(ctx).InfoContext(ctx, "working")
		return fmt.Sprint(info.TaskID, ", attempt ", info.Attempt, ", root ", info.ExecutionID == info.RootID), nil
	}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		fmt.Println(must(must(who.Enqueue(ctx, c, struct{}{})).Wait(ctx)))
	}, who)
	// Output: who, attempt 1, root true
}

// Cancelling ends an execution and all that is unfinished below it; running code has its context cancelled.
func ExampleHandle_Cancel() {
	cause := make(chan error, 1)
	started := make(chan bool, 1)
	watch := core.NewTask("watch", func(ctx context.Context, _ string) (string, error) {
		started <- true
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return "", ctx.Err()
	}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(watch.Enqueue(ctx, c, ""))
		<-started
		fmt.Println(h.Cancel(ctx, "not needed any more"))
		fmt.Println(<-cause)
		fmt.Println(errors.Is(h.Cancel(ctx, ""), core.ErrFinished))
	}, watch)
	// Output:
	// <nil>
	// execution was cancelled
	// true
}

// An executor that is told to end tells the code that it runs, which may end early.
func ExampleShuttingDown() {
	started := make(chan bool, 1)
	work := core.NewTask("work", func(ctx context.Context, n int) (string, error) {
		started <- true
		select {
		case <-core.ShuttingDown(ctx):
			return "stopped early", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}, core.TaskOptions{})
	var client *core.Client
	var h *core.Handle[string]
	embedded(func(ctx context.Context, c *core.Client) {
		client, h = c, must(work.Enqueue(ctx, c, 1))
		<-started
	}, work)
	fmt.Println(must(h.Wait(context.Background())), client != nil)
	// Output: stopped early true
}

// A redriven execution does again only what did not complete.
func ExampleClient_Redrive() {
	packed := map[string]int{}
	stock := map[string]bool{"lamp": true}
	pack := core.NewTask("pack", func(_ context.Context, item string) (string, error) {
		packed[item]++
		if !stock[item] {
			return "", fmt.Errorf("no %s", item)
		}
		return item, nil
	}, core.TaskOptions{})
	parcel := core.NewParentTaskWithFinalize("parcel", func(context.Context, int) (int, []core.Child, error) {
		return 0, []core.Child{pack.Child("lamp"), pack.ChildWith("desk", core.EnqueueOptions{Delay: 20 * time.Millisecond})}, nil
	}, func(_ context.Context, r core.Results[int]) (string, error) {
		a, err := pack.Result(r.Children[0])
		if err != nil {
			return "", err
		}
		b, err := pack.Result(r.Children[1])
		return a + " and " + b, err
	}, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(parcel.Enqueue(ctx, c, 1))
		_, err := h.Wait(ctx)
		fmt.Println(err != nil, packed)

		stock["desk"] = true
		id := must(c.Redrive(ctx, h.ID()))
		fmt.Println(must(parcel.HandleOf(c, id).Wait(ctx)), packed)
		fmt.Println(must(c.RedrivenAs(ctx, h.ID())).ID == id, must(c.Get(ctx, id)).RedriveOf == h.ID())
	}, parcel, pack)
	// Output:
	// true map[desk:1 lamp:1]
	// lamp and desk map[desk:2 lamp:1]
	// true true
}

// Tree shows an execution with all that is below it.
func ExampleClient_Tree() {
	order := core.NewParentTask("order", reserveEach, core.TaskOptions{})
	embedded(func(ctx context.Context, c *core.Client) {
		h := must(order.Enqueue(ctx, c, []string{"lamp", "unicorn"}))
		must(h.Wait(ctx))
		must(c.Tree(ctx, h.ID())).Walk(func(depth int, e *core.Execution) {
			fmt.Println(strings.Repeat("  ", depth)+e.TaskID, e.Status)
		})
	}, order, reserve)
	// Output:
	// order completed
	//   reserve completed
	//   reserve failed
}

// A JSON codec may refuse fields that the Go type does not have. Clients and engine must use the same.
func ExampleJSON() {
	var order struct{ Item string }
	fmt.Println(core.JSON{}.Decode([]byte(`{"Item":"lamp","Colour":"red"}`), &order), order.Item)
	fmt.Println(core.JSON{Strict: true}.Decode([]byte(`{"Item":"lamp","Colour":"red"}`), &order))
	// Output:
	// <nil> lamp
	// json: unknown field "Colour"
}

// What is too large is refused before anything is written, and never retried.
func ExampleLimits() {
	client := must(core.NewClient(memstore.New(memstore.Options{}), core.ClientOptions{Limits: core.Limits{Payload: 100}}))
	_, err := price.Enqueue(context.Background(), client, strings.Repeat("x", 100))
	fmt.Println(errors.Is(err, core.ErrTooLarge), err)
	// Output: true enqueue: too large: the input of task price has 102 bytes, the limit is 100: keep large values elsewhere and pass a reference
}

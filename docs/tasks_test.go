package docs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// The code of tasks.md is from here, so what the page shows is what ran.

type Order struct {
	ID    string
	Items []string
	Cents int
}

type Receipt struct{ Reference string }

var errDeclined = errors.New("card declined")

// bank charges once for each idempotency key, as banks do; it does not answer the first time.
type theBank struct{ calls map[string]int }

func (b theBank) Charge(_ context.Context, key string, cents int) (Receipt, error) {
	b.calls[key]++
	switch {
	case cents == 0:
		return Receipt{}, errDeclined
	case b.calls[key] == 1:
		return Receipt{}, errors.New("the bank does not answer")
	}
	return Receipt{fmt.Sprint("charged ", cents)}, nil
}

var bank = theBank{map[string]int{}}

var charge = core.NewTask("charge", func(ctx context.Context, o Order) (Receipt, error) {
	receipt, err := bank.Charge(ctx, core.InfoOf(ctx).ExecutionID, o.Cents)
	if errors.Is(err, errDeclined) {
		return receipt, core.NonRetryable(err) // no attempt would fare better
	}
	return receipt, err
}, core.TaskOptions{
	Timeout: 20 * time.Second, // of one attempt
	Retry:   core.RetryPolicy{MaxAttempts: 5, BaseDelay: time.Second, Jitter: 0.2},
})

func simple(ctx context.Context, client *core.Client) error {
	handle, err := charge.Enqueue(ctx, client, Order{ID: "17", Cents: 400})
	if err != nil {
		return err // nothing was written, or the error matches core.ErrUnknownOutcome
	}
	receipt, err := handle.Wait(ctx)
	if err != nil {
		return err // a *core.ExecutionError when the execution ended otherwise
	}
	return expect(receipt.Reference, "charged 400")
}

var reserve = core.NewTask("reserve", func(_ context.Context, item string) (string, error) {
	if item == "unicorn" {
		return "", core.NonRetryable(errors.New("no such item"))
	}
	return "shelf of " + item, nil
}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 3}})

func reserveEach(_ context.Context, o Order) (int, []core.Child, error) {
	children := make([]core.Child, len(o.Items))
	for i, item := range o.Items {
		children[i] = reserve.Child(item)
	}
	return len(o.Items), children, nil
}

var reserveAll = core.NewParentTask("reserve_all", reserveEach, core.TaskOptions{})

func family(ctx context.Context, client *core.Client) error {
	handle, err := reserveAll.Enqueue(ctx, client, Order{Items: []string{"lamp", "unicorn"}})
	if err != nil {
		return err
	}
	results, err := handle.Wait(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for i, child := range results.Children { // in order, failed ones included
		if shelf, err := reserve.Result(child); err != nil {
			missing = append(missing, fmt.Sprintf("item %d: %v", i, child.Failure))
		} else {
			core.LoggerOf(ctx).InfoContext(ctx, "reserved", "shelf", shelf)
		}
	}
	return expect(missing, []string{"item 1: no such item"})
}

var reserveOrFail = core.NewParentTaskWithFinalize("reserve_or_fail", reserveEach,
	func(_ context.Context, r core.Results[int]) ([]string, error) {
		shelves := make([]string, len(r.Children))
		for i, child := range r.Children {
			shelf, err := reserve.Result(child)
			if err != nil {
				return nil, err // the parent ends finalize_failed
			}
			shelves[i] = shelf
		}
		return shelves, nil
	}, core.TaskOptions{})

var report = core.NewTask("report", func(_ context.Context, r core.Results[int]) (string, error) {
	return fmt.Sprintf("%d items, %d results", r.Output, len(r.Children)), nil
}, core.TaskOptions{Retry: core.RetryPolicy{MaxAttempts: 10}})

var reserveAndReport = core.NewParentTaskWithFinalizeTask("reserve_and_report", reserveEach, report, core.TaskOptions{})

func finalizes(ctx context.Context, client *core.Client) error {
	order := Order{Items: []string{"lamp", "desk"}}
	first, err := reserveOrFail.Enqueue(ctx, client, order)
	if err != nil {
		return err
	}
	second, err := reserveAndReport.Enqueue(ctx, client, order)
	if err != nil {
		return err
	}
	shelves, err := first.Wait(ctx)
	if err != nil {
		return err
	}
	text, err := second.Wait(ctx)
	if err != nil {
		return err
	}
	return errors.Join(expect(shelves, []string{"shelf of lamp", "shelf of desk"}), expect(text, "2 items, 2 results"))
}

var (
	price = core.NewTask("price", func(_ context.Context, o Order) (int, error) {
		return 100 * len(o.Items), nil
	}, core.TaskOptions{})
	tax = core.NewTask("tax", func(_ context.Context, cents int) (float64, error) {
		return float64(cents) * 1.2, nil
	}, core.TaskOptions{})
	label = core.NewTask("label", func(_ context.Context, cents float64) (string, error) {
		return fmt.Sprintf("%.2f", cents/100), nil
	}, core.TaskOptions{})

	total = core.NewSequentialTask("total", core.Then(core.Then(price, tax), label), core.TaskOptions{})
)

var (
	arrived = core.NewTask("arrived", func(ctx context.Context, parcel string) (core.Iteration[string, string], error) {
		if core.InfoOf(ctx).Index < 2 { // the carrier does not have it yet
			return core.Again[string, string](), nil
		}
		return core.Done[string](parcel + " is at the door"), nil
	}, core.TaskOptions{})

	delivery = core.NewLoopingTask("delivery", arrived,
		core.LoopOptions{MaxIterations: 100, Sleep: time.Hour}, core.TaskOptions{})
)

func chains(ctx context.Context, client *core.Client) error {
	sum, err := total.Enqueue(ctx, client, Order{Items: []string{"lamp", "desk"}})
	if err != nil {
		return err
	}
	text, err := sum.Wait(ctx)
	if err != nil {
		return err
	}
	handle, err := delivery.Enqueue(ctx, client, "parcel 17")
	if err != nil {
		return err
	}
	result, err := handle.Wait(ctx)
	if err != nil {
		return err
	}
	if !result.Succeeded {
		return fmt.Errorf("it did not arrive within %d iterations", result.Iterations)
	}
	return errors.Join(expect(text, "2.40"), expect(result.Output, "parcel 17 is at the door"))
}

var awaitPayment = core.NewSleepingTask[Receipt]("await_payment", core.TaskOptions{Timeout: 30 * 24 * time.Hour})

// webhook is called by the bank, perhaps twice, perhaps before the order is placed.
func webhook(ctx context.Context, client *core.Client, orderID string, paid Receipt) error {
	_, err := core.Wakeup(ctx, client, awaitPayment, "payment of "+orderID, paid)
	if errors.Is(err, core.ErrFinished) {
		return nil // it was woken before: the first wake-up counts
	}
	return err
}

func sleepers(ctx context.Context, client *core.Client) error {
	handle, err := awaitPayment.Enqueue(ctx, client, "payment of 17") // the input is the key
	if err != nil {
		return err
	}
	for range 2 {
		if err := webhook(ctx, client, "17", Receipt{"card"}); err != nil {
			return err
		}
	}
	paid, err := handle.Wait(ctx)
	if err != nil {
		return err
	}
	return expect(paid.Reference, "card")
}

type Part struct {
	Name  string
	Parts []Part
}

func newCount() *core.Task[Part, int] {
	var count *core.Task[Part, int] // declared first, since its function uses it
	count = core.NewParentTaskWithFinalize("count", func(_ context.Context, p Part) (int, []core.Child, error) {
		children := make([]core.Child, len(p.Parts))
		for i, part := range p.Parts {
			children[i] = count.Child(part)
		}
		return 1, children, nil
	}, func(_ context.Context, r core.Results[int]) (int, error) {
		n := r.Output
		for _, child := range r.Children {
			below, err := count.Result(child)
			if err != nil {
				return 0, err
			}
			n += below
		}
		return n, nil
	}, core.TaskOptions{})
	return count
}

var count = newCount()

func recursion(ctx context.Context, client *core.Client) error {
	handle, err := count.Enqueue(ctx, client, Part{"bike", []Part{{"frame", nil}, {"wheel", []Part{{"rim", nil}}}}})
	if err != nil {
		return err
	}
	n, err := handle.Wait(ctx)
	if err != nil {
		return err
	}
	return expect(n, 4)
}

func options(ctx context.Context, client *core.Client) error {
	handle, err := charge.EnqueueWith(ctx, client, Order{ID: "18", Cents: 500}, core.EnqueueOptions{
		Key:             "charge of order 18", // the same key and input: the same execution
		Delay:           time.Minute,          // or StartAt
		Retry:           &core.RetryPolicy{MaxAttempts: 20, BaseDelay: time.Minute, MaxDelay: time.Hour},
		Timeout:         10 * time.Second, // of an attempt
		ScheduleToStart: time.Hour,        // an attempt that nobody had time for within an hour ends it
		StartToFinish:   24 * time.Hour,   // all attempts together, and all that is below
	})
	if err != nil {
		return err
	}
	again, err := charge.EnqueueWith(ctx, client, Order{ID: "18", Cents: 500}, core.EnqueueOptions{Key: "charge of order 18"})
	if err != nil {
		return err
	}
	receipt, err := handle.Wait(ctx)
	return errors.Join(err, expect(again.ID(), handle.ID()), expect(receipt.Reference, "charged 500"))
}

func bulk(ctx context.Context, client *core.Client) error {
	items := []core.BulkItem[string]{{Input: "lamp"}, {Input: "desk", Options: core.EnqueueOptions{Key: "desk of order 17"}}}
	results := reserve.EnqueueMany(ctx, client, items, func(done int) { fmt.Println(done, "of", len(items)) })
	for i, r := range results {
		if r.Err != nil {
			return fmt.Errorf("item %d: %w", i, r.Err) // the others are enqueued all the same
		}
	}
	return nil
}

var copyFiles = core.NewTask("copy_files", func(ctx context.Context, files int) (string, error) {
	info := core.InfoOf(ctx)
	log := core.LoggerOf(ctx) // its lines carry the ids
	log.InfoContext(ctx, "copying", "files", files, "attempt", info.Attempt, "root", info.RootID)
	for range files {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx) // core.ErrAttemptTimedOut, ErrStartToFinish, ErrCancelled or ErrShutdown
		case <-core.ShuttingDown(ctx):
			return "", core.RetryAfter(errors.New("to be continued"), 0) // counts as an attempt
		case <-time.After(time.Second): // a file
		}
	}
	return fmt.Sprint(files, " files"), nil
}, core.TaskOptions{Timeout: time.Minute})

// load panics for a file without a name.
func load(_ context.Context, file string) error {
	if file == "" {
		panic("no file")
	}
	return nil
}

var loadAside = core.NewTask("load_aside", func(ctx context.Context, file string) (int, error) {
	result := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			result <- err
		}()
		err = load(ctx, file)
	}()
	return len(file), <-result
}, core.TaskOptions{})

func aside(ctx context.Context, client *core.Client) error {
	for file, fails := range map[string]bool{"a": false, "": true} {
		handle, err := loadAside.Enqueue(ctx, client, file)
		if err != nil {
			return err
		}
		if _, err := handle.Wait(ctx); (err != nil) != fails {
			return fmt.Errorf("file %q: error %w", file, err)
		}
	}
	return nil
}

func cancellation(ctx context.Context, client *core.Client) error {
	handle, err := copyFiles.Enqueue(ctx, client, 50)
	if err != nil {
		return err
	}
	if err := handle.Cancel(ctx, "not needed any more"); err != nil && !errors.Is(err, core.ErrFinished) {
		return err
	}
	_, err = handle.Wait(ctx)
	var ended *core.ExecutionError
	if !errors.As(err, &ended) {
		return fmt.Errorf("it ended with error %w", err)
	}
	return expect(ended.Status, core.StatusCancelled)
}

func redrive(ctx context.Context, client *core.Client) error {
	handle, err := charge.Enqueue(ctx, client, Order{ID: "19"})
	if err != nil {
		return err
	}
	if _, err := handle.Wait(ctx); err == nil {
		return errors.New("the bank took nothing for a payment")
	}
	id, err := client.Redrive(ctx, handle.ID())
	if err != nil {
		return err
	}
	again := charge.HandleOf(client, id)
	_, err = again.Wait(ctx)
	if err == nil {
		return errors.New("the bank took nothing for a payment")
	}
	e, err := again.Get(ctx)
	if err != nil {
		return err
	}
	return expect(e.RedriveOf, handle.ID())
}

func expect[T any](got, want T) error {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		return fmt.Errorf("it came to %s, not %s", g, w)
	}
	return nil
}

func TestTheCodeOfThePageOnTasksDoesWhatItSays(t *testing.T) {
	t.Parallel()
	tasks := []core.Definition{
		charge, reserve, reserveAll, reserveOrFail, report, reserveAndReport, price, tax, label, total, arrived, delivery,
		awaitPayment, count, copyFiles, loadAside,
	}
	coretest.Run(t, tasks, func(w *coretest.World) {
		for name, part := range map[string]func(context.Context, *core.Client) error{
			"simple": simple, "family": family, "finalizes": finalizes, "chains": chains, "sleepers": sleepers,
			"recursion": recursion, "aside": aside, "options": options, "bulk": bulk, "cancellation": cancellation, "redrive": redrive,
		} {
			if err := part(context.Background(), w.Client()); err != nil {
				w.Errorf("%s: %v", name, err)
			}
		}
	})
}

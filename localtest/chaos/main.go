// Command chaos runs a workload through the compiled functions on DynamoDB Local and checks that nothing is lost: while
// everything around them fails, or, as soak, for a long time at a steady rate.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/perdure-dev/perdure/localtest/progress"
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "what the harm is drawn from") //nolint:gosec // it is positive
	during := flag.Duration("for", 2*time.Minute, "how long there is harm; with -soak how long the soak lasts")
	width := flag.Int("width", 50, "children of each parent")
	every := flag.Duration("every", time.Second, "time between a parent, a chain and a loop and the next ones")
	soaking := flag.Bool("soak", false, "no harm, but a look at what grows")
	logs := flag.Bool("log", false, "print what the functions log")
	flag.Parse()
	p := progress.New(os.Stdout)
	show := func(text string) {
		if text == "" { // the end
			p.Doing("checking what is left")
			return
		}
		p.Show("%s", text)
	}
	var done func()
	var err error
	if *soaking {
		done = p.Step("soak for %s: building the functions, starting DynamoDB Local", *during)
		err = interruptible(func(ctx context.Context) error {
			return soak(ctx, soakOptions{during: *during, every: *every, width: *width, out: p, progress: show})
		})
	} else {
		p.Line("chaos with seed %d: make chaos SEED=%d draws the same harm", *seed, *seed)
		done = p.Step("building the functions, starting DynamoDB Local")
		o := chaosOptions{seed: *seed, during: *during, every: *every, width: *width, out: p, progress: show}
		if *logs {
			o.log = os.Stderr
		}
		err = interruptible(func(ctx context.Context) error { return chaos(ctx, o) })
	}
	done()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// interruptible runs do with a context that Ctrl-C ends; whatever do began it then ends itself.
func interruptible(do func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return do(ctx)
}

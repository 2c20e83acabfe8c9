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
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "what the harm is drawn from") //nolint:gosec // it is positive
	during := flag.Duration("for", 2*time.Minute, "how long there is harm; with -soak how long the soak lasts")
	width := flag.Int("width", 50, "children of each parent")
	every := flag.Duration("every", time.Second, "time between a parent, a chain and a loop and the next ones")
	soaking := flag.Bool("soak", false, "no harm, but a look at what grows")
	logs := flag.Bool("log", false, "print what the functions log")
	flag.Parse()
	p := &progress{terminal: isTerminal(os.Stdout)}
	var err error
	if *soaking {
		err = interruptible(func(ctx context.Context) error {
			return soak(ctx, soakOptions{during: *during, every: *every, width: *width, out: os.Stdout, progress: p.line})
		})
	} else {
		fmt.Printf("chaos with seed %d: make chaos SEED=%d draws the same harm\n", *seed, *seed)
		o := chaosOptions{seed: *seed, during: *during, every: *every, width: *width, out: os.Stdout, progress: p.line}
		if *logs {
			o.log = os.Stderr
		}
		err = interruptible(func(ctx context.Context) error { return chaos(ctx, o) })
	}
	if err != nil {
		p.line("")
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

// progress shows one line that changes; on what is no terminal a line every 10 s.
type progress struct {
	terminal bool
	shown    time.Time
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) line(text string) {
	switch {
	case p.terminal:
		fmt.Printf("\r\x1b[K%s", text)
	case text != "" && time.Since(p.shown) >= 10*time.Second:
		p.shown = time.Now()
		fmt.Println(text)
	}
}

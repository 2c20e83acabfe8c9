// Command local runs the shop on this machine, from the order that comes in by HTTP to the parcel, and whatever may
// go wrong on the way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/localtest/progress"
)

func main() {
	verbose := flag.Bool("v", false, "show what the functions print")
	root := flag.String("root", ".", "folder of the example's module")
	stay := flag.Bool("stay", false, "keep the shop open afterwards, until it is interrupted")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "orders: unexpected argument %q; usage: local [-v] [-stay] [-root folder]\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *root, *verbose, *stay)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "orders: interrupted; everything that it started is stopped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, root string, verbose, stay bool) (err error) {
	p := progress.New(out) // nothing takes long without a word
	out = p
	var log io.Writer = steps{out}
	if verbose {
		log = out
	}
	begun := time.Now()
	starting := p.Step("building the functions, starting DynamoDB Local, the functions, an HTTP API, a bank, a carrier and a collector of traces")
	a, err := start(ctx, root, filepath.Join(root, ".build", "local"), log, options{traces: true})
	starting()
	if err != nil {
		return err
	}
	defer func() {
		defer p.Step("closing the shop")()
		err = errors.Join(err, a.close())
	}()
	fmt.Fprintf(out, "ready after %.1f s: %s\n", time.Since(begun).Seconds(), a.url)
	for i, s := range scenes {
		p.Line("")
		done := p.Step("%d/%d  %s", i+1, len(scenes), s.title)
		err := s.play(ctx, &visitor{app: a, say: say(out), doing: p.Doing})
		done()
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	p.Line("")
	tracing := p.Step("the trace of order 17, as the functions sent it to a collector")
	v := &visitor{app: a, say: say(out), doing: p.Doing}
	_, err = v.traced(ctx, "17")
	tracing()
	if err != nil {
		return err
	}
	if err := a.summarize(ctx, out); err != nil {
		return err
	}
	if stay {
		fmt.Fprintf(out, "\nthe shop stays open at %s until you press Ctrl-C\n", a.url)
		<-ctx.Done()
	}
	return nil
}

func say(out io.Writer) func(format string, args ...any) {
	return func(format string, args ...any) { fmt.Fprintf(out, "      "+format+"\n", args...) }
}

// summarize prints what became of the orders and what their executions consumed.
func (a *app) summarize(ctx context.Context, out io.Writer) error {
	client, err := core.NewClient(a.stack.Watch, core.ClientOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%-10s %-17s %5s %9s %9s %11s  %s\n", "order", "status", "tasks", "captured", "refunded", "write units", "reason")
	for _, id := range []string{"17", "twice", "forged", "scarce", "unpaid", "regret", "unserved", broke, down, "far", "pos-1", "message-2", "reported"} {
		record, err := a.shop.Get(ctx, id)
		if err != nil {
			return err
		}
		tree, err := client.Tree(ctx, orders.ExecutionID(id))
		if err != nil {
			return err
		}
		b := a.world.books(id)
		line := fmt.Sprintf("%-10s %-17s %5d %9d %9d %11.0f  %s",
			id, record.Status, count(tree), b.Captured, b.Refunded, float64(tree.WriteUnits()), record.Reason)
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(out, "\nEvery order was charged and shipped once, or what was done for it was taken back; one waits for its payment.")
	return nil
}

func count(n *core.Node) int {
	sum := 1
	for _, child := range n.Children {
		sum += count(child)
	}
	return sum
}

// steps prints what the starting shop says, and leaves out what the functions say.
type steps struct{ out io.Writer }

func (s steps) Write(line []byte) (int, error) {
	if len(line) > 0 && line[0] != '[' {
		return s.out.Write(line)
	}
	return len(line), nil
}

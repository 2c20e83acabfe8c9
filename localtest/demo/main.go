// Command demo counts the words of every text file below a folder as a durable job on the real parts: the
// compiled functions, run as Lambda runs them, on DynamoDB Local. In the middle it kills one of their processes.
// In the end it compares the result with a plain loop's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

func main() {
	folder := flag.String("input", ".", "folder with the text files to count")
	verbose := flag.Bool("v", false, "show what the functions print")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q; usage: demo [-v] [-input folder]\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *folder, *verbose)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted; everything that it started is stopped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, verbose bool) error {
	p := newPrinter(os.Stdout)
	reading := p.Step("reading the text files in %s", folder)
	in, err := readInput(folder)
	reading()
	if err != nil {
		return err
	}
	p.Line("input: %d text files, %s, in %s", len(in.files), bytesText(in.bytes), in.folder)
	err = runFunctions(ctx, p, in, verbose)
	if errors.Is(err, dynamolocal.ErrUnavailable) {
		p.Line("%v", err)
		p.Line("so the same job runs on the embedded in-memory store, in this process")
		return runEmbedded(ctx, p, in)
	}
	return err
}

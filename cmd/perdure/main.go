// Command perdure looks at executions in a table and acts on them, runs an application on this machine, checks one on
// AWS, and writes new ones. docs/cli.md has every command with what it prints.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

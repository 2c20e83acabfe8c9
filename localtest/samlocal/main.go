// Command samlocal invokes every function of template.yaml with `sam local invoke` on DynamoDB Local: the build of
// `sam build`, in the container that SAM runs it in, with the events of localtest/events. Arguments are handed on to
// sam, --skip-pull-image for one. With the argument -table alone it invokes nothing: it keeps DynamoDB Local and the table
// there for whoever invokes by hand, until Ctrl-C.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
	"github.com/perdure-dev/perdure/localtest/events"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// The table and the port are those of localtest/env.json.
const (
	table = "perdure-local"
	port  = "8000"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) == 2 && os.Args[1] == "-table" {
		err = keep(ctx, progress.New(os.Stdout))
	} else {
		err = run(ctx, os.Args[1:])
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "samlocal:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, flags []string) (err error) {
	if _, err := os.Stat(filepath.Join(".aws-sam", "build", "template.yaml")); err != nil {
		return fmt.Errorf("there is no build: run make sam-build first, for this machine's processor: %w", err)
	}
	p := progress.New(os.Stdout)
	stop, err := serve(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for i, e := range events.All() {
		done := p.Step("%2d/%d  %-24s localtest/events/%s", i+1, len(events.All()), e.Resource(), e.File)
		answer, err := invoke(ctx, e, flags)
		done()
		if err != nil {
			return err
		}
		p.Line("       %s", bytes.TrimSpace(answer))
		if err := e.Check(answer); err != nil {
			return err
		}
	}
	p.Line("every function answered every event as it must")
	return nil
}

// serve starts DynamoDB Local where containers reach it, with the table in it.
func serve(ctx context.Context, p *progress.Printer) (stop func() error, err error) {
	defer p.Step("starting DynamoDB Local")()
	server, err := dynamolocal.Start(ctx, dynamolocal.Options{Log: p})
	if err != nil {
		return nil, err
	}
	client := dynamostore.LocalClient(server.Endpoint())
	if err := dynamostore.CreateTable(ctx, client, table, dynamostore.TableOptions{}); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	forward, err := forwardTo(strings.TrimPrefix(server.Endpoint(), "http://"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("port %s, where localtest/env.json expects DynamoDB: %w: stop the process that listens there, such as another make sam-table", port, err), server.Close())
	}
	return func() error { return errors.Join(forward(), server.Close()) }, nil
}

// keep serves the table until ctx ends.
func keep(ctx context.Context, p *progress.Printer) error {
	stop, err := serve(ctx, p)
	if err != nil {
		return err
	}
	p.Line("table %s is at http://127.0.0.1:%s, and for containers at http://host.docker.internal:%s, until Ctrl-C", table, port, port)
	<-ctx.Done()
	return stop()
}

// invoke runs one function once, in a container of its own, and returns its answer.
func invoke(ctx context.Context, e events.Event, flags []string) ([]byte, error) {
	args := append([]string{
		"local", "invoke", e.Resource(), "--event", filepath.Join("localtest", "events", e.File),
		"--env-vars", filepath.Join("localtest", "env.json"), "--add-host", "host.docker.internal:host-gateway",
	}, flags...)
	cmd := exec.CommandContext(ctx, "sam", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// DynamoDB Local keeps a database for each access key and region: the functions must have this program's.
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1", "SAM_CLI_TELEMETRY=0")
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sam %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	if stdout.Len() == 0 {
		return nil, fmt.Errorf("sam %s: no answer\n%s", strings.Join(args, " "), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// forwardTo lets containers reach an address of this machine: by its loopback address, which Docker Desktop's
// host.docker.internal leads to, and by that of Docker's bridge, where it leads to else.
func forwardTo(target string) (stop func() error, err error) {
	hosts := []string{"127.0.0.1"}
	if bridge, err := net.InterfaceByName("docker0"); err == nil {
		addresses, err := bridge.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil {
				hosts = append(hosts, ip.IP.String())
			}
		}
	}
	var listeners []net.Listener
	var serving sync.WaitGroup
	stop = func() error {
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		serving.Wait()
		return errors.Join(errs...)
	}
	for _, host := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		listeners = append(listeners, l)
		serving.Go(func() { accept(l, target) })
	}
	return stop, nil
}

func accept(l net.Listener, target string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", target)
			if err != nil {
				return // the caller sees its connection closed
			}
			defer to.Close()
			go func() {
				_, _ = io.Copy(to, from) // either end may close; the other is closed then
				_ = to.Close()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}

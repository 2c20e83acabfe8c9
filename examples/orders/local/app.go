package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/perdure-dev/perdure/examples/orders/orders"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/apigateway"
	"github.com/perdure-dev/perdure/localtest/lambdalocal"
	"github.com/perdure-dev/perdure/localtest/stack"
)

const (
	program     = "github.com/perdure-dev/perdure/examples/orders"
	ordersTable = "orders"
	secret      = "a secret of this machine alone"
)

// app is the shop on this machine: DynamoDB Local, the compiled functions and the Python one as Lambda runs them, an
// HTTP API in front of them, and a bank and a carrier that can be told how to behave.
type app struct {
	stack    *stack.Stack
	shop     *orders.Shop
	world    *world
	template template
	url      string // of the HTTP API
	// collector takes the functions' traces; nil when they make none.
	collector *collector

	closers []func() error // of what the functions reach by HTTP
}

// options are the choices that start has.
type options struct {
	traces    bool   // whether there is a collector, to which the functions send traces
	tracesURL string // where the functions send traces if not there; empty for nowhere
}

// template is what this program takes from template.yaml, so that what it shows is what is deployed.
type template struct {
	Resources map[string]resource `yaml:"Resources"`
}

type resource struct {
	Properties struct {
		Environment struct {
			Variables map[string]yaml.Node `yaml:"Variables"`
		} `yaml:"Environment"`
		Events map[string]struct {
			Type       string `yaml:"Type"`
			Properties struct {
				Method string `yaml:"Method"`
				Path   string `yaml:"Path"`
				Input  string `yaml:"Input"`
			} `yaml:"Properties"`
		} `yaml:"Events"`
	} `yaml:"Properties"`
}

func readTemplate(root string) (template, error) {
	var t template
	data, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		return t, err
	}
	return t, yaml.Unmarshal(data, &t)
}

// own are the values of PERDURE_FUNCTION that are not the engine's.
var own = map[string]bool{"api": true, "webhook": true, "intake": true}

// start starts the shop of the module in root; log gets what takes time and what the functions print. build keeps what
// it compiled.
func start(ctx context.Context, root, build string, log io.Writer, opts options) (_ *app, err error) {
	a := &app{world: newWorld()}
	if a.template, err = readTemplate(root); err != nil {
		return nil, err
	}
	if err := stack.BuildOne(ctx, build, program); err != nil {
		return nil, err
	}
	python, err := pythonBootstrap(ctx, build, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	world, err := a.serve(ctx, a.world)
	if err != nil {
		return nil, err
	}
	if opts.traces {
		a.collector = &collector{}
		if opts.tracesURL, err = a.serve(ctx, a.collector); err != nil {
			return nil, err
		}
	}
	a.stack, err = stack.Start(ctx, stack.Options{
		Binaries: build, Log: log,
		Env: []string{
			"ORDERS_TABLE=" + ordersTable, "PROVIDERS_URL=" + world, "PERDURE_LEEWAY=1", "PERDURE_LOG_LEVEL=WARN",
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + opts.tracesURL,
			// Nothing is frozen here between invocations, so spans must not be sent then: what is not flushed is missing.
			"OTEL_BSP_SCHEDULE_DELAY=3600000",
		},
	})
	if err != nil {
		return nil, err
	}
	if _, err := a.stack.DynamoDB.CreateTable(ctx, orders.TableInput(ordersTable)); err != nil {
		return nil, err
	}
	a.shop = orders.ShopIn(a.stack.DynamoDB, ordersTable, "")
	for sku, cents := range map[string]int{"lamp": 2500, "desk": 19900, "chair": 8900} {
		if err := a.shop.Stock(ctx, sku, 100, cents); err != nil {
			return nil, err
		}
	}
	if err := a.addFunctions(root, build, python); err != nil {
		return nil, err
	}
	a.url, err = a.stack.Serve(ctx, apigateway.Front(a.stack.Lambda, a.routes()))
	return a, err
}

// serve serves HTTP until close, and returns its URL.
func (a *app) serve(ctx context.Context, h http.Handler) (string, error) {
	url, stop, err := stack.Serve(ctx, h)
	if err == nil {
		a.closers = append(a.closers, stop)
	}
	return url, err
}

func (a *app) addFunctions(root, build, python string) error {
	for name, r := range a.template.Resources {
		function := r.Properties.Environment.Variables[handler.FunctionVariable]
		if !own[function.Value] {
			continue
		}
		err := a.stack.Add(lambdalocal.Function{
			Name: name, Bootstrap: filepath.Join(build, "bootstrap"),
			Env: []string{handler.FunctionVariable + "=" + function.Value, "WEBHOOK_SECRET=" + secret},
		})
		if err != nil {
			return err
		}
	}
	folder, err := filepath.Abs(filepath.Join(root, "voucher"))
	if err != nil {
		return err
	}
	return a.stack.Add(lambdalocal.Function{
		Name: "Voucher", Bootstrap: python,
		Env: []string{"LAMBDA_TASK_ROOT=" + folder, "PYTHONDONTWRITEBYTECODE=1", "_HANDLER=app.handler", "ENQUEUE_FUNCTION=" + stack.Enqueue},
	})
}

// routes are those of the template's HTTP API.
func (a *app) routes() map[string]string {
	routes := map[string]string{}
	for name, r := range a.template.Resources {
		for _, e := range r.Properties.Events {
			if e.Type == "HttpApi" {
				routes[e.Properties.Method+" "+e.Properties.Path] = name
			}
		}
	}
	return routes
}

// nightly is the schedule's event as the template has it.
func (a *app) nightly() string {
	return a.template.Resources["Enqueue"].Properties.Events["Nightly"].Properties.Input
}

// invoke runs a function with an event and reads its answer.
func (a *app) invoke(ctx context.Context, name string, event, answer any) error {
	payload, err := json.Marshal(event)
	if err != nil {
		return err
	}
	result, err := a.stack.Lambda.Invoke(ctx, name, payload)
	switch {
	case err != nil:
		return err
	case result.FunctionError != "":
		return fmt.Errorf("function %s: %s", name, result.Payload)
	}
	return json.Unmarshal(result.Payload, answer)
}

// close ends everything that start started.
func (a *app) close() error {
	var errs []error
	if a.stack != nil {
		errs = append(errs, a.stack.Close())
	}
	for _, stop := range a.closers {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

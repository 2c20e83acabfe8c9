package handler_test

import (
	"context"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/dynamolocal"
)

var double = core.NewTask("double", func(_ context.Context, n int) (int, error) { return 2 * n, nil }, core.TaskOptions{})

func registry() (*core.Registry, error) { return core.NewRegistry(double) }

func TestAClientReadsTheEnvironmentOfTheFunctions(t *testing.T) {
	server, err := dynamolocal.Start(t.Context(), dynamolocal.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": server.Endpoint(), "AWS_REGION": "us-east-1", "PERDURE_TABLE": "clients",
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "PERDURE_LOG_LEVEL": "ERROR",
	} {
		t.Setenv(name, value)
	}
	client, err := handler.NewClient(t.Context(), registry, handler.Options{Limits: core.Limits{Payload: 10}})
	if err != nil {
		t.Fatal(err)
	}
	if err := dynamostore.CreateTable(t.Context(), client.DynamoDB, "clients", dynamostore.TableOptions{}); err != nil {
		t.Fatal(err)
	}
	h, err := double.Enqueue(t.Context(), client.Client, 21)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.EnqueueRaw(t.Context(), "double", []byte("12345678901"), core.EnqueueOptions{}); err == nil ||
		!strings.Contains(err.Error(), "the limit is 10") {
		t.Errorf("an input over the limit: error %v", err)
	}
	// A function of the engine's, with the same environment, runs it.
	app, err := handler.NewApp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	app.Config.Tick = 1 // as good as over
	configured := false
	app.Options.Configure = func(c *core.Config) { configured = c.Store == app.Store }
	loop, err := app.Loop(core.LoopStartReady, registry)
	if err != nil || !configured {
		t.Fatalf("error %v, configured %t", err, configured)
	}
	if _, err := loop(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Wait(t.Context()); out != 42 || err != nil {
		t.Errorf("output %d, error %v", out, err)
	}
	if _, _, err := dynamostore.EnqueueTx(t.Context(), client.Store, client.Client, double, 1, core.EnqueueOptions{}); err != nil {
		t.Errorf("in a transaction: %v", err)
	}
}

func TestAClientWithoutATableSaysSo(t *testing.T) {
	t.Setenv("PERDURE_TABLE", "")
	t.Setenv("PERDURE_SHARDS", "none")
	_, err := handler.NewClient(t.Context(), nil, handler.Options{})
	for _, says := range []string{"PERDURE_TABLE is not set", `PERDURE_SHARDS is "none"`} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

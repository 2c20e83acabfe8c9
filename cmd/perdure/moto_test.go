//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/process"
)

// cloud is moto, which takes AWS's requests on this machine, with the enqueue function's own code behind Invoke, for
// which moto would take Docker.
type cloud struct {
	*testing.T
	endpoint string
	config   aws.Config
}

// startCloud starts one. A machine without moto skips the test, unless it is CI's; .ci/run installs it.
func startCloud(t *testing.T) *cloud {
	t.Helper()
	if _, err := exec.LookPath("moto_server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("moto_server is not installed: doctor is not tested against AWS's requests here")
	}
	app := &handler.App{Store: memstore.New(memstore.Options{})}
	enqueue, err := app.Enqueue(tasks.Registry)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(startMoto(t))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/invocations") {
			proxy.ServeHTTP(w, r)
			return
		}
		event, _ := io.ReadAll(r.Body)
		answer, err := enqueue(r.Context(), event)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(front.Close)
	c := &cloud{T: t, endpoint: front.URL, config: aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(front.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	}}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		_, err := sqs.NewFromConfig(c.config).ListQueues(t.Context(), &sqs.ListQueuesInput{})
		if err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// startMoto starts moto and returns its address once it listens there. When another program was faster on the port, moto
// ends and is started again on another one.
func startMoto(t *testing.T) *url.URL {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		_ = listener.Close()
		said := make(chan string, 100)
		moto, err := process.Start(exec.Command("moto_server", "-H", "127.0.0.1", "-p", strconv.Itoa(port)), func(line string) {
			select {
			case said <- line:
			default: // nobody reads what it says about requests
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = moto.Stop(time.Second) })
		for ended := false; !ended; {
			select {
			case line := <-said:
				if strings.Contains(line, "Running on") {
					return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(port)}
				}
			case <-moto.Done():
				ended = true
				t.Logf("moto ended at once: %v", moto.Err())
			case <-deadline:
				t.Fatal("moto did not start within two minutes")
			}
		}
	}
}

// deployment is an application as the template deploys it, each part of which a test may leave out or break before.
type deployment struct {
	table     *dynamodb.CreateTableInput
	noTTL     bool
	noStream  bool   // no mapping
	filter    string // of the mapping
	timeout   int32  // of the functions that run tasks, in seconds
	told      string // PERDURE_FUNCTION_TIMEOUT
	toldTasks string // PERDURE_TASK_TIMEOUT of the enqueue function
	without   string // a function that is left out
	noTick    string // a function without a schedule
	list      string // PERDURE_LIST of the enqueue function
	actions   []string
	retries   int32
	failed    string // the text of a failed invocation
	noBackups bool
}

func healthy(table string) *deployment {
	return &deployment{
		table: dynamostore.TableInput(table, dynamostore.TableOptions{}), timeout: 120, told: "120", toldTasks: "120", list: "no",
		filter:  `{"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"queue": {"S": [{"prefix": "ready#"}]}}}}`,
		actions: []string{"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:DescribeStream", "dynamodb:Get*"},
	}
}

// must fails the test on an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// deploy makes everything that a deployment has.
func (c *cloud) deploy(d *deployment) {
	c.Helper()
	ctx, name := c.Context(), aws.ToString(d.table.TableName)
	db := dynamodb.NewFromConfig(c.config)
	table := must[*dynamodb.CreateTableOutput](c.T)(db.CreateTable(ctx, d.table)).TableDescription
	if !d.noTTL {
		must[*dynamodb.UpdateTimeToLiveOutput](c.T)(db.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
			TableName:               d.table.TableName,
			TimeToLiveSpecification: &dynamodbtypes.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)},
		}))
	}
	if !d.noBackups {
		must[*dynamodb.UpdateContinuousBackupsOutput](c.T)(db.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
			TableName:                        d.table.TableName,
			PointInTimeRecoverySpecification: &dynamodbtypes.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
		}))
	}
	queues := sqs.NewFromConfig(c.config)
	queue := must[*sqs.CreateQueueOutput](c.T)(queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-dead")})).QueueUrl
	if d.failed != "" {
		must[*sqs.SendMessageOutput](c.T)(queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String(d.failed)}))
	}
	role := c.role(name, d.actions, aws.ToString(table.TableArn))
	for program, folder := range map[string]string{
		"start_ready": "StartReady", "process_children": "ProcessChildren", "close": "Close", "timeouts": "Timeouts",
		"cancellation": "Cancellation", "enqueue": "Enqueue",
	} {
		if d.without != program {
			c.function(d, name, program, name+"-"+folder+"Function-X1", role, aws.ToString(table.LatestStreamArn))
		}
	}
}

// role returns the ARN of a role with the actions on a table and all below it.
func (c *cloud) role(name string, actions []string, table string) string {
	c.Helper()
	client := iam.NewFromConfig(c.config)
	role := must[*iam.CreateRoleOutput](c.T)(client.CreateRole(c.Context(), &iam.CreateRoleInput{
		RoleName: aws.String(name + "-role"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`),
	})).Role
	policy, err := json.Marshal(map[string]any{
		"Version":   "2012-10-17",
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": actions, "Resource": []string{table, table + "/*"}}},
	})
	if err != nil {
		c.Fatal(err)
	}
	must[*iam.PutRolePolicyOutput](c.T)(client.PutRolePolicy(c.Context(), &iam.PutRolePolicyInput{
		RoleName: role.RoleName, PolicyName: aws.String("table"), PolicyDocument: aws.String(string(policy)),
	}))
	return aws.ToString(role.Arn)
}

// function makes one with its schedule, its destination for failures and, where it starts executions, its stream.
func (c *cloud) function(d *deployment, table, program, name, role, stream string) {
	c.Helper()
	ctx, client := c.Context(), lambda.NewFromConfig(c.config)
	env := map[string]string{"PERDURE_TABLE": table, "PERDURE_SHARDS": "4", "PERDURE_LIST": "no", "PERDURE_FUNCTION_TIMEOUT": "60"}
	timeout := int32(60)
	switch program {
	case "start_ready", "process_children":
		env["PERDURE_FUNCTION_TIMEOUT"], timeout = d.told, d.timeout
	case "enqueue":
		env["PERDURE_LIST"], env["PERDURE_TASK_TIMEOUT"] = d.list, d.toldTasks
	}
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	w := must[io.Writer](c.T)(z.Create("bootstrap"))
	_, _ = w.Write([]byte("x"))
	_ = z.Close()
	f := must[*lambda.CreateFunctionOutput](c.T)(client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String(name), Role: aws.String(role), Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Timeout: aws.Int32(timeout), Code: &lambdatypes.FunctionCode{ZipFile: code.Bytes()},
		Environment: &lambdatypes.Environment{Variables: env},
	}))
	if program == "enqueue" {
		return
	}
	must[*lambda.PutFunctionEventInvokeConfigOutput](c.T)(client.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{
		FunctionName: f.FunctionName, MaximumRetryAttempts: aws.Int32(d.retries),
		DestinationConfig: &lambdatypes.DestinationConfig{OnFailure: &lambdatypes.OnFailure{
			Destination: aws.String("arn:aws:sqs:us-east-1:123456789012:" + table + "-dead"),
		}},
	}))
	if d.noTick != program {
		must[*scheduler.CreateScheduleOutput](c.T)(scheduler.NewFromConfig(c.config).CreateSchedule(ctx, &scheduler.CreateScheduleInput{
			Name: aws.String(name + "-tick"), ScheduleExpression: aws.String("rate(1 minute)"), State: schedulertypes.ScheduleStateEnabled,
			FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
			Target: &schedulertypes.Target{
				Arn: f.FunctionArn, RoleArn: aws.String(role), RetryPolicy: &schedulertypes.RetryPolicy{MaximumRetryAttempts: aws.Int32(0)},
			},
		}))
	}
	if program == "start_ready" && !d.noStream && stream != "" {
		in := &lambda.CreateEventSourceMappingInput{
			FunctionName: f.FunctionName, EventSourceArn: aws.String(stream), StartingPosition: lambdatypes.EventSourcePositionLatest,
		}
		if d.filter != "" {
			in.FilterCriteria = &lambdatypes.FilterCriteria{Filters: []lambdatypes.Filter{{Pattern: aws.String(d.filter)}}}
		}
		must[*lambda.CreateEventSourceMappingOutput](c.T)(client.CreateEventSourceMapping(ctx, in))
	}
}

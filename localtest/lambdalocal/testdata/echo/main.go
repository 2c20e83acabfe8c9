// Command echo is the Lambda function the tests of package lambdalocal run. Its event tells it
// what to do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Print string          // A line for standard output.
	Sleep time.Duration   // To begin with.
	Fail  string          // Return this error.
	Panic string          // Panic with this text.
	Exit  *int            // End the process with this status.
	Big   int             // Answer with a string of so many bytes.
	Env   string          // Answer with this environment variable.
	Echo  json.RawMessage // Answer with this.
}

type info struct {
	PID         int
	RequestID   string
	ARN         string
	Left        time.Duration // Until the deadline.
	Invocations int           // This process has had.
}

var invocations int

func handle(ctx context.Context, e event) (any, error) {
	invocations++
	if e.Print != "" {
		fmt.Println(e.Print)
	}
	time.Sleep(e.Sleep)
	switch {
	case e.Fail != "":
		return nil, errors.New(e.Fail)
	case e.Panic != "":
		panic(e.Panic)
	case e.Exit != nil:
		os.Exit(*e.Exit)
	case e.Big > 0:
		return strings.Repeat("x", e.Big), nil
	case e.Env != "":
		return os.Getenv(e.Env), nil
	case e.Echo != nil:
		return e.Echo, nil
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return info{os.Getpid(), lc.AwsRequestID, lc.InvokedFunctionArn, time.Until(deadline), invocations}, nil
}

func main() { lambda.Start(handle) }

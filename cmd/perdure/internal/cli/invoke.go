package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/perdure-dev/perdure/functions/handler"
)

// lambda returns the client of the functions.
func (a *app) lambda(ctx context.Context) (*lambda.Client, error) {
	cfg, err := a.aws(ctx)
	if err != nil {
		return nil, err
	}
	client := lambda.NewFromConfig(cfg, func(o *lambda.Options) {
		a.place(&o.BaseEndpoint, &o.Region, &o.Credentials)
		// A function that is asked again enqueues again: one whose answer is late, or lost, may have done it.
		o.RetryMaxAttempts = 1
		o.HTTPClient = impatient(invokedWithin)
	})
	return client, placed("Lambda", client.Options().BaseEndpoint, client.Options().Region)
}

// ask asks the enqueue function, which refuses what is meant for another table than its own.
func (a *app) ask(ctx context.Context, request handler.Request) (handler.Response, error) {
	request.Table = a.table
	response, err := a.invoke(ctx, request)
	var told *commandError
	if errors.As(err, &told) && told.code == handler.CodeBadRequest && strings.Contains(err.Error(), `unknown field "table"`) {
		request.Table = "" // the function is of a version before it knew
		return a.invoke(ctx, request)
	}
	return response, err
}

// invoke invokes the enqueue function.
func (a *app) invoke(ctx context.Context, request handler.Request) (handler.Response, error) {
	var response handler.Response
	payload, err := json.Marshal(request)
	if err != nil {
		return response, usagef("%w", err)
	}
	client, err := a.lambda(ctx)
	if err != nil {
		return response, err
	}
	out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(a.function), Payload: payload})
	if err != nil {
		return response, a.invokeError(client, err)
	}
	if out.FunctionError != nil {
		var said struct {
			Type    string `json:"errorType"`
			Message string `json:"errorMessage"`
		}
		_ = json.Unmarshal(out.Payload, &said) // what does not read says nothing
		if said.Message == "" {
			said.Message = string(out.Payload)
		}
		if strings.HasPrefix(said.Type, "Runtime.") || strings.HasPrefix(said.Type, "Sandbox.") {
			return response, fmt.Errorf("function %s did not answer: %s: what it wrote is where perdure run runs, or in the function's log", a.function, said.Message)
		}
		return response, fmt.Errorf("function %s: %s", a.function, said.Message)
	}
	if err := json.Unmarshal(out.Payload, &response); err != nil {
		return response, fmt.Errorf("function %s answers what the enqueue function does not: name that by --function (the stack's output EnqueueFunctionName): %w", a.function, err)
	}
	switch {
	case response.Error != nil:
		return response, answerError(response.Error)
	case response.ExecutionID == "" && response.Table == "" && len(response.Tasks) == 0:
		// Another function takes the event for its own, and does with it what it does with any.
		return response, fmt.Errorf("function %s answers what the enqueue function does not: name that by --function (the stack's output EnqueueFunctionName): %s",
			a.function, shortened(string(out.Payload), 200))
	}
	return response, nil
}

// refusedCredentials are the codes of errors that mean that credentials are wrong or too old.
var refusedCredentials = []string{"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException"}

// invokeError adds to an error of the Lambda API what to do about it.
func (a *app) invokeError(client *lambda.Client, err error) error {
	var network net.Error
	var missing *types.ResourceNotFoundException
	var large *types.RequestTooLargeException
	var op *smithy.OperationError
	var api smithy.APIError
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("there is no function %s: check --function (the stack's output EnqueueFunctionName), region and endpoint: %w", a.function, err)
	case errors.As(err, &large):
		return &commandError{exitUsage, handler.CodeTooLarge,
			fmt.Errorf("the request to function %s is over Lambda's limit of 6 MB: keep large values elsewhere and pass a reference", a.function)}
	case errors.As(err, &op) && strings.Contains(op.Err.Error(), "get identity: "): // the SDK has no type for it
		return fmt.Errorf("no credentials for function %s: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", a.function, err)
	case errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException":
		return fmt.Errorf("function %s may not be invoked: it takes lambda:InvokeFunction: %w", a.function, err)
	case errors.As(err, &api) && slices.Contains(refusedCredentials, api.ErrorCode()):
		return fmt.Errorf("credentials for function %s are not accepted: check AWS_ACCESS_KEY_ID, AWS_PROFILE and the clock: %w", a.function, err)
	case errors.As(err, &api):
	case errors.As(err, &network):
		where := "in " + client.Options().Region
		if e := aws.ToString(client.Options().BaseEndpoint); e != "" {
			where += " at " + e
		}
		if network.Timeout() && !errors.As(err, new(*net.OpError)) {
			return fmt.Errorf("invoke function %s: it has not answered %s within %s, and may have done what it was asked for: ask again with the same --id or --key: %w",
				a.function, where, invokedWithin, err)
		}
		return fmt.Errorf("invoke function %s%s: Lambda does not answer %s: check the network and AWS_ENDPOINT_URL_LAMBDA: %w",
			a.function, unanswered(client.Options().BaseEndpoint), where, err)
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() >= http.StatusInternalServerError {
		return fmt.Errorf("invoke function %s: it may have done what it was asked for: ask again with the same --id or --key: %w", a.function, err)
	}
	return fmt.Errorf("invoke function %s: %w", a.function, err)
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/perdure-dev/perdure/functions/handler"
)

// lambda returns the client of the functions.
func (a *app) lambda(ctx context.Context) (*lambda.Client, error) {
	cfg, err := a.aws(ctx)
	if err != nil {
		return nil, err
	}
	client := lambda.NewFromConfig(cfg, func(o *lambda.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	if client.Options().Region == "" {
		return nil, usagef("which region? Use --region, or set AWS_REGION or the region of the profile")
	}
	return client, nil
}

// ask invokes the enqueue function.
func (a *app) ask(ctx context.Context, request handler.Request) (handler.Response, error) {
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
		return response, a.invokeError(err)
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
		return response, fmt.Errorf("function %s answers what the enqueue function does not: %w", a.function, err)
	}
	if response.Error != nil {
		return response, answerError(response.Error)
	}
	return response, nil
}

// invokeError adds to an error of the Lambda API what to do about it.
func (a *app) invokeError(err error) error {
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
	}
	return fmt.Errorf("invoke function %s: %w", a.function, err)
}

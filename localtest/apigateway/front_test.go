package apigateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/perdure-dev/perdure/localtest/lambdalocal"
)

// function answers an invocation in this process.
type function func(name string, payload []byte) (lambdalocal.Result, error)

func (f function) Invoke(_ context.Context, name string, payload []byte) (lambdalocal.Result, error) {
	return f(name, payload)
}

func ask(t *testing.T, f function, method, target, contentType, body string) (int, string, http.Header) {
	t.Helper()
	front := Front(f, map[string]string{"POST /orders": "place", "GET /orders/{id}/lines/{line}": "look"})
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Add("X-Twice", "a")
	r.Header.Add("X-Twice", "b")
	w := httptest.NewRecorder()
	front.ServeHTTP(w, r)
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(answer), w.Header()
}

func TestARequestReachesItsFunctionAsAnEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, target, contentType, body string
		function                          string
		want                              events.APIGatewayV2HTTPRequest
	}{
		"text": {"POST", "/orders?a=1&a=2&b=", "application/json; charset=utf-8", `{"ü":1}`, "place", events.APIGatewayV2HTTPRequest{
			Version: "2.0", RouteKey: "POST /orders", RawPath: "/orders", RawQueryString: "a=1&a=2&b=",
			Headers:               map[string]string{"content-type": "application/json; charset=utf-8", "x-twice": "a,b", "host": "example.com"},
			QueryStringParameters: map[string]string{"a": "1,2", "b": ""}, Body: `{"ü":1}`,
		}},
		"bytes": {"POST", "/orders", "application/octet-stream", "\xff\x00", "place", events.APIGatewayV2HTTPRequest{
			Version: "2.0", RouteKey: "POST /orders", RawPath: "/orders", Body: "/wA=", IsBase64Encoded: true,
			Headers: map[string]string{"content-type": "application/octet-stream", "x-twice": "a,b", "host": "example.com"},
		}},
		"parameters of the path": {"GET", "/orders/1%2F7/lines/0", "", "", "look", events.APIGatewayV2HTTPRequest{
			Version: "2.0", RouteKey: "GET /orders/{id}/lines/{line}", RawPath: "/orders/1/7/lines/0",
			Headers:        map[string]string{"x-twice": "a,b", "host": "example.com"},
			PathParameters: map[string]string{"id": "1/7", "line": "0"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, _, _ := ask(t, func(name string, payload []byte) (lambdalocal.Result, error) {
				var got events.APIGatewayV2HTTPRequest
				if err := json.Unmarshal(payload, &got); err != nil {
					t.Error(err)
				}
				if got.RequestContext.HTTP.Method != c.method || name != c.function {
					t.Errorf("method %s, function %s", got.RequestContext.HTTP.Method, name)
				}
				ignored := cmpopts.IgnoreFields(events.APIGatewayV2HTTPRequest{}, "RequestContext")
				if diff := cmp.Diff(c.want, got, ignored); diff != "" {
					t.Errorf("event (-want +got):\n%s", diff)
				}
				return lambdalocal.Result{Payload: []byte(`{"statusCode":204}`)}, nil
			}, c.method, c.target, c.contentType, c.body)
			if status != http.StatusNoContent {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestAFunctionsAnswerBecomesTheResponse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result lambdalocal.Result
		err    error
		status int
		body   string
		header map[string]string
	}{
		"a response": {
			result: lambdalocal.Result{Payload: []byte(`{"statusCode":202,"headers":{"Location":"/orders/17"},"cookies":["a=1"],"body":"{}"}`)},
			status: 202, body: "{}", header: map[string]string{"Location": "/orders/17", "Set-Cookie": "a=1"},
		},
		"base64": {result: lambdalocal.Result{Payload: []byte(`{"statusCode":200,"body":"/wA=","isBase64Encoded":true}`)}, status: 200, body: "\xff\x00"},
		"bad base64": {
			result: lambdalocal.Result{Payload: []byte(`{"statusCode":200,"body":"!","isBase64Encoded":true}`)}, status: 500, body: failedText,
		},
		"plain JSON":   {result: lambdalocal.Result{Payload: []byte(`{"a":1}`)}, status: 200, body: `{"a":1}`},
		"an error":     {result: lambdalocal.Result{FunctionError: "Unhandled", Payload: []byte(`{}`)}, status: 500, body: failedText},
		"a throttling": {err: errors.New("rate exceeded"), status: 503, body: unavailableText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body, header := ask(t, func(string, []byte) (lambdalocal.Result, error) { return c.result, c.err },
				"POST", "/orders", "", "")
			if status != c.status || body != c.body {
				t.Errorf("status %d, body %q, want %d, %q", status, body, c.status, c.body)
			}
			for name, want := range c.header {
				if got := header.Get(name); got != want {
					t.Errorf("header %s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestARequestWithoutARouteInvokesNothing(t *testing.T) {
	t.Parallel()
	status, body, _ := ask(t, func(string, []byte) (lambdalocal.Result, error) {
		t.Error("a function was invoked")
		return lambdalocal.Result{}, nil
	}, "DELETE", "/nothing", "", "")
	if status != http.StatusNotFound || body != `{"message":"Not Found"}` {
		t.Errorf("status %d, body %s", status, body)
	}
}

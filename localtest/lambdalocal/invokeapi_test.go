package lambdalocal

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFunctionsAreInvokedOverHTTP(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{})
	api := httptest.NewServer(s.InvokeAPI())
	t.Cleanup(api.Close)
	for name, c := range map[string]struct {
		path, kind, payload string
		status              int
		header, value, body string
	}{
		"answer":        {path: "echo", payload: `{"do":"echo"}`, status: 200, header: "X-Amz-Executed-Version", value: "$LATEST"},
		"by ARN":        {path: "arn:aws:lambda:us-east-1:123456789012:function:echo:live", kind: "RequestResponse", payload: `{}`, status: 200},
		"asynchronous":  {path: "echo", kind: "Event", payload: `{}`, status: 202},
		"unknown":       {path: "nobody", payload: `{}`, status: 404, header: "X-Amzn-ErrorType", value: "ResourceNotFoundException", body: "function not found"},
		"not JSON":      {path: "echo", payload: `{`, status: 400, header: "X-Amzn-ErrorType", value: "InvalidRequestContentException", body: "not JSON: byte 1: unexpected end of JSON input"},
		"not UTF-8":     {path: "echo", payload: "\"\xff\"", status: 400, header: "X-Amzn-ErrorType", value: "InvalidRequestContentException", body: "it is not UTF-8"},
		"too large":     {path: "echo", payload: `"` + strings.Repeat("x", MaxSyncPayload) + `"`, status: 413, header: "X-Amzn-ErrorType", value: "RequestTooLargeException"},
		"too large now": {path: "echo", kind: "Event", payload: `"` + strings.Repeat("x", MaxAsyncPayload) + `"`, status: 413, header: "X-Amzn-ErrorType", value: "RequestTooLargeException"},
		"another kind":  {path: "echo", kind: "Perhaps", payload: `{}`, status: 400, header: "X-Amzn-ErrorType", value: "InvalidParameterValueException"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				api.URL+"/2015-03-31/functions/"+c.path+"/invocations", strings.NewReader(c.payload))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Amz-Invocation-Type", c.kind)
			answer, err := api.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.status || answer.Header.Get(c.header) != c.value || !strings.Contains(string(body), c.body) {
				t.Errorf("status %d, header %v, body %s", answer.StatusCode, answer.Header, body)
			}
		})
	}
}

func TestAFunctionsErrorIsToldOverHTTP(t *testing.T) {
	t.Parallel()
	s := newService(t, Options{}, Function{Bootstrap: "/nowhere/bootstrap"})
	api := httptest.NewServer(s.InvokeAPI())
	t.Cleanup(api.Close)
	answer, err := api.Client().Post(api.URL+"/2015-03-31/functions/echo/invocations", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("status %d, header %v", answer.StatusCode, answer.Header)
	}
}

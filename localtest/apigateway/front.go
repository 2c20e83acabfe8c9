// Package apigateway is a local HTTP API: it turns requests into the events that API Gateway's HTTP APIs send to
// Lambda functions, in payload format 2.0, and what the functions answer into responses.
//
// What it has not: authorizers, CORS, stages other than $default, and the parts of an event's context that name an
// account or a domain.
//
// Reference: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
package apigateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/perdure-dev/perdure/localtest/lambdalocal"
)

// The quotas of HTTP APIs that a function meets, by
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html.
const (
	maxBody         = 10 << 20         // bytes of a request
	answerWithin    = 30 * time.Second // integration timeout
	unavailableText = `{"message":"Service Unavailable"}`
	failedText      = `{"message":"Internal Server Error"}`
)

// Invoker runs a function and waits for its end, as lambdalocal.Service does.
type Invoker interface {
	Invoke(ctx context.Context, name string, payload []byte) (lambdalocal.Result, error)
}

// Front returns an HTTP API. Its routes name the function for each route key as a template has it, a method and a path
// such as "POST /orders/{id}". A malformed or ambiguous one is a programmer's error and panics.
func Front(functions Invoker, routes map[string]string) http.Handler {
	mux := http.NewServeMux()
	for key, function := range routes {
		var names []string
		for part := range strings.SplitSeq(key, "/") {
			if inner, ok := strings.CutPrefix(part, "{"); ok {
				names = append(names, strings.TrimSuffix(inner, "}"))
			}
		}
		mux.HandleFunc(key, func(w http.ResponseWriter, r *http.Request) {
			serve(w, r, functions, function, key, names)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusNotFound, `{"message":"Not Found"}`)
	})
	return mux
}

func serve(w http.ResponseWriter, r *http.Request, functions Invoker, function, key string, names []string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		write(w, http.StatusRequestEntityTooLarge, `{"message":"Request Entity Too Large"}`)
		return
	}
	payload, err := json.Marshal(event(r, body, key, names))
	if err != nil {
		write(w, http.StatusInternalServerError, failedText)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	result, err := functions.Invoke(ctx, function, payload)
	switch {
	case err != nil:
		write(w, http.StatusServiceUnavailable, unavailableText)
	case result.FunctionError != "":
		write(w, http.StatusInternalServerError, failedText)
	default:
		respond(w, result.Payload)
	}
}

// event returns a request as a function gets it.
func event(r *http.Request, body []byte, key string, names []string) *events.APIGatewayV2HTTPRequest {
	now := time.Now()
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	e := &events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: key, RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{"host": r.Host}, Body: string(body),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: key, Stage: "$default", APIID: "local", AccountID: "123456789012",
			RequestID: fmt.Sprintf("local-%d", now.UnixNano()),
			Time:      now.UTC().Format("02/Jan/2006:15:04:05 +0000"), TimeEpoch: now.UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: address, UserAgent: r.UserAgent(),
			},
		},
	}
	for name, values := range r.Header {
		e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for name, values := range r.URL.Query() {
		if e.QueryStringParameters == nil {
			e.QueryStringParameters = map[string]string{}
		}
		e.QueryStringParameters[name] = strings.Join(values, ",")
	}
	for _, name := range names {
		if e.PathParameters == nil {
			e.PathParameters = map[string]string{}
		}
		e.PathParameters[name] = r.PathValue(name)
	}
	if !isText(r.Header.Get("Content-Type"), body) {
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return e
}

// isText reports whether a body reaches the function as it is; others do in base64.
func isText(contentType string, body []byte) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if contentType != "" && err != nil {
		return false
	}
	text := kind == "" || strings.HasPrefix(kind, "text/") || kind == "application/json" ||
		kind == "application/javascript" || kind == "application/xml"
	return text && utf8.Valid(body)
}

// respond writes a function's answer: a response when it has a status, else JSON with the status 200.
func respond(w http.ResponseWriter, payload []byte) {
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(payload, &answer); err != nil || answer.StatusCode == 0 {
		write(w, http.StatusOK, string(payload))
		return
	}
	body := []byte(answer.Body)
	if answer.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(answer.Body); err != nil {
			write(w, http.StatusInternalServerError, failedText)
			return
		}
	}
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	for _, cookie := range answer.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // a caller that is gone minds nothing
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a caller that is gone minds nothing
}

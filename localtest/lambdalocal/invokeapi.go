package lambdalocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// InvokeAPI serves the one action of the Lambda API that functions call each other by, Invoke, so that AWS SDKs and
// the AWS CLI work against it: set AWS_ENDPOINT_URL_LAMBDA, and any credentials. A function may be named by its name or
// ARN, with a version or an alias behind it, which means nothing here.
//
// Reference: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html.
func (s *Service) InvokeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", s.serveInvoke)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "UnknownOperationException", r.Method+" "+r.URL.Path+" is not Invoke, which is all that there is here")
	})
	return mux
}

func (s *Service) serveInvoke(w http.ResponseWriter, r *http.Request) {
	name := functionName(r.PathValue("name"))
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxSyncPayload+1))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException", err.Error())
		return
	}
	limit := MaxSyncPayload
	kind := r.Header.Get("X-Amz-Invocation-Type")
	if kind == "Event" {
		limit = MaxAsyncPayload
	}
	var result Result
	switch {
	case len(payload) > limit:
		refuse(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("the payload has over %d bytes, which is the limit", limit))
		return
	case kind == "Event":
		err = s.InvokeAsync(name, payload)
	case kind == "" || kind == "RequestResponse":
		result, err = s.Invoke(r.Context(), name, payload)
	default:
		refuse(w, http.StatusBadRequest, "InvalidParameterValueException",
			fmt.Sprintf("invocation type %q: it must be RequestResponse or Event", kind))
		return
	}
	switch {
	case err != nil:
		refuseInvoke(w, err)
	case kind == "Event":
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amz-Executed-Version", "$LATEST")
		w.Header().Set("X-Amzn-RequestId", result.RequestID)
		if result.FunctionError != "" {
			w.Header().Set("X-Amz-Function-Error", result.FunctionError)
		}
		_, _ = w.Write(result.Payload) // a caller that is gone minds nothing
	}
}

// functionName returns the name in what Invoke takes for one.
func functionName(text string) string {
	if _, after, found := strings.Cut(text, ":function:"); found {
		text = after
	}
	name, _, _ := strings.Cut(text, ":")
	return name
}

func refuseInvoke(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrFunctionNotFound):
		refuse(w, http.StatusNotFound, "ResourceNotFoundException", err.Error())
	case errors.Is(err, ErrThrottled):
		refuse(w, http.StatusTooManyRequests, "TooManyRequestsException", err.Error())
	case errors.Is(err, ErrPayload):
		refuse(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
	default:
		refuse(w, http.StatusInternalServerError, "ServiceException", err.Error())
	}
}

// refuse answers an error as the Lambda API words it. Three strings cannot fail to become JSON.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", kind)
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"Type": "User", "Message": message})
	_, _ = w.Write(body)
}

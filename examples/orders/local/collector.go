package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"

	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes traces by OTLP over HTTP, as an OpenTelemetry collector does, and keeps them.
type collector struct {
	mu    sync.Mutex
	spans []span
	wrong []error // what the functions sent that is not OTLP
}

// span is a span as it came. Its ids are in hexadecimal digits.
type span struct {
	Trace, ID, Parent string
	Name              string
	Failed            string // what the status says, of a span whose status is an error
	Attributes        map[string]string
	Function          string // that sent it
	Start, End        uint64 // Unix nanoseconds
}

func (c *collector) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	request, err := read(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.wrong = append(c.wrong, err)
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	for _, resource := range request.GetResourceSpans() {
		function := attributes(resource.GetResource().GetAttributes())["faas.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(s, function))
			}
		}
	}
	rw.Header().Set("Content-Type", "application/x-protobuf") // an empty answer says that all is taken
}

func read(r *http.Request) (*collect.ExportTraceServiceRequest, error) {
	if kind := r.Header.Get("Content-Type"); r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || kind != "application/x-protobuf" {
		return nil, fmt.Errorf("%s %s of type %q is not OTLP over HTTP in protobuf", r.Method, r.URL.Path, kind)
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var request collect.ExportTraceServiceRequest
	return &request, proto.Unmarshal(data, &request)
}

func newSpan(s *traces.Span, function string) span {
	one := span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Attributes: attributes(s.GetAttributes()), Function: function,
		Start: s.GetStartTimeUnixNano(), End: s.GetEndTimeUnixNano(),
	}
	if s.GetStatus().GetCode() == traces.Status_STATUS_CODE_ERROR {
		one.Failed = s.GetStatus().GetMessage()
	}
	return one
}

func attributes(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			m[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			m[a.GetKey()] = fmt.Sprint(v.IntValue)
		}
	}
	return m
}

// trace returns the spans of a trace, in the order of their starts.
func (c *collector) trace(id string) ([]span, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) > 0 {
		return nil, c.wrong[0]
	}
	var found []span
	for _, s := range c.spans {
		if s.Trace == id {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b span) int { return cmp.Compare(a.Start, b.Start) })
	return found, nil
}

// of returns the spans that are of one execution.
func of(spans []span, execution string) (found []span) {
	for _, s := range spans {
		if s.Attributes["perdure.execution_id"] == execution {
			found = append(found, s)
		}
	}
	return found
}

// functions returns the names of those that sent spans.
func functions(spans []span) []string {
	names := map[string]bool{}
	for _, s := range spans {
		names[s.Function] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Package meter is a loopback proxy in front of DynamoDB that counts what every request consumes, whichever
// process sends it and whether or not that process lives to see the answer.
package meter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Units is what requests consumed.
type Units struct {
	Requests int
	Write    float64 // write request units, of the table and its indexes
	Read     float64 // read request units
}

func (u *Units) add(more Units) {
	u.Requests += more.Requests
	u.Write += more.Write
	u.Read += more.Read
}

// Meter is a running proxy.
type Meter struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{}

	mu    sync.Mutex
	usage Usage
}

// Options are a Meter's choices; the zero value works.
type Options struct {
	// NoBatches refuses batches of statements, as a role without their permissions is refused. DynamoDB Local does not
	// tell what they consume; stores then write one by one, at the same cost. Default: they pass, see Usage.Untold.
	NoBatches bool
}

// Start starts a proxy for the endpoint on a free loopback port.
func Start(ctx context.Context, endpoint string, opts Options) (*Meter, error) {
	target, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("meter for endpoint %q: %w", endpoint, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	m := &Meter{
		listener: listener, served: make(chan struct{}),
		usage: Usage{ByOperation: map[string]Units{}, ByKey: map[string]Units{}, Calls: map[Call]int{}},
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
		},
		ModifyResponse: m.count,
		ErrorLog:       log.New(io.Discard, "", 0), // a client that goes away, or is killed, is no error here
		Transport:      &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	m.server = &http.Server{Handler: m.handler(opts, proxy), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(m.served)
		_ = m.server.Serve(listener) // ends with ErrServerClosed
	}()
	return m, nil
}

// Endpoint returns the URL that clients are to use in place of DynamoDB's.
func (m *Meter) Endpoint() string { return "http://" + m.listener.Addr().String() }

// Close stops the proxy.
func (m *Meter) Close() error {
	err := m.server.Close()
	<-m.served
	return err
}

// refusal is what DynamoDB answers where a permission lacks.
const refusal = `{"__type":"com.amazon.coral.service#AccessDeniedException","message":"batches of statements are not metered here"}`

func (m *Meter) handler(o Options, proxy http.Handler) http.Handler {
	metered := m.askForCapacity(proxy)
	if !o.NoBatches {
		return metered
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+batchOperation) {
			metered.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, refusal) // the client may be gone
	})
}

const batchOperation = "BatchExecuteStatement"

// Usage is what requests consumed.
type Usage struct {
	// Untold is how many statements of batches are not in the units, since DynamoDB Local does not tell what they consume.
	Untold      int
	Refused     int // conditional writes whose condition did not hold, in batches too
	Total       Units
	ByOperation map[string]Units // such as UpdateItem
	ByKey       map[string]Units // of requests on single items, by partition key; without queries and batches
	Calls       map[Call]int     // how often each was made, answered or not
}

// Call is what a client asked for.
type Call struct {
	App       string // the client's application id (AWS_SDK_UA_APP_ID), by which functions are told apart
	Operation string // such as Query, by the name of the permission that it takes
	Index     string // empty for the table itself
}

// Usage returns what all requests consumed so far.
func (m *Meter) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Usage{m.usage.Untold, m.usage.Refused, m.usage.Total, maps.Clone(m.usage.ByOperation), maps.Clone(m.usage.ByKey), maps.Clone(m.usage.Calls)}
}

// Total returns what all requests consumed so far.
func (m *Meter) Total() Units {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage.Total
}

// call is what a request says about itself.
type call struct {
	operation, key string
	least          float64 // read units that it consumes whatever it finds
}

type callKey struct{}

// askForCapacity makes each request ask for the capacity that it consumes.
func (m *Meter) askForCapacity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		c := call{operation: operation}
		var fields map[string]json.RawMessage
		readable := json.Unmarshal(body, &fields) == nil
		m.called(r, operation, fields)
		if readable && metered(operation) {
			fields["ReturnConsumedCapacity"] = json.RawMessage(`"INDEXES"`)
			c.key = partitionKey(fields)
			c.least = leastRead(operation, fields)
			if more, err := json.Marshal(fields); err == nil {
				body = more
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		next.ServeHTTP(w, r)
	})
}

// called counts a call, or the statements of a batch. The SDK ends the User-Agent header with "app/" and the application id.
func (m *Meter) called(r *http.Request, operation string, fields map[string]json.RawMessage) {
	c := Call{Operation: operation}
	for _, word := range strings.Fields(r.Header.Get("User-Agent")) {
		if app, ok := strings.CutPrefix(word, "app/"); ok {
			c.App = app
		}
	}
	if json.Unmarshal(fields["IndexName"], &c.Index) != nil {
		c.Index = ""
	}
	calls := []Call{c}
	var statements []struct{ Statement string }
	if operation == batchOperation && json.Unmarshal(fields["Statements"], &statements) == nil {
		calls = calls[:0]
		for _, s := range statements {
			verb, _, _ := strings.Cut(strings.TrimSpace(s.Statement), " ")
			switch strings.ToUpper(verb) {
			case "INSERT":
				c.Operation = "PartiQLInsert"
			case "UPDATE":
				c.Operation = "PartiQLUpdate"
			default:
				c.Operation = "PartiQL " + verb
			}
			calls = append(calls, c)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range calls {
		m.usage.Calls[c]++
	}
}

// leastRead returns what a read consumes that finds nothing, in read units, for which DynamoDB Local reports zero:
// 1 when it is consistent, else 0.5 (AWS documentation, "DynamoDB read and write operations").
func leastRead(operation string, fields map[string]json.RawMessage) float64 {
	switch {
	case operation != "GetItem" && operation != "Query":
		return 0
	case string(fields["ConsistentRead"]) == "true":
		return 1
	}
	return 0.5
}

func metered(operation string) bool {
	switch operation {
	case "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan",
		"BatchGetItem", "BatchWriteItem", batchOperation, "TransactGetItems", "TransactWriteItems":
		return true
	}
	return false
}

// partitionKey returns the partition key of the one item that a request is about; empty for others.
func partitionKey(fields map[string]json.RawMessage) string {
	for _, name := range []string{"Key", "Item"} {
		var item struct {
			PK struct{ S string } `json:"pk"`
		}
		if json.Unmarshal(fields[name], &item) == nil && item.PK.S != "" {
			return item.PK.S
		}
	}
	return ""
}

// capacity is a ConsumedCapacity of DynamoDB's JSON.
type capacity struct {
	CapacityUnits float64
}

// count adds up what a response says. A conditional write that failed says nothing; it consumes by the size of
// the item, at least one write unit (AWS documentation, "Read and write operations", read 2026-11), and is
// counted as one.
func (m *Meter) count(r *http.Response) error {
	c, _ := r.Request.Context().Value(callKey{}).(call)
	if !metered(c.operation) {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct {
		Type             string          `json:"__type"`
		ConsumedCapacity json.RawMessage // an object, or a list of them for batches
		Responses        json.RawMessage // a list for a batch of statements
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil //nolint:nilerr // not DynamoDB's answer: passed on as it is
	}
	var capacities []capacity
	var single capacity
	if json.Unmarshal(answer.ConsumedCapacity, &capacities) != nil && json.Unmarshal(answer.ConsumedCapacity, &single) == nil {
		capacities = []capacity{single}
	}
	units := Units{Requests: 1}
	for _, one := range capacities {
		if writes(c.operation) {
			units.Write += one.CapacityUnits
		} else {
			units.Read += one.CapacityUnits
		}
	}
	units.Read = max(units.Read, c.least)
	refused := 0
	if strings.HasSuffix(answer.Type, "#ConditionalCheckFailedException") {
		units.Write++
		refused++
	}
	var statements []struct{ Error struct{ Code string } }
	if c.operation == batchOperation && json.Unmarshal(answer.Responses, &statements) == nil {
		for _, s := range statements {
			if strings.HasPrefix(s.Error.Code, "ConditionalCheckFailed") {
				refused++
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(capacities) == 0 {
		m.usage.Untold += len(statements)
	}
	m.usage.Refused += refused
	m.usage.Total.add(units)
	of := m.usage.ByOperation[c.operation]
	of.add(units)
	m.usage.ByOperation[c.operation] = of
	if c.key != "" {
		of := m.usage.ByKey[c.key]
		of.add(units)
		m.usage.ByKey[c.key] = of
	}
	return nil
}

func writes(operation string) bool {
	switch operation {
	case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", batchOperation, "TransactWriteItems":
		return true
	}
	return false
}

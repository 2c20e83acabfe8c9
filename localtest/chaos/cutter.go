package main

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/perdure-dev/perdure/localtest/stack"
)

// Shares of the requests that a cutter spoils, each in its own way.
const (
	shareFails     = 0.02 // DynamoDB answers that it failed
	shareThrottled = 0.02 // DynamoDB answers that there are too many
	shareLost      = 0.02 // the connection is cut before the request is sent on
	shareUnheard   = 0.03 // the connection is cut after the request took effect
)

// cutter is a proxy in front of DynamoDB that spoils a share of the requests.
type cutter struct {
	url    string
	stop   func() error
	ready  chan struct{} // closed when target is known
	target *url.URL
	on     atomic.Bool

	mu     sync.Mutex
	random *rand.Rand
	// Of the requests: how many there were, and how many were spoiled and how.
	requests, failed, throttled, lost, unheard int
}

func startCutter(ctx context.Context, seed uint64) (*cutter, error) {
	c := &cutter{ready: make(chan struct{}), random: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // it must be repeatable
	c.on.Store(true)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(c.target)
			r.Out.Host = c.target.Host
		},
		ErrorLog:  log.New(io.Discard, "", 0), // clients are killed
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	var err error
	c.url, c.stop, err = stack.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-c.ready:
		case <-r.Context().Done():
			return
		}
		c.serve(w, r, proxy)
	}))
	return c, err
}

// sendTo says where the requests go; they wait until then.
func (c *cutter) sendTo(endpoint string) error {
	target, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	c.target = target
	close(c.ready)
	return nil
}

func (c *cutter) serve(w http.ResponseWriter, r *http.Request, proxy http.Handler) {
	spoil := c.draw()
	switch {
	case spoil == &c.failed:
		refuse(w, http.StatusInternalServerError, "com.amazonaws.dynamodb.v20120810#InternalServerError")
	case spoil == &c.throttled:
		refuse(w, http.StatusBadRequest, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
	case spoil == &c.lost:
		cut(w)
	case spoil == &c.unheard:
		proxy.ServeHTTP(httptest.NewRecorder(), r) // it takes effect
		cut(w)
	default:
		proxy.ServeHTTP(w, r)
	}
}

// draw decides what becomes of a request, and returns the count of those of which the same became; nil for one that is let
// through.
func (c *cutter) draw() *int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if !c.on.Load() {
		return nil
	}
	x := c.random.Float64()
	for _, way := range []struct {
		share float64
		count *int
	}{{shareFails, &c.failed}, {shareThrottled, &c.throttled}, {shareLost, &c.lost}, {shareUnheard, &c.unheard}} {
		if x < way.share {
			*way.count++
			return way.count
		}
		x -= way.share
	}
	return nil
}

func refuse(w http.ResponseWriter, status int, kind string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"__type":"`+kind+`","message":"chaos"}`) // the client may be gone
}

// cut closes a request's connection without an answer.
func cut(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close() // that is the point
			return
		}
	}
	panic(http.ErrAbortHandler)
}

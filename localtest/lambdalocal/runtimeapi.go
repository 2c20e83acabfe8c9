package lambdalocal

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// maxResponse is the limit Lambda names for a synchronous answer: 6 MB and room for its wrapping.
const maxResponse = 6291556

// counting returns a server's hook that counts its open connections. Requests alone would not do: the server may hand
// one to a handler after it was closed.
func counting(connections *sync.WaitGroup) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			connections.Done()
		case http.StateActive, http.StateIdle:
		}
	}
}

// runtimeAPI serves the environment's process.
func (e *environment) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		e.serveAnswer(w, r, "")
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		e.serveAnswer(w, r, unhandled)
	})
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", e.serveInitError)
	return mux
}

// serveNext ends the init phase or the invocation before and answers with the next invocation,
// however long that takes to come.
func (e *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	if !e.advance() {
		reply(w, http.StatusForbidden, errorPayload("InvalidStateTransition", "the current invocation has no answer"))
		return
	}
	var inv *invocation
	select {
	case inv = <-e.work:
	case <-r.Context().Done(): // The process has ended, or its connection has.
		return
	}
	e.mu.Lock()
	inv.delivered = true
	e.count++
	deadline := inv.deadline
	e.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.arn)
	id := strings.ReplaceAll(inv.id, "-", "")
	h.Set("Lambda-Runtime-Trace-Id", fmt.Sprintf("Root=1-%s-%s;Parent=%s;Sampled=0", id[:8], id[8:], id[:16]))
	_, _ = w.Write(inv.payload) // It fails when the process has ended, which is seen elsewhere.
}

// advance notes that the runtime asks for work. It is false when the runtime owes an answer.
func (e *environment) advance() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ready {
		e.ready = true
		e.release()
		close(e.inited)
		return true
	}
	inv := e.current
	if inv == nil || !inv.delivered {
		return true // It asks again, over another connection.
	}
	if inv.answer == nil {
		return false
	}
	e.current = nil
	close(inv.settled)
	return true
}

func (e *environment) serveAnswer(w http.ResponseWriter, r *http.Request, functionError string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxResponse+1))
	large := len(body) > maxResponse
	if large {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return // The process has ended, or its connection has.
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	inv := e.current
	if inv == nil || inv.id != r.PathValue("id") || inv.answer != nil {
		reply(w, http.StatusBadRequest, errorPayload("InvalidRequestID", "Invalid request ID"))
		return
	}
	if large {
		inv.answerErr = unhandled
		inv.answer = errorPayload("Function.ResponseSizeTooLarge",
			fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse))
		reply(w, http.StatusRequestEntityTooLarge, errorPayload("RequestEntityTooLarge", "Exceeded maximum allowed payload size"))
		return
	}
	inv.answer, inv.answerErr = body, functionError
	reply(w, http.StatusAccepted, []byte(`{"status":"OK"}`))
}

// serveInitError keeps what the runtime says about its failed init phase; the process ends next.
func (e *environment) serveInitError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	if err != nil {
		reply(w, http.StatusBadRequest, errorPayload("InvalidRequest", err.Error()))
		return
	}
	select {
	case e.initFail <- body:
	default: // It has said so before.
	}
	reply(w, http.StatusAccepted, []byte(`{"status":"OK"}`))
}

func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // It fails when the process has ended, which is seen elsewhere.
}

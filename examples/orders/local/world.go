package main

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/perdure-dev/perdure/examples/orders/orders"
)

// The orders for which the bank refuses every payment, and for which it never answers well.
const (
	broke = "broke"
	down  = "down"
)

// world is a bank and a carrier. Like real ones they do a request once that comes twice with one key, are busy now
// and then, and refuse some.
type world struct {
	mux *http.ServeMux

	mu       sync.Mutex
	answers  map[string]any // by idempotency key
	busy     map[string]bool
	captured map[string]int // cents, by order
	refunded map[string]int
	parcels  map[string]int
}

func newWorld() *world {
	w := &world{
		mux: http.NewServeMux(), answers: map[string]any{}, busy: map[string]bool{},
		captured: map[string]int{}, refunded: map[string]int{}, parcels: map[string]int{},
	}
	w.mux.HandleFunc("POST /bank/captures", func(rw http.ResponseWriter, r *http.Request) {
		var p orders.Payment
		w.do(rw, r, &p, func() (any, string) {
			switch p.Order {
			case broke:
				return nil, "insufficient funds"
			case down:
				return nil, ""
			}
			w.captured[p.Order] += p.Cents
			return struct{}{}, ""
		})
	})
	w.mux.HandleFunc("POST /bank/refunds", func(rw http.ResponseWriter, r *http.Request) {
		var p orders.Payment
		w.do(rw, r, &p, func() (any, string) {
			cents := w.captured[p.Order] - w.refunded[p.Order]
			w.refunded[p.Order] += cents
			return map[string]int{"cents": cents}, ""
		})
	})
	w.mux.HandleFunc("POST /carrier/parcels", func(rw http.ResponseWriter, r *http.Request) {
		var o orders.Order
		w.do(rw, r, &o, func() (any, string) {
			if o.Country == "Atlantis" {
				return nil, "no parcels to " + o.Country
			}
			w.parcels[o.ID]++
			return orders.Shipment{Tracking: "parcel-" + o.ID}, ""
		})
	})
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

// do does what is asked for once for each key; where once returns neither an answer nor why not, it is down. The first request of each order to the bank finds it busy.
func (w *world) do(rw http.ResponseWriter, r *http.Request, in any, once func() (answer any, refused string)) {
	if err := json.NewDecoder(r.Body).Decode(in); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := r.URL.Path + " " + r.Header.Get("Idempotency-Key")
	if !w.busy[key] && r.URL.Path == "/bank/captures" {
		w.busy[key] = true
		http.Error(rw, "busy", http.StatusServiceUnavailable)
		return
	}
	answer, done := w.answers[key]
	if !done {
		var refused string
		if answer, refused = once(); refused != "" {
			http.Error(rw, refused, http.StatusUnprocessableEntity)
			return
		}
		if answer == nil {
			http.Error(rw, "down", http.StatusBadGateway)
			return
		}
		w.answers[key] = answer
	}
	_ = json.NewEncoder(rw).Encode(answer) // a caller that is gone asks again
}

// books are what the world knows of an order.
type books struct{ Captured, Refunded, Parcels int }

func (w *world) books(order string) books {
	w.mu.Lock()
	defer w.mu.Unlock()
	return books{w.captured[order], w.refunded[order], w.parcels[order]}
}

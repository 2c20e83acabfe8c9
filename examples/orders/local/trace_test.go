package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/examples/orders/orders"
)

// open starts the shop for a test.
func open(t *testing.T, o options) *app {
	t.Helper()
	a, err := start(t.Context(), "..", t.TempDir(), t.Output(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOrderIsOneTraceAcrossFunctionsAndInvocations(t *testing.T) {
	t.Parallel()
	a := open(t, options{traces: true})
	v := &visitor{app: a, say: t.Logf}
	o := order("18", "lamp", 1)
	must(t, v.place(t.Context(), o, http.StatusAccepted))
	must(t, v.asleep(t.Context(), o.ID)) // else startready would find the payment, and not the webhook the sleeper
	must(t, v.pay(t.Context(), o.ID, 2500, http.StatusOK))
	must(t, v.until(t.Context(), o.ID, orders.Shipped))
	spans, err := v.traced(t.Context(), o.ID)
	must(t, err)
	if from := functions(spans); !slices.Contains(from, "Webhook") || !slices.Contains(from, "startready") {
		t.Errorf("the spans are from %v, want some from the functions Webhook and startready", from)
	}
	outcomes, executors, requests := map[string]int{}, map[string]bool{}, map[string]int{}
	attempts := map[string]string{} // span ids
	for _, s := range spans {
		if s.Name == "capture_payment attempt" {
			outcomes[s.Attributes["perdure.outcome"]+" "+s.Failed]++
			attempts[s.ID] = s.Name
		}
		if id := s.Attributes["perdure.executor_id"]; id != "" {
			executors[id] = true
		}
	}
	for _, s := range spans {
		if strings.HasPrefix(s.Name, "POST /bank") {
			requests[attempts[s.Parent]+" "+s.Attributes["http.response.status_code"]]++
		}
	}
	if len(executors) < 2 {
		t.Errorf("all attempts were made in the invocations %v, want two at least", executors)
	}
	if outcomes["retried failed"] != 1 || outcomes["succeeded "] != 1 {
		t.Errorf("attempts of capture_payment: %v, want one retried and one that succeeded", outcomes)
	}
	if requests["capture_payment attempt 503"] != 1 || requests["capture_payment attempt 200"] != 1 {
		t.Errorf("requests to the bank below attempts: %v, want one that found it busy and one it answered", requests)
	}
	// A cancelled order: what the API ended is in the trace too, and no text of a failure is.
	o.ID = "19"
	must(t, v.place(t.Context(), o, http.StatusAccepted))
	must(t, v.asleep(t.Context(), o.ID))
	must(t, v.http(t.Context(), http.MethodDelete, "/orders/"+o.ID, "", nil, http.StatusAccepted))
	must(t, v.until(t.Context(), o.ID, orders.Cancelled))
	spans, err = v.traced(t.Context(), o.ID)
	must(t, err)
	if from := functions(spans); !slices.Contains(from, "Api") {
		t.Errorf("the spans are from %v, want one from the function Api", from)
	}
	for _, s := range spans {
		for key, value := range s.Attributes {
			if strings.Contains(value, "customer cancelled") || strings.Contains(s.Failed, "customer cancelled") {
				t.Errorf("span %s says in %s what a failure says: %s", s.Name, key, value)
			}
		}
	}
}

func TestACollectorThatIsAwayHoldsNoOrderUp(t *testing.T) {
	t.Parallel()
	a := open(t, options{tracesURL: "http://127.0.0.1:1"}) // where nobody listens
	v := &visitor{app: a, say: t.Logf}
	o := order("untraced", "lamp", 1)
	must(t, v.place(t.Context(), o, http.StatusAccepted))
	must(t, v.pay(t.Context(), o.ID, 2500, http.StatusOK))
	must(t, v.until(t.Context(), o.ID, orders.Shipped))
	must(t, v.booked(o.ID, books{Captured: 2500, Parcels: 1}))
}

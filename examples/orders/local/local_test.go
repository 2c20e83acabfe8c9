package main

import (
	"os"
	"testing"
)

func TestTheShopFromTheOrderToTheParcelAndWhateverMayGoWrong(t *testing.T) {
	t.Parallel()
	a := open(t, options{})
	for _, s := range scenes {
		t.Run(s.title, func(t *testing.T) {
			t.Parallel()
			if err := s.play(t.Context(), &visitor{app: a, say: t.Logf}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTheTemplateHasWhatIsRunHere(t *testing.T) {
	t.Parallel()
	found, err := readTemplate("..")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{template: found}
	for route, function := range map[string]string{
		"POST /orders": "Api", "GET /orders/{id}": "Api", "DELETE /orders/{id}": "Api", "POST /payments": "Webhook",
	} {
		if got := a.routes()[route]; got != function {
			t.Errorf("%s goes to %q, want %s", route, got, function)
		}
	}
	if a.nightly() == "" {
		t.Error("the nightly schedule has no event")
	}
	if _, err := os.Stat("../voucher/app.py"); err != nil {
		t.Error(err)
	}
}

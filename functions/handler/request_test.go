package handler

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/tasks"
)

// Whoever named another table than the function's had the execution made in the function's own.
func TestARequestForAnotherTableIsRefusedAndWritesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		own, said string
		same      bool
	}{
		{"shop", "shop", true}, {"shop", "", true}, {"shop", "Shop", false}, {"shop", "other", false},
		{"shop", "arn:aws:dynamodb:eu-central-1:123456789012:table/shop", true},
		{"shop", "arn:aws:dynamodb:eu-central-1:123456789012:table/other", false},
		{"arn:aws:dynamodb:eu-central-1:123456789012:table/shop", "shop", true},
		{"arn:aws:dynamodb:eu-central-1:123456789012:table/shop", "arn:aws:dynamodb:us-east-1:123456789012:table/shop", false},
	} {
		store := memstore.New(memstore.Options{})
		handle, err := (&App{Config: Config{Table: test.own}, Store: store}).Enqueue(tasks.Registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range []string{
			`{"action":"tasks"}`, `{"action":"enqueue","task":"count_words","input":"a","execution_id":"a"}`,
			`{"action":"wakeup","task":"await_payment","key":"k","failure":"no"}`, `{"action":"get","execution_id":"a"}`, `{"action":"cancel","execution_id":"a"}`,
		} {
			request = strings.Replace(request, "{", `{"table":"`+test.said+`",`, 1)
			r, err := handle(t.Context(), json.RawMessage(request))
			if err != nil {
				t.Fatal(err)
			}
			if refused := r.Error != nil && r.Error.Code == CodeWrongTable; refused == test.same || refused && !strings.Contains(r.Error.Message, test.own) {
				t.Errorf("the function of %s answers %s with %+v", test.own, request, r.Error)
			}
		}
		if written := store.Len(); written > 0 != test.same {
			t.Errorf("the function of %s wrote %d records for %s", test.own, written, test.said)
		}
	}
}

// The zero value was taken for what the caller had left out.
func TestARequestWithoutInputOrOutputIsRefusedAndNullIsNot(t *testing.T) {
	t.Parallel()
	store := memstore.New(memstore.Options{})
	handle, err := (&App{Store: store}).Enqueue(tasks.Registry)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request string) Response {
		t.Helper()
		r, err := handle(t.Context(), json.RawMessage(request))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, request := range []string{
		`{"action":"enqueue","task":"count_words"}`, `{"action":"enqueue","task":"count_words","key":"k"}`, `{"action":"enqueue","task":"await_payment"}`,
		`{"action":"wakeup","task":"await_payment","key":"k"}`, `{"action":"wakeup","task":"await_payment","key":"k","failure":""}`,
	} {
		if r := ask(request); r.Error == nil || r.Error.Code != CodeBadRequest {
			t.Errorf("%s: %+v", request, r)
		}
	}
	if n := store.Len(); n > 0 {
		t.Errorf("%d records were written", n)
	}
	for _, request := range []string{
		`{"action":"enqueue","task":"count_words","input":null}`, `{"action":"wakeup","task":"await_payment","key":"k","output":null}`,
	} {
		if r := ask(request); r.Error != nil {
			t.Errorf("%s: %+v", request, r.Error)
		}
	}
}

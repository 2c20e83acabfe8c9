package core_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/faultstore"
	"github.com/perdure-dev/perdure/core/memstore"
)

func ExampleClient_List() {
	ctx := context.Background()
	client, err := core.NewClient(memstore.New(memstore.Options{}), core.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"a", "b", "c"} {
		if _, err := shout.EnqueueWith(ctx, client, word, core.EnqueueOptions{ID: word}); err != nil {
			log.Fatal(err)
		}
	}
	if err := client.Cancel(ctx, "b", "not needed"); err != nil {
		log.Fatal(err)
	}
	page, err := client.List(ctx, core.Listing{TaskID: "shout", Limit: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range page.Executions {
		fmt.Println(e.ID, e.Status)
	}
	for e, err := range client.ListAll(ctx, core.Listing{After: page.Next}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("and", e.ID)
	}
	// Output:
	// c ready
	// b cancelled
	// and a
}

func TestAllExecutionsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	store, fail := memstore.New(memstore.Options{}), false
	client, err := core.NewClient(faultstore.New(store, func(op faultstore.Op) faultstore.Fault {
		if fail && op.Name == "List" {
			return faultstore.Refused
		}
		return faultstore.None
	}), core.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 25 {
		h, err := shout.Enqueue(t.Context(), client, "x")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := h.Cancel(t.Context(), "why"); err != nil {
				t.Fatal(err)
			}
			want = append(want, h.ID())
		}
	}
	all := client.ListAll(t.Context(), core.Listing{Status: core.StatusCancelled, Limit: 5})
	for range 2 { // each range over it begins anew
		var got []string
		for e, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("listed %v, want %v", got, want)
		}
	}
	seen := 0
	var failure error
	for e, err := range all {
		if failure = err; e != nil {
			seen++
		}
		fail = seen == 5 // the second page
	}
	if seen != 5 || !errors.Is(failure, faultstore.ErrRefused) {
		t.Errorf("%d executions came and the error %v, want those of one page and the error of the second", seen, failure)
	}
	fail = false
	for range all {
		break // asks for no more
	}
	if _, err := client.List(t.Context(), core.Listing{Limit: -1}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

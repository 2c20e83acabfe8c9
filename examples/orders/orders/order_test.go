package orders

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
)

func TestOrdersThatAreWrongAreToldEverythingThatIs(t *testing.T) {
	t.Parallel()
	lines := []Line{{SKU: "lamp", Quantity: 1}}
	for name, c := range map[string]struct {
		order Order
		says  []string
	}{
		"in order":       {Order{ID: "17", Customer: "ada", Lines: lines}, nil},
		"nothing at all": {Order{}, []string{"id is", "customer has 0", "lines has 0"}},
		"too many lines": {Order{ID: "17", Customer: "ada", Lines: make([]Line, maxLines+1)}, []string{"lines has 51"}},
		"an id that is a path": {
			Order{ID: "a/b", Customer: "ada", Lines: []Line{{SKU: "../x", Quantity: 1}}}, []string{`id is "a/b"`, `lines[0].sku is "../x"`},
		},
		"quantities out of range": {
			Order{ID: "17", Customer: "ada", Lines: []Line{{"lamp", -1}, {"lamp", maxQuantity + 1}}},
			[]string{"lines[0].quantity is -1", "lines[1].quantity is 1001"},
		},
		"a wait that overflows": {Order{ID: "17", Customer: "ada", Lines: lines, PayWithinSeconds: 1 << 40}, []string{"pay_within_seconds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.order.Validate()
			if err == nil != (len(c.says) == 0) {
				t.Fatalf("error %v", err)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %v, want one that says %q", err, says)
				}
			}
		})
	}
}

func TestTheReasonOfARefusalArrivesAndNothingElseDoes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{Refuse(NotPaidInTime, errors.New("nobody woke it")), NotPaidInTime},
		{fmt.Errorf("step 2: %w", Refuse(ByCustomer, nil)), ByCustomer},
		{core.Fail("out_of_memory", errors.New("no"), "none of the customer's business"), OurFault},
		{errors.New("the bank is down"), OurFault},
	} {
		if got := reasonOf(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

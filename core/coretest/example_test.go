package coretest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/coretest"
)

// A refund waits for somebody's approval for a week, then pays.
func ExampleRun() {
	approval := core.NewSleepingTask[bool]("approval", core.TaskOptions{Timeout: 7 * 24 * time.Hour})
	pay := core.NewTask("pay", func(_ context.Context, approved bool) (string, error) {
		if !approved {
			return "kept", nil
		}
		return "refunded", nil
	}, core.TaskOptions{})
	refund := core.NewSequentialTask("refund", core.Then(approval, pay), core.TaskOptions{})

	// In a file whose name ends in _test.go:
	TestARefundThatIsApprovedIsPaid := func(t *testing.T) {
		coretest.Run(t, []core.Definition{refund, approval, pay}, func(w *coretest.World) {
			h := coretest.Enqueue(w, refund, "order 17")
			w.Skip(6 * 24 * time.Hour)
			coretest.Wake(w, approval, "order 17", true)
			coretest.Wait(w, h)
			w.CheckTree(h, `
				refund completed attempts=1 output="refunded"
				  [0] approval completed key="order 17" output=true
				  [1] pay completed attempts=1 output="refunded"`)
		})
	}
	fmt.Println("passed:", passes(TestARefundThatIsApprovedIsPaid))
	// Output: passed: true
}

// passes runs a test within an example.
func passes(test func(*testing.T)) bool {
	return testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "Test", F: test}})
}

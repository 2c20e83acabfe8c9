package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// failure is why an execution, or its last attempt, did not succeed.
type failure struct {
	handler.Failure
	Detail string `json:"detail,omitempty"` // the whole text, or a panic's stack; get alone loads it
}

func describeFailure(f *core.Failure) *failure {
	if f == nil {
		return nil
	}
	return &failure{*handler.FailureOf(f), string(f.Detail.Data)}
}

// loadDetail fills in the detail of a failure that began in another execution from that one, if it is still there.
func (f *failure) loadDetail(ctx context.Context, client *core.Client) error {
	if f == nil || f.Detail != "" || len(f.Chain) == 0 {
		return nil
	}
	e, err := client.Get(ctx, f.Chain[len(f.Chain)-1].ExecutionID)
	if err == nil {
		err = client.LoadFailure(ctx, e)
	}
	switch {
	case errors.Is(err, core.ErrNotFound), errors.Is(err, core.ErrCorrupt):
		return nil
	case err != nil:
		return err
	case e.Failure != nil:
		f.Detail = string(e.Failure.Detail.Data)
	}
	return nil
}

// rows returns the failure, its data, and below it the executions that led to it, one row each. No text is there twice:
// a message that is cut is left out where the whole follows, and so is one that says what was said above.
func (f *failure) rows() [][]cell {
	if f == nil {
		return nil
	}
	last, said := f.Message, string(f.Code)+": "+oneLined(f.Message)
	if begun, isCut := strings.CutSuffix(f.Message, "…"); isCut && strings.HasPrefix(f.Detail, begun) {
		said = string(f.Code) + ", as told below"
	}
	rows := [][]cell{{{"failure", dim}, {said, red}}}
	if f.Data != nil {
		rows = append(rows, []cell{{"data", dim}, text(jsonText(f.Data))})
	}
	for _, c := range f.Chain {
		said := c.Task + " " + c.ExecutionID + " " + string(c.Code)
		if c.Message != last {
			said += ": " + oneLined(c.Message)
		}
		last = c.Message
		rows = append(rows, []cell{{"because of", dim}, text(said)})
		if c.LeftOut > 0 {
			rows = append(rows, []cell{{}, {"… " + number(c.LeftOut) + " more", dim}})
		}
	}
	return rows
}

// failureText is a failure on one line.
func failureText(f *core.Failure) string {
	if f == nil {
		return ""
	}
	if f.Code == core.CodeFailed {
		return oneLined(f.Message)
	}
	return string(f.Code) + ": " + oneLined(f.Message)
}

// oneLined is text without line breaks.
func oneLined(s string) string { return strings.Join(strings.Fields(s), " ") }

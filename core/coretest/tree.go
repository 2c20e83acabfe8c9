package coretest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/perdure-dev/perdure/core"
)

// shownBytes is how much of an output or a failure Tree shows.
const shownBytes = 200

// Tree returns an execution and all below it as text, a line each, children in order and two spaces further in: their
// place, task, status, attempts, recoveries after crashes where there were any, a sleeper's key, output as JSON or failure.
// What is longer than 200 bytes is cut. Times are left out, and the ids of the tree's executions in outputs and failures
// are their places in it, such as <1.0>, so that the text is the same each time.
func (w *World) Tree(h Identified) string {
	w.Helper()
	ctx := context.WithoutCancel(w.Context())
	node, err := w.client.Tree(ctx, h.ID())
	if err != nil {
		w.Fatal(err)
	}
	places := placesOf(node)
	var text strings.Builder
	node.Walk(func(depth int, e *core.Execution) {
		text.WriteString(strings.Repeat("  ", depth))
		if depth > 0 {
			fmt.Fprintf(&text, "[%s] ", place(e))
		}
		fmt.Fprintf(&text, "%s %s", e.TaskID, e.Status)
		if e.Attempts > 0 {
			fmt.Fprintf(&text, " attempts=%d", e.Attempts)
		}
		if e.Recoveries > 0 {
			fmt.Fprintf(&text, " recoveries=%d", e.Recoveries)
		}
		if e.Sleeping() {
			fmt.Fprintf(&text, " key=%q", e.SleepKey)
		}
		if e.Failure != nil && e.Status != core.StatusCompleted {
			fmt.Fprintf(&text, " failure=%q", cut(places.Replace(string(e.Failure.Code)+": "+e.Failure.Message)))
		}
		if e.Status == core.StatusCompleted {
			output, _, err := w.client.ResultJSON(ctx, e)
			if err != nil {
				w.Fatal(err)
			}
			if output != nil && string(output) != "null" {
				text.WriteString(" output=" + cut(places.Replace(compact(output))))
			}
		}
		text.WriteByte('\n')
	})
	return text.String()
}

// place returns an execution's place below its parent.
func place(e *core.Execution) string {
	if e.Parent.Index == core.FinalizeIndex {
		return "finalize"
	}
	return strconv.Itoa(e.Parent.Index)
}

// placesOf returns what replaces the ids of a tree.
func placesOf(root *core.Node) *strings.Replacer {
	paths := map[string]string{root.Execution.ID: "root"}
	pairs := []string{root.Execution.ID, "<root>"}
	root.Walk(func(depth int, e *core.Execution) {
		if depth == 0 {
			return
		}
		path := place(e)
		if depth > 1 {
			path = paths[e.Parent.ID] + "." + path
		}
		paths[e.ID] = path
		pairs = append(pairs, e.ID, "<"+path+">")
	})
	return strings.NewReplacer(pairs...)
}

func cut(s string) string {
	if len(s) <= shownBytes {
		return s
	}
	return s[:shownBytes] + fmt.Sprintf("...(%d bytes)", len(s))
}

// compact returns JSON in one line, with its fields in alphabetical order.
func compact(data json.RawMessage) string {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return string(data)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return string(data)
	}
	return string(b)
}

// CheckTree fails the test when Tree is not what is wanted. want may be indented and have empty lines before and after,
// as in a raw string among code.
func (w *World) CheckTree(h Identified, want string) {
	w.Helper()
	got, wanted := lines(w.Tree(h)), lines(want)
	if strings.Join(got, "\n") == strings.Join(wanted, "\n") {
		return
	}
	var text strings.Builder
	for i := range max(len(got), len(wanted)) {
		g, w := line(got, i), line(wanted, i)
		switch {
		case g == w:
			text.WriteString("  " + g + "\n")
			continue
		case i < len(wanted):
			text.WriteString("- " + w + "\n")
		}
		if i < len(got) {
			text.WriteString("+ " + g + "\n")
		}
	}
	w.Errorf("the tree of execution %s is not what is wanted (- wanted, + got):\n%s", h.ID(), text.String())
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// lines returns a text's lines without empty ones at its ends and without the indent of the first one.
func lines(text string) []string {
	text = strings.TrimRight(text, " \t\n")
	for {
		first, rest, more := strings.Cut(text, "\n")
		if !more || strings.TrimSpace(first) != "" {
			break
		}
		text = rest
	}
	all := strings.Split(text, "\n")
	indent := all[0][:len(all[0])-len(strings.TrimLeft(all[0], " \t"))]
	for i, l := range all {
		all[i] = strings.TrimRight(strings.TrimPrefix(l, indent), " \t")
	}
	return all
}

// CheckNothingLeft fails the test when any execution in the store is unfinished, or finished with follow-up left to do.
// Give what goes on in the background the time for it, with Skip.
func (w *World) CheckNothingLeft() {
	w.Helper()
	if left := w.due(); left != "" {
		w.Errorf("left behind:\n%s", left)
	}
}

// due says what is unfinished or has a queue entry.
func (w *World) due() string {
	var text strings.Builder
	w.memory.Each(func(e *core.Execution) {
		if e.Status.Finished() && e.CloseStatus == core.CloseClosed && e.Queue == core.QueueNone && !e.NeedsCancellation {
			return
		}
		fmt.Fprintf(&text, "execution %s of task %s is %s", e.ID, e.TaskID, e.Status)
		if e.Queue != core.QueueNone {
			fmt.Fprintf(&text, ", in queue %s, due %s", e.Queue, e.DueAt.Format("2006-01-02 15:04:05.000"))
		}
		text.WriteByte('\n')
	})
	return text.String()
}

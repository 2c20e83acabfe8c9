package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perdure-dev/perdure/functions/tasks"
	"github.com/perdure-dev/perdure/localtest/progress"
)

// The summary added up what the records of the finished job say, which is nothing: it told of no recovery after the kill.
func TestTheSummaryTellsWhatTheKilledProcessLost(t *testing.T) {
	t.Parallel()
	var passed strings.Builder
	lost := &losses{next: &passed}
	log := `[startready] perdure: attempt 1 of 3 of task count_file
[timeouts] {"level":"WARN","message":"attempt is recovered: its executor was lost","execution_id":"a","count":2}
[timeouts] {"level":"WARN","message":"attempt is recovered: its executor was lost","execution_id":"b","count":1}
[processchildren] {"level":"INFO","message":"children were missing and are put in","count":3}
{"level":"INFO","message":"attempt failed","count":9}
`
	for _, part := range []string{log[:70], log[70:200], log[200:]} {
		if n, err := lost.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if passed.String() != log {
		t.Errorf("it passed on\n%s", passed.String())
	}
	var out strings.Builder
	in := &input{counts: tasks.Counts{"a": 1}, files: []string{"a"}}
	all := tree{{TaskID: "count_file", Attempts: 3}, {TaskID: "merge_counts", Attempts: 1}}
	if err := summarize(progress.New(&out), in, all, tasks.Counts{"a": 1}, time.Second, nil, lost); err != nil {
		t.Fatal(err)
	}
	if want := "2 retries, 2 attempts and 3 children recovered after a crash"; !strings.Contains(out.String(), want) {
		t.Errorf("want %q:\n%s", want, out.String())
	}
}

// The summary reads the messages of two log lines. Were one of them worded anew, it would tell of no recovery again.
func TestTheSummaryReadsMessagesThatTheEngineLogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../core/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var source strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for _, message := range []string{attemptRecovered, childrenPutIn} {
		if !strings.Contains(source.String(), strconv.Quote(message)) {
			t.Errorf("no line of the engine says %q", message)
		}
	}
}

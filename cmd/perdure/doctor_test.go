//go:build linux

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/dynamostore"
	"github.com/perdure-dev/perdure/localtest/stack"
)

type finding struct{ Check, Verdict, Says, Fix string }

// examine runs perdure doctor and returns what it finds.
func examine(t *testing.T, env []string) (exit int, found []finding) {
	t.Helper()
	o := perdure(t, env, "doctor", "--json")
	var d struct{ Findings []finding }
	if err := json.Unmarshal([]byte(o.stdout), &d); err != nil {
		t.Fatalf("%v\n%s%s", err, o.stdout, o.stderr)
	}
	return o.exit, d.Findings
}

func TestTheDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for i, test := range []struct {
		name    string
		breakIt func(*deployment)
		check   string
		verdict string // empty: nothing is found
		says    string
		fix     string
	}{
		{"nothing", func(*deployment) {}, "", "", "", ""},
		{"the key", func(d *deployment) {
			d.table.KeySchema = []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}}
			d.table.AttributeDefinitions = slices.Delete(d.table.AttributeDefinitions, 1, 2)
		}, "table", "fail", "its key is [pk HASH], must be [pk HASH][sk RANGE]", "create another table"},
		{"an index", func(d *deployment) {
			d.table.GlobalSecondaryIndexes = d.table.GlobalSecondaryIndexes[:1]
			d.table.AttributeDefinitions = d.table.AttributeDefinitions[:4]
		}, "table", "fail", "index cancel is missing", "add it with the key"},
		{"the stream", func(d *deployment) { d.table.StreamSpecification = nil }, "table", "fail", "its stream must be enabled", "update the table's stream"},
		{"the time to live", func(d *deployment) { d.noTTL = true }, "ttl", "fail", "nothing is ever deleted", "update-time-to-live"},
		{"backups", func(d *deployment) { d.noBackups = true }, "backups", "warn", "point-in-time recovery is off", "update-continuous-backups"},
		{"the mapping", func(d *deployment) { d.noStream = true }, "stream", "fail", "does not invoke", "event Stream"},
		{"the filter", func(d *deployment) { d.filter = strings.ReplaceAll(d.filter, "ready#", "done#") }, "stream", "fail", "keeps back", "event Stream"},
		{"no filter", func(d *deployment) { d.filter = "" }, "stream", "warn", "lets everything through", "event Stream"},
		{"a loop", func(d *deployment) { d.without = "timeouts" }, "functions", "fail", "serves the loop timeouts", "PERDURE_FUNCTION=timeouts"},
		{"the enqueue function", func(d *deployment) { d.without = "enqueue" }, "functions", "warn", "no enqueue function", "EnqueueFunction"},
		{"a schedule", func(d *deployment) { d.noTick = "close" }, "schedules", "fail", "no schedule invokes", "rate(1 minute)"},
		{"a timeout that is too short for a task", func(d *deployment) { d.timeout, d.told = 20, "20" }, "timeouts", "fail", "may take", "raise the function's timeout"},
		{"a function that is told too long a timeout", func(d *deployment) { d.told = "300" }, "timeouts", "fail", "is told 300 s", "PERDURE_FUNCTION_TIMEOUT=120"},
		{"an enqueue function that is told another timeout", func(d *deployment) { d.toldTasks = "900" }, "timeouts", "fail", "is told that tasks have a function of 900 s", "PERDURE_TASK_TIMEOUT=120"},
		{"settings that differ", func(d *deployment) { d.list = "yes" }, "settings", "fail", "PERDURE_LIST differs", "set the same"},
		{"settings that are wrong", func(d *deployment) { d.told = "soon" }, "settings", "fail", `PERDURE_FUNCTION_TIMEOUT is "soon"`, "as the template does"},
		{"a right", func(d *deployment) { d.actions = d.actions[:4] }, "permissions", "fail", "dynamodb:Query on table/", "grant it"},
		{"retries", func(d *deployment) { d.retries = 2 }, "dead_letters", "warn", "tried 2 times more", "MaximumRetryAttempts to 0"},
		{"an invocation that failed", func(d *deployment) { d.failed = "{}" }, "dead_letters", "fail", "1 invocations failed", "receive-message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := "t" + string(rune('a'+i))
			d := healthy(table)
			test.breakIt(d)
			c := &cloud{t, c.endpoint, c.config}
			c.deploy(d)
			exit, found := examine(t, []string{"AWS_ENDPOINT_URL=" + c.endpoint, "AWS_REGION=us-east-1", "PERDURE_TABLE=" + table})
			sick := slices.DeleteFunc(slices.Clone(found), func(f finding) bool {
				return f.Verdict == "ok" || f.Check == "backups" && strings.Contains(f.Says, "protected")
			})
			if test.verdict == "" {
				if exit != 0 || len(sick) > 0 {
					t.Errorf("exit code %d: %+v", exit, sick)
				}
				return
			}
			if wantExit := map[string]int{"fail": 1, "warn": 0}[test.verdict]; exit != wantExit {
				t.Errorf("exit code %d, want %d", exit, wantExit)
			}
			if !slices.ContainsFunc(sick, func(f finding) bool {
				return f.Check == test.check && f.Verdict == test.verdict && strings.Contains(f.Says, test.says) && strings.Contains(f.Fix, test.fix)
			}) {
				t.Errorf("not found: %s %s %q, fix %q, in\n%+v", test.check, test.verdict, test.says, test.fix, found)
			}
		})
	}
}

// What cannot be looked at is skipped, and says why: DynamoDB Local knows no backups, and nothing here leads to functions.
func TestTheDoctorSkipsWhatItCannotSee(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	exit, found := examine(t, w.env)
	if exit != 0 {
		t.Errorf("exit code %d: %+v", exit, found)
	}
	for _, f := range found {
		if want := map[string]string{"table": "ok", "ttl": "ok", "queues": "ok", "backups": f.Verdict}[f.Check]; f.Verdict != want && f.Verdict != "skipped" || f.Says == "" {
			t.Errorf("%+v", f)
		}
	}
	if !slices.ContainsFunc(found, func(f finding) bool {
		return f.Check == "functions" && f.Verdict == "skipped" && strings.Contains(f.Says, "the table is on this machine")
	}) {
		t.Errorf("the functions are not skipped: %+v", found)
	}

	// The same table, with an index that is missing.
	in := dynamostore.TableInput("broken", dynamostore.TableOptions{})
	in.GlobalSecondaryIndexes, in.AttributeDefinitions = in.GlobalSecondaryIndexes[:1], in.AttributeDefinitions[:4]
	if _, err := w.DynamoDB.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	o := perdure(t, w.env, "doctor", "--table", "broken")
	if o.exit != 1 || !strings.Contains(o.stdout, "index cancel is missing") || !strings.Contains(o.stdout, "fix: add it with the key") ||
		!strings.Contains(o.stdout, "time to live is off") {
		t.Errorf("exit code %d\n%s%s", o.exit, o.stdout, o.stderr)
	}
	if o := perdure(t, w.env, "doctor", "--table", "nowhere"); o.exit != 1 || !strings.Contains(o.stderr, "table not found: nowhere") {
		t.Errorf("exit code %d\n%s%s", o.exit, o.stdout, o.stderr)
	}
}

package dynamostore

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/localtest/cfn"
)

// readTemplate returns template.yaml as maps and lists; !Ref x becomes {"Ref": x}, and so on.
func readTemplate(t *testing.T) map[string]any {
	t.Helper()
	template, err := cfn.Read("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func at(v any, path ...string) any { return cfn.At(v, path...) }

// resolved returns v as it is under conditions, with what is then no value left out.
func resolved(v any, conditions map[string]bool) any { return cfn.Resolved(v, conditions) }

func TestTheTemplatesTableIsTheSchemas(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]bool{"without a list": false, "with a list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template := resolved(readTemplate(t), map[string]bool{"KeepsList": list})
			compareTemplate(t, TableInput("any", TableOptions{List: list}), at(template, "Resources", "Table", "Properties"))
		})
	}
}

func compareTemplate(t *testing.T, want *dynamodb.CreateTableInput, table any) {
	t.Helper()
	var attributes, indexes []string
	for _, a := range want.AttributeDefinitions {
		attributes = append(attributes, fmt.Sprintf("%s %s", *a.AttributeName, a.AttributeType))
	}
	for _, i := range want.GlobalSecondaryIndexes {
		indexes = append(indexes, fmt.Sprintf("%s %s %s", *i.IndexName, keyText(i.KeySchema), projectionText(i.Projection)))
	}
	keys := func(v any) string {
		s := ""
		for _, k := range v.([]any) {
			s += fmt.Sprintf("[%s %s]", at(k, "AttributeName"), at(k, "KeyType"))
		}
		return s
	}
	var gotAttributes, gotIndexes []string
	for _, a := range at(table, "AttributeDefinitions").([]any) {
		gotAttributes = append(gotAttributes, fmt.Sprintf("%s %s", at(a, "AttributeName"), at(a, "AttributeType")))
	}
	for _, i := range at(table, "GlobalSecondaryIndexes").([]any) {
		projection := fmt.Sprint(at(i, "Projection", "ProjectionType"))
		if more, ok := at(i, "Projection", "NonKeyAttributes").([]any); ok {
			projection += strings.TrimSuffix(fmt.Sprintln(append([]any{""}, more...)...), "\n")
		}
		gotIndexes = append(gotIndexes, fmt.Sprintf("%s %s %s", at(i, "IndexName"), keys(at(i, "KeySchema")), projection))
	}
	for what, pair := range map[string][2]any{
		"attributes":   {attributes, gotAttributes},
		"key":          {keyText(want.KeySchema), keys(at(table, "KeySchema"))},
		"indexes":      {indexes, gotIndexes},
		"billing mode": {string(want.BillingMode), at(table, "BillingMode")},
		"stream":       {string(want.StreamSpecification.StreamViewType), at(table, "StreamSpecification", "StreamViewType")},
		"time to live": {attributeTTL, at(table, "TimeToLiveSpecification", "AttributeName")},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s differ (-schema +template):\n%s", what, diff)
		}
	}
}

// The list is the operator's choice: nobody pays for it by default, and only the function that lists may read it.
func TestTheTemplatesListIsOffByDefault(t *testing.T) {
	t.Parallel()
	template := readTemplate(t)
	if got := at(template, "Parameters", "ListIndex", "Default"); got != "no" {
		t.Errorf("ListIndex is %v by default, want no", got)
	}
	if diff := cmp.Diff(map[string]any{"Equals": []any{map[string]any{"Ref": "ListIndex"}, "yes"}}, at(template, "Conditions", "KeepsList")); diff != "" {
		t.Error(diff)
	}
	if got := at(template, "Globals", "Function", "Environment", "Variables", "PERDURE_LIST", "Ref"); got != "ListIndex" {
		t.Errorf("PERDURE_LIST is %v", got)
	}
	for _, list := range []bool{false, true} {
		var granted []string
		resources := at(resolved(template, map[string]bool{"KeepsList": list}), "Resources").(map[string]any)
		for name, r := range resources {
			if at(r, "Type") == "AWS::IAM::Role" && strings.Contains(fmt.Sprint(r), "/index/list") {
				granted = append(granted, name)
			}
		}
		var want []string
		if list {
			want = []string{"EnqueueRole"}
		}
		if !slices.Equal(granted, want) {
			t.Errorf("with the list %t these may read it: %v, want %v", list, granted, want)
		}
	}
}

// What the functions are told of the time for tasks is the timeout of the function that starts them.
func TestTheTemplateTellsAllFunctionsHowLongTasksMayTake(t *testing.T) {
	t.Parallel()
	template := readTemplate(t)
	for path, want := range map[string]string{
		"Globals/Function/Environment/Variables/PERDURE_TASK_TIMEOUT":                                 "TaskTimeoutSeconds",
		"Resources/StartReadyFunction/Properties/Timeout":                                             "TaskTimeoutSeconds",
		"Resources/StartReadyFunction/Properties/Environment/Variables/PERDURE_FUNCTION_TIMEOUT":      "TaskTimeoutSeconds",
		"Resources/ProcessChildrenFunction/Properties/Timeout":                                        "TaskTimeoutSeconds",
		"Resources/ProcessChildrenFunction/Properties/Environment/Variables/PERDURE_FUNCTION_TIMEOUT": "TaskTimeoutSeconds",
	} {
		if got := at(template, append(strings.Split(path, "/"), "Ref")...); got != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	margins := time.Hour - core.Config{FunctionTimeout: time.Hour}.LongestTimeout()
	says := fmt.Sprintf("less %d s.", int(margins.Seconds()))
	if got := fmt.Sprint(at(template, "Parameters", "TaskTimeoutSeconds", "Description")); !strings.HasSuffix(got, says) {
		t.Errorf("TaskTimeoutSeconds: %q, want one that ends with %q", got, says)
	}
}

func TestTheTemplateKeepsItsTable(t *testing.T) {
	t.Parallel()
	table := at(readTemplate(t), "Resources", "Table")
	for path, want := range map[string]any{
		"DeletionPolicy":                                                         "Retain",
		"UpdateReplacePolicy":                                                    "Retain",
		"Properties/DeletionProtectionEnabled":                                   "true",
		"Properties/SSESpecification/SSEEnabled":                                 "true",
		"Properties/TimeToLiveSpecification/Enabled":                             "true",
		"Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled": "true",
	} {
		if got := at(table, strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

func TestTheTemplateGrantsNothingThatIsNotNeeded(t *testing.T) {
	t.Parallel()
	resources := at(readTemplate(t), "Resources").(map[string]any)
	roles := 0
	for name, r := range resources {
		switch at(r, "Type") {
		case "AWS::IAM::Role":
			roles++
			for _, p := range at(r, "Properties", "Policies").([]any) {
				for _, statement := range at(p, "PolicyDocument", "Statement").([]any) {
					checkStatement(t, name, statement)
				}
			}
		case "AWS::Serverless::Function":
			if at(r, "Properties", "Policies") != nil {
				t.Errorf("%s has policies beside its role", name)
			}
			if role := at(r, "Properties", "Role"); cmp.Diff(map[string]any{"GetAtt": strings.TrimSuffix(name, "Function") + "Role.Arn"}, role) != "" {
				t.Errorf("%s has the role %v, want one of its own", name, role)
			}
		}
	}
	if roles != 6 {
		t.Errorf("%d roles, want one for each of the 6 functions", roles)
	}
}

// checkStatement fails on wildcards and on actions that no function makes.
func checkStatement(t *testing.T, role string, statement any) {
	t.Helper()
	if list, ok := at(statement, "If").([]any); ok {
		statement = list[1]
	}
	allowed := []string{
		"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query",
		"dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate",
		"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "kms:Decrypt", "kms:DescribeKey",
	}
	if role == "StartReadyRole" && fmt.Sprint(at(statement, "Resource")) == "map[GetAtt:Table.StreamArn]" {
		allowed = streamActions
	}
	for _, action := range list(at(statement, "Action")) {
		if !slices.Contains(allowed, fmt.Sprint(action)) {
			t.Errorf("%s grants %v", role, action)
		}
	}
	for _, resource := range list(at(statement, "Resource")) {
		if text := fmt.Sprint(resource); strings.Contains(text, "*") || text == "<nil>" {
			t.Errorf("%s grants access to %s", role, text)
		}
	}
}

// streamActions are those of Lambda's own policy for functions that a stream invokes (AWSLambdaDynamoDBExecutionRole).
var streamActions = []string{"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}

// The stream wakes one function, for nothing but executions that become ready, and is never in its own way: hints are
// not worth many tries, and the filter is written with this package's keys.
func TestTheTemplatesStreamWakesOneFunction(t *testing.T) {
	t.Parallel()
	template := readTemplate(t)
	readers := 0
	for name, r := range at(template, "Resources").(map[string]any) {
		events, _ := at(r, "Properties", "Events").(map[string]any)
		for _, e := range events {
			if at(e, "Type") != "DynamoDB" {
				continue
			}
			readers++
			if name != "StartReadyFunction" {
				t.Errorf("%s reads the stream", name)
			}
			want := map[string]any{
				"Stream": map[string]any{"GetAtt": "Table.StreamArn"}, "StartingPosition": "LATEST",
				"BatchSize": "100", "MaximumBatchingWindowInSeconds": "0", "BisectBatchOnFunctionError": "false",
				"ParallelizationFactor": map[string]any{"Ref": "StreamParallelization"},
				"MaximumRetryAttempts":  "1", "MaximumRecordAgeInSeconds": map[string]any{"Ref": "TaskTimeoutSeconds"},
				"DestinationConfig": map[string]any{"OnFailure": map[string]any{"Type": "SQS", "Destination": map[string]any{"GetAtt": "DeadLetters.Arn"}}},
				"FilterCriteria": map[string]any{"Filters": []any{map[string]any{"Pattern": fmt.Sprintf(
					`{"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {%q: {"S": [{"prefix": %q}]}}}}`,
					indexQueue, strings.TrimSuffix(queueKey(core.QueueReady, 0), "00"))}}},
			}
			if diff := cmp.Diff(want, at(e, "Properties")); diff != "" {
				t.Errorf("(-want +template):\n%s", diff)
			}
		}
	}
	if readers != 1 {
		t.Errorf("the stream has %d readers, want 1: more than two a shard are throttled", readers)
	}
	// MaximumRecordAgeInSeconds must be from 60 on.
	if least := at(template, "Parameters", "TaskTimeoutSeconds", "MinValue"); least != "60" {
		t.Errorf("TaskTimeoutSeconds is from %v on, want 60", least)
	}
	var granted []any
	for _, p := range at(template, "Resources", "StartReadyRole", "Properties", "Policies").([]any) {
		if at(p, "PolicyName") == "stream" {
			granted = at(p, "PolicyDocument", "Statement").([]any)
		}
	}
	if len(granted) != 1 {
		t.Fatalf("%d statements about the stream, want 1", len(granted))
	}
	var actions []string
	for _, action := range list(at(granted[0], "Action")) {
		actions = append(actions, fmt.Sprint(action))
	}
	slices.Sort(actions)
	if diff := cmp.Diff(streamActions, actions); diff != "" {
		t.Error(diff)
	}
}

func list(v any) []any { return cfn.List(v) }

func TestTheTemplatesFunctionsLogAndTick(t *testing.T) {
	t.Parallel()
	resources := at(readTemplate(t), "Resources").(map[string]any)
	loops := 0
	for name, r := range resources {
		if at(r, "Type") != "AWS::Serverless::Function" {
			continue
		}
		if format := at(r, "Properties", "LoggingConfig", "LogFormat"); format != "JSON" {
			t.Errorf("%s logs as %v, want JSON", name, format)
		}
		group := strings.TrimSuffix(name, "Function") + "Log"
		if ref := at(r, "Properties", "LoggingConfig", "LogGroup", "Ref"); ref != group {
			t.Errorf("%s logs to %v, want %s", name, ref, group)
		}
		if at(resources[group], "Properties", "RetentionInDays") == nil {
			t.Errorf("%s has no retention", group)
		}
		if name == "EnqueueFunction" {
			continue
		}
		loops++
		for path, want := range map[string]any{
			"Events/Tick/Type":                                            "ScheduleV2",
			"Events/Tick/Properties/ScheduleExpression":                   "rate(1 minute)",
			"Events/Tick/Properties/RetryPolicy/MaximumRetryAttempts":     "0",
			"Events/Tick/Properties/RetryPolicy/MaximumEventAgeInSeconds": "60",
			"EventInvokeConfig/MaximumRetryAttempts":                      "0",
			"EventInvokeConfig/MaximumEventAgeInSeconds":                  "60",
			"EventInvokeConfig/DestinationConfig/OnFailure/Type":          "SQS",
		} {
			if got := at(r, append([]string{"Properties"}, strings.Split(path, "/")...)...); got != want {
				t.Errorf("%s: %s is %v, want %v", name, path, got, want)
			}
		}
	}
	if loops != 5 {
		t.Errorf("%d functions have a schedule, want 5", loops)
	}
}

// TestTheTemplateIsLinted runs cfn-lint where it is installed; .ci/run installs it.
func TestTheTemplateIsLinted(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("cfn-lint")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("cfn-lint is not installed: template.yaml is not linted here")
	}
	if out, err := exec.CommandContext(t.Context(), path, "../template.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

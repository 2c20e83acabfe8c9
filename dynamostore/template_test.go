package dynamostore

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// readTemplate returns template.yaml as maps and lists; !Ref x becomes {"Ref": x}, and so on.
func readTemplate(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	root, ok := plain(t, node.Content[0]).(map[string]any)
	if !ok {
		t.Fatal("template.yaml is not a map")
	}
	return root
}

// plain turns a node into Go values, with CloudFormation's short tags in their long form.
func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		c := *n
		c.Tag = ""
		return map[string]any{strings.TrimPrefix(n.Tag, "!"): plain(t, &c)}
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = plain(t, c)
		}
		return list
	default:
		return n.Value
	}
}

// at follows a path of keys through maps; nil when it ends.
func at(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func TestTheTemplatesTableIsTheSchemas(t *testing.T) {
	t.Parallel()
	table := at(readTemplate(t), "Resources", "Table", "Properties")
	want := TableInput("any")
	var attributes, indexes []string
	for _, a := range want.AttributeDefinitions {
		attributes = append(attributes, fmt.Sprintf("%s %s", *a.AttributeName, a.AttributeType))
	}
	for _, i := range want.GlobalSecondaryIndexes {
		indexes = append(indexes, fmt.Sprintf("%s %s %s", *i.IndexName, keyText(i.KeySchema), i.Projection.ProjectionType))
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
		gotIndexes = append(gotIndexes, fmt.Sprintf("%s %s %s", at(i, "IndexName"), keys(at(i, "KeySchema")), at(i, "Projection", "ProjectionType")))
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
		"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "kms:Decrypt", "kms:DescribeKey",
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

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

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

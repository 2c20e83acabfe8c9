package dynamostore

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// walk calls visit for every key in v, with the path to it.
func walk(v any, path string, visit func(path, key string, value any)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			visit(path, key, value)
			walk(value, path+"/"+key, visit)
		}
	case []any:
		for i, value := range v {
			walk(value, fmt.Sprintf("%s[%d]", path, i), visit)
		}
	}
}

// Nothing is granted to anybody by a wildcard, or by what is left out, wherever in the template it is.
func TestTheTemplateHasNoWildcard(t *testing.T) {
	t.Parallel()
	grants := 0
	walk(at(readTemplate(t), "Resources"), "", func(path, key string, value any) {
		switch key {
		case "Action", "Resource":
			if !strings.Contains(path, "Statement") {
				return
			}
			grants++
			for _, v := range list(value) {
				text := fmt.Sprint(v)
				if strings.Contains(text, "*") || text == "" {
					t.Errorf("%s: %s is %s", path, key, text)
				}
				if key == "Action" && !strings.Contains(text, ":") {
					t.Errorf("%s: %s is %s, which is no action of a service", path, key, text)
				}
			}
		case "NotAction", "NotResource", "NotPrincipal":
			t.Errorf("%s grants by exception: %s", path, key)
		case "Principal":
			if diff := cmp.Diff(map[string]any{"Service": "lambda.amazonaws.com"}, value); diff != "" {
				t.Errorf("%s trusts somebody else:\n%s", path, diff)
			}
		case "ManagedPolicyArns", "FunctionUrlConfig", "PermissionsBoundary":
			t.Errorf("%s has %s, which this test does not judge", path, key)
		}
	})
	if grants < 6*4 {
		t.Errorf("%d actions and resources were judged: where are the others?", grants)
	}
}

// What keeps data keeps it encrypted, and for a time that somebody chose. A kind of resource that is not listed here has to
// be thought about first.
func TestWhatTheTemplateKeepsIsEncryptedAndHasAnEnd(t *testing.T) {
	t.Parallel()
	required := map[string]map[string]string{
		"AWS::DynamoDB::Table": {
			"SSESpecification/SSEEnabled": "true", "SSESpecification/SSEType": "KMS", "DeletionProtectionEnabled": "true",
			"PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled": "true", "TimeToLiveSpecification/Enabled": "true",
		},
		"AWS::SQS::Queue":            {"SqsManagedSseEnabled": "true", "MessageRetentionPeriod": "1209600"},
		"AWS::Logs::LogGroup":        {"RetentionInDays": "map[Ref:LogRetentionDays]"},
		"AWS::Serverless::Function":  {"LoggingConfig/LogFormat": "JSON", "LoggingConfig/ApplicationLogLevel": "map[Ref:LogLevel]"},
		"AWS::IAM::Role":             {}, // these keep no data
		"AWS::CloudWatch::Alarm":     {},
		"AWS::CloudWatch::Dashboard": {},
	}
	for name, r := range at(readTemplate(t), "Resources").(map[string]any) {
		kind := fmt.Sprint(at(r, "Type"))
		properties, known := required[kind]
		if !known {
			t.Errorf("%s is a %s: say here what it must have", name, kind)
		}
		for path, want := range properties {
			if got := fmt.Sprint(at(r, append([]string{"Properties"}, strings.Split(path, "/")...)...)); got != want {
				t.Errorf("%s: %s is %s, want %s", name, path, got, want)
			}
		}
		if kind == "AWS::Serverless::Function" && at(r, "Properties", "LoggingConfig", "LogGroup", "Ref") == nil {
			t.Errorf("%s has no log group of its own, and so no retention", name)
		}
	}
}

// With a key of the operator's own the table uses it and every function may, that key alone; without one there is no grant
// on any key.
func TestAKeyOfOnesOwnIsTheTablesAndEveryFunctionsMay(t *testing.T) {
	t.Parallel()
	template := readTemplate(t)
	if diff := cmp.Diff(map[string]any{"Not": []any{map[string]any{"Equals": []any{map[string]any{"Ref": "KmsKeyArn"}, ""}}}}, at(template, "Conditions", "OwnKey")); diff != "" {
		t.Error(diff)
	}
	for _, own := range []bool{false, true} {
		resources := at(resolved(template, map[string]bool{"OwnKey": own}), "Resources").(map[string]any)
		var key any
		if own {
			key = map[string]any{"Ref": "KmsKeyArn"}
		}
		if diff := cmp.Diff(key, at(resources, "Table", "Properties", "SSESpecification", "KMSMasterKeyId")); diff != "" {
			t.Errorf("own key %t: the table's differs:\n%s", own, diff)
		}
		var granted []string
		for name, r := range resources {
			walk(r, name, func(path, field string, value any) {
				if field == "Action" && strings.Contains(fmt.Sprint(value), "kms:") {
					granted = append(granted, name)
				}
			})
			if at(r, "Type") != "AWS::IAM::Role" {
				continue
			}
			for _, p := range list(at(r, "Properties", "Policies")) {
				for _, statement := range list(at(p, "PolicyDocument", "Statement")) {
					if strings.Contains(fmt.Sprint(at(statement, "Action")), "kms:") && cmp.Diff(key, at(statement, "Resource")) != "" {
						t.Errorf("%s may use the key %v", name, at(statement, "Resource"))
					}
				}
			}
		}
		slices.Sort(granted)
		var want []string
		if own {
			want = []string{"CancellationRole", "CloseRole", "EnqueueRole", "ProcessChildrenRole", "StartReadyRole", "TimeoutsRole"}
		}
		if diff := cmp.Diff(want, granted); diff != "" {
			t.Errorf("own key %t: these may use it (-want +got):\n%s", own, diff)
		}
	}
}

// Every dependency is one more that can break or betray. Which there are is decided here, in the open, and each is pinned.
func TestDependenciesAreFewAndChosen(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"github.com/aws/aws-lambda-go", "github.com/aws/aws-sdk-go-v2", "github.com/aws/aws-sdk-go-v2/config",
		"github.com/aws/aws-sdk-go-v2/credentials", "github.com/aws/aws-sdk-go-v2/service/dynamodb",
		"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams", "github.com/aws/smithy-go",
		"github.com/aws/aws-sdk-go-v2/service/iam", "github.com/aws/aws-sdk-go-v2/service/scheduler", "github.com/aws/aws-sdk-go-v2/service/sqs", // in the command line
		"github.com/aws/aws-sdk-go-v2/service/lambda", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", // in the command line
		"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", // in otelperdure alone, the others in its tests
		"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters/stdout/stdouttrace",
		"github.com/google/go-cmp", "go.uber.org/goleak", "golang.org/x/sys", "gopkg.in/yaml.v3", "pgregory.net/rapid", // in tests
	}
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 0 && (f[0] == "replace" || f[0] == "exclude") {
			t.Errorf("go.mod: %s", line)
		}
		if len(f) < 2 || !strings.HasPrefix(f[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		direct++
		if !slices.Contains(allowed, f[0]) {
			t.Errorf("%s is a new direct dependency: is it needed, well-kept and licensed freely? Then name it here", f[0])
		}
	}
	if direct < 5 {
		t.Errorf("%d direct dependencies were found in go.mod", direct)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil || len(sums) == 0 {
		t.Errorf("go.sum has %d bytes, error %v", len(sums), err)
	}
}

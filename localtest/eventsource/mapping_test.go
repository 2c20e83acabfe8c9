package eventsource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheTemplatesMappingIsRead(t *testing.T) {
	t.Parallel()
	m, err := FromTemplate("../../template.yaml", "StartReadyFunction", map[string]string{"TaskTimeoutSeconds": "90"})
	if err != nil {
		t.Fatal(err)
	}
	if m.BatchSize != 100 || m.Parallelization != 4 || m.Retries != 1 || m.RecordAge != 90*time.Second || len(m.Filters) != 1 {
		t.Errorf("%+v", m)
	}
}

func TestAMappingThatTheEmulationDoesNotKnowIsRefused(t *testing.T) {
	t.Parallel()
	const good = `
Parameters: {N: {Type: Number, Default: 3}, Text: {Type: String, Default: x}}
Resources:
  F:
    Properties:
      Events:
        Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
        Stream:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Table.StreamArn
            StartingPosition: LATEST
            ParallelizationFactor: !Ref N
            MaximumRetryAttempts: 0
            MaximumRecordAgeInSeconds: 60
`
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "template.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if m, err := FromTemplate(file(good), "F", nil); err != nil || m.Parallelization != 3 || m.BatchSize != 100 || m.Filters != nil {
		t.Errorf("%+v, error %v", m, err)
	}
	for says, change := range map[string][2]string{
		"LATEST alone":                        {"LATEST", "TRIM_HORIZON"},
		"0 events of type DynamoDB":           {"Type: DynamoDB", "Type: Kinesis"},
		"neither a batching window":           {"MaximumRetryAttempts: 0", "MaximumRetryAttempts: 0, BisectBatchOnFunctionError: true"},
		"MaximumRecordAgeInSeconds to be set": {"            MaximumRecordAgeInSeconds: 60\n", ""},
		`ParallelizationFactor is "x"`:        {"!Ref N", "!Ref Text"},
		"neither a value nor a !Ref":          {"!Ref N", "{Ref: N}"},
		"none of exact, prefix and exists":    {"LATEST", "LATEST\n            FilterCriteria: {Filters: [{Pattern: '{\"a\":[{\"suffix\":\"x\"}]}'}]}"},
		"cannot unmarshal":                    {"Resources:\n", "Resources: []\nOther:\n"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if strings.Contains(change[1], "Bisect") {
			text = strings.Replace(good, change[0], "MaximumRetryAttempts: 0\n            BisectBatchOnFunctionError: true", 1)
		}
		if _, err := FromTemplate(file(text), "F", nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	if _, err := FromTemplate(filepath.Join(t.TempDir(), "none"), "F", nil); err == nil {
		t.Error("a template that does not exist was read")
	}
}

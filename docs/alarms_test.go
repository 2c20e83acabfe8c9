package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/metrics"
	"github.com/perdure-dev/perdure/localtest/cfn"
)

// aws are the metrics of AWS's own that the template uses, with their dimension (AWS documentation, "Types of metrics for
// Lambda functions", "Available CloudWatch metrics for Amazon SQS").
var aws = map[string]string{
	"AWS/Lambda Errors": "FunctionName", "AWS/Lambda Throttles": "FunctionName", "AWS/Lambda IteratorAge": "FunctionName",
	"AWS/Lambda Invocations": "FunctionName", "AWS/Lambda Duration": "FunctionName",
	"AWS/SQS ApproximateNumberOfMessagesVisible": "QueueName",
}

// metric is a metric that the template names, with what it says its dimensions are.
type metric struct {
	namespace, name string
	names           []string
	values          map[string]string
}

// checkMetric fails the test unless somebody writes the metric.
func checkMetric(t *testing.T, where string, resources map[string]any, m metric) {
	t.Helper()
	if m.namespace != metrics.Namespace {
		if dimension, known := aws[m.namespace+" "+m.name]; !known || !slices.Equal(m.names, []string{dimension}) {
			t.Errorf("%s: metric %s %s with the dimensions %v is none of AWS's", where, m.namespace, m.name, m.names)
		}
		if resource, _, _ := strings.Cut(m.values[m.names[0]], "."); resources[resource] == nil {
			t.Errorf("%s: metric %s of %s, which is not in the template", where, m.name, resource)
		}
		return
	}
	i := slices.IndexFunc(metrics.Definitions(), func(d metrics.Definition) bool { return d.Name == m.name })
	if i < 0 || !slices.ContainsFunc(metrics.Definitions()[i].Dimensions, func(set []string) bool { return slices.Equal(set, m.names) }) {
		t.Errorf("%s: metric %s with the dimensions %v is not written", where, m.name, m.names)
	}
	if m.values[metrics.DimensionTable] != "Table" {
		t.Errorf("%s: metric %s is that of table %q", where, m.name, m.values[metrics.DimensionTable])
	}
	if loop, has := m.values[metrics.DimensionLoop]; has && !slices.Contains(core.Loops(), core.Loop(loop)) {
		t.Errorf("%s: metric %s is that of loop %q", where, m.name, loop)
	}
}

// dimensioned returns what an alarm's properties, or a metric in one of its expressions, name.
func dimensioned(v any) metric {
	m := metric{namespace: fmt.Sprint(cfn.At(v, "Namespace")), name: fmt.Sprint(cfn.At(v, "MetricName")), values: map[string]string{}}
	dimensions, _ := cfn.At(v, "Dimensions").([]any)
	for _, d := range dimensions {
		name, value := fmt.Sprint(cfn.At(d, "Name")), cfn.At(d, "Value")
		for _, tag := range []string{"Ref", "GetAtt"} {
			if target := cfn.At(value, tag); target != nil {
				value = target
			}
		}
		m.names = append(m.names, name)
		m.values[name] = fmt.Sprint(value)
	}
	return m
}

// alarmMetrics returns the metrics that an alarm looks at.
func alarmMetrics(properties any) []metric {
	queries, ok := cfn.At(properties, "Metrics").([]any)
	if !ok {
		return []metric{dimensioned(properties)}
	}
	var all []metric
	for _, q := range queries {
		if m := cfn.At(q, "MetricStat", "Metric"); m != nil {
			all = append(all, dimensioned(m))
		}
	}
	return all
}

func TestEveryAlarmLooksAtMetricsThatThereAreAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	template, err := cfn.Read("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("observability.md")
	if err != nil {
		t.Fatal(err)
	}
	resources, _ := template["Resources"].(map[string]any)
	alarms, looked := 0, 0
	for name, r := range resources {
		if cfn.At(r, "Type") != "AWS::CloudWatch::Alarm" {
			continue
		}
		alarms++
		properties := cfn.At(r, "Properties")
		found := alarmMetrics(properties)
		looked += len(found)
		ours := false
		for _, m := range found {
			checkMetric(t, name, resources, m)
			ours = ours || m.namespace == metrics.Namespace
		}
		// What is not written rings nobody out of bed, and is not paid for.
		if condition := cfn.At(r, "Condition"); ours && condition != "HasMetricAlarms" || !ours && condition != "HasAlarms" {
			t.Errorf("%s has the condition %v", name, condition)
		}
		description := fmt.Sprint(cfn.At(properties, "AlarmDescription"))
		if !strings.Contains(description, "docs/observability.md, "+name+":") || !strings.Contains(string(page), "\n### "+name+"\n") {
			t.Errorf("%s does not say where it is described, or is not: %s", name, description)
		}
		for _, actions := range []string{"AlarmActions", "OKActions"} {
			if text := fmt.Sprint(cfn.At(properties, actions)); !strings.Contains(text, "AlarmTopicArn") {
				t.Errorf("%s: %s are %s", name, actions, text)
			}
		}
		for _, m := range found {
			if m.name == "Errors" || m.name == "Throttles" && m.namespace == "AWS/Lambda" {
				checkAllFunctions(t, name, resources, found)
			}
		}
	}
	if alarms != 9 || len(regexp.MustCompile(`(?m)^### \w+Alarm$`).FindAllString(string(page), -1)) != alarms {
		t.Errorf("%d alarms, want 9, and as many headings in the page", alarms)
	}
	if says := fmt.Sprint(cfn.At(template, "Parameters", "Alarms", "Description")); !strings.Contains(says, fmt.Sprintf(" %d metrics,", looked)) {
		t.Errorf("the alarms look at %d metrics; the template says: %s", looked, says)
	}
}

// checkAllFunctions fails the test unless the metrics are those of all functions.
func checkAllFunctions(t *testing.T, where string, resources map[string]any, found []metric) {
	t.Helper()
	for name, r := range resources {
		if cfn.At(r, "Type") == "AWS::Serverless::Function" &&
			!slices.ContainsFunc(found, func(m metric) bool { return m.values["FunctionName"] == name }) {
			t.Errorf("%s leaves out %s", where, name)
		}
	}
}

func TestEveryLoopHasAHeartbeat(t *testing.T) {
	t.Parallel()
	template, err := cfn.Read("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var loops []core.Loop
	for _, m := range alarmMetrics(cfn.At(template, "Resources", "HeartbeatAlarm", "Properties")) {
		loops = append(loops, core.Loop(m.values[metrics.DimensionLoop]))
	}
	if diff := cmp.Diff(core.Loops(), loops); diff != "" {
		t.Error(diff)
	}
}

func TestTheDashboardShowsMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	template, err := cfn.Read("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	resources, _ := template["Resources"].(map[string]any)
	text := fmt.Sprint(cfn.At(template, "Resources", "OverviewDashboard", "Properties", "DashboardBody", "Sub"))
	var body struct {
		Widgets []struct {
			Properties struct {
				Title   string
				Metrics [][]any
			}
		}
	}
	if err := json.Unmarshal([]byte(regexp.MustCompile(`\$\{([\w.]+)\}`).ReplaceAllString(text, "$1")), &body); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, w := range body.Widgets {
		for _, line := range w.Properties.Metrics {
			m := metric{namespace: fmt.Sprint(line[0]), name: fmt.Sprint(line[1]), values: map[string]string{}}
			shown[m.name] = true
			for i := 2; i+1 < len(line); i += 2 {
				m.names = append(m.names, fmt.Sprint(line[i]))
				m.values[fmt.Sprint(line[i])] = fmt.Sprint(line[i+1])
			}
			checkMetric(t, w.Properties.Title, resources, m)
		}
	}
	for _, d := range metrics.Definitions() {
		if !shown[d.Name] {
			t.Errorf("metric %s is not on the dashboard", d.Name)
		}
	}
}

func TestThePageOnObservabilityHasEveryMetricAndEveryKey(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("observability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range metrics.Definitions() {
		var sets []string
		for _, set := range d.Dimensions {
			sets = append(sets, strings.Join(set, "+"))
		}
		if row := fmt.Sprintf("\n| %s | %s | %s | ", d.Name, d.Unit, strings.Join(sets, ", ")); !strings.Contains(string(page), row) {
			t.Errorf("there is no row %q", row)
		}
	}
	key := regexp.MustCompile(`(?m)^\tlog[A-Z]\w*\s+= "(\w+)"`)
	keys := 0
	for _, file := range []string{"../core/info.go", "../dynamostore/store.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found(key, string(source)) {
			keys++
			if !strings.Contains(string(page), "\n| `"+name+"` | ") {
				t.Errorf("log key %s of %s is not in the page", name, file)
			}
		}
	}
	if keys < 10 {
		t.Errorf("%d keys were found", keys)
	}
}

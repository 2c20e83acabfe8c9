package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/metrics"
	"github.com/perdure-dev/perdure/localtest/cfn"
)

// engineFunctions are the engine's functions here, by their names in perdure's own template.
var engineFunctions = map[string]string{
	"StartReadyFunction": "StartReady", "ProcessChildrenFunction": "ProcessChildren", "CloseFunction": "Close",
	"TimeoutsFunction": "Timeouts", "CancellationFunction": "Cancellation", "EnqueueFunction": "Enqueue",
}

// mostMetrics is how many metrics an alarm may look at (Amazon CloudWatch user guide, "Create a CloudWatch alarm based on
// a metric math expression").
const mostMetrics = 10

func resourcesOf(t *testing.T, path string) (template, resources map[string]any) {
	t.Helper()
	template, err := cfn.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	resources, ok := template["Resources"].(map[string]any)
	if !ok {
		t.Fatalf("%s has no resources", path)
	}
	return template, resources
}

// alarmsOf returns the alarms among resources.
func alarmsOf(resources map[string]any) map[string]map[string]any {
	alarms := map[string]map[string]any{}
	for name, r := range resources {
		if cfn.At(r, "Type") == "AWS::CloudWatch::Alarm" {
			alarms[name], _ = r.(map[string]any)
		}
	}
	return alarms
}

// metricsOf returns the metrics that an alarm looks at: each is a map with Namespace, MetricName and Dimensions.
func metricsOf(alarm map[string]any) []any {
	queries, ok := cfn.At(alarm, "Properties", "Metrics").([]any)
	if !ok {
		return []any{cfn.At(alarm, "Properties")}
	}
	var all []any
	for _, q := range queries {
		if m := cfn.At(q, "MetricStat", "Metric"); m != nil {
			all = append(all, m)
		}
	}
	return all
}

// subjects returns what a metric is of: the resources or names in its dimensions.
func subjects(m any) (names, values []string) {
	dimensions, _ := cfn.At(m, "Dimensions").([]any)
	for _, d := range dimensions {
		value := cfn.At(d, "Value")
		for _, tag := range []string{"Ref", "GetAtt"} {
			if target := cfn.At(value, tag); target != nil {
				value = target
			}
		}
		resource, _, _ := strings.Cut(fmt.Sprint(value), ".")
		names, values = append(names, fmt.Sprint(cfn.At(d, "Name"))), append(values, resource)
	}
	return names, values
}

// renamed returns a value with the engine's functions named as they are here.
func renamed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, value := range v {
			m[key] = renamed(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, value := range v {
			list[i] = renamed(value)
		}
		return list
	case string:
		if here, ok := engineFunctions[v]; ok {
			return here
		}
	}
	return v
}

func TestTheEnginesAlarmsAreThoseOfItsOwnTemplate(t *testing.T) {
	t.Parallel()
	_, theirs := resourcesOf(t, "../../template.yaml")
	_, mine := resourcesOf(t, "template.yaml")
	alarms := alarmsOf(mine)
	for name, alarm := range alarmsOf(theirs) {
		want, _ := renamed(alarm).(map[string]any)
		got := alarms[name]
		if got == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		for _, a := range []map[string]any{want, got} {
			if properties, ok := a["Properties"].(map[string]any); ok {
				delete(properties, "AlarmDescription") // the page that it names is elsewhere
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%v\nin perdure's template it is\n%v", name, got, want)
		}
	}
}

func TestEveryAlarmIsOfWhatThereIsAndSaysWhereItIsDescribed(t *testing.T) {
	t.Parallel()
	template, resources := resourcesOf(t, "template.yaml")
	pages := map[string]string{}
	for says, path := range map[string]string{"README.md": "README.md", "perdure's docs/observability.md": "../../docs/observability.md"} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[says] = string(page)
	}
	alarms, looked := alarmsOf(resources), 0
	for name, alarm := range alarms {
		found := metricsOf(alarm)
		looked += len(found)
		if len(found) == 0 || len(found) > mostMetrics {
			t.Errorf("%s looks at %d metrics: it must be 1 to %d", name, len(found), mostMetrics)
		}
		condition := "HasAlarms"
		for _, m := range found {
			if cfn.At(m, "Namespace") == metrics.Namespace {
				condition = "HasMetricAlarms"
			}
			checkMetric(t, name, resources, m)
		}
		if got := alarm["Condition"]; got != condition {
			t.Errorf("%s has the condition %v, want %s", name, got, condition)
		}
		description := fmt.Sprint(cfn.At(alarm, "Properties", "AlarmDescription"))
		where, _, _ := strings.Cut(strings.TrimPrefix(description, "See "), ", "+name+": ")
		if page, ok := pages[where]; !ok || !strings.Contains(page, "\n### "+name+"\n") {
			t.Errorf("%s does not say where it is described, or is not: %s", name, description)
		}
		for _, actions := range []string{"AlarmActions", "OKActions"} {
			if text := fmt.Sprint(cfn.At(alarm, "Properties", actions)); !strings.Contains(text, "AlarmTopicArn") {
				t.Errorf("%s: %s are %s", name, actions, text)
			}
		}
	}
	if says := fmt.Sprint(cfn.At(template, "Parameters", "Alarms", "Description")); !strings.Contains(says, fmt.Sprintf(" %d metrics,", looked)) {
		t.Errorf("the alarms look at %d metrics; the template says: %s", looked, says)
	}
	if value := cfn.At(template, "Globals", "Function", "Environment", "Variables", "PERDURE_METRICS", "Ref"); value != "Metrics" {
		t.Errorf("PERDURE_METRICS is %v", value)
	}
}

// checkMetric fails the test unless somebody writes the metric.
func checkMetric(t *testing.T, where string, resources map[string]any, m any) {
	t.Helper()
	name := fmt.Sprint(cfn.At(m, "MetricName"))
	dimensions, of := subjects(m)
	if cfn.At(m, "Namespace") != metrics.Namespace {
		if len(of) != 1 || resources[of[0]] == nil {
			t.Errorf("%s: metric %s is of %v, which is not in the template", where, name, of)
		}
		return
	}
	i := slices.IndexFunc(metrics.Definitions(), func(d metrics.Definition) bool { return d.Name == name })
	if i < 0 || !slices.ContainsFunc(metrics.Definitions()[i].Dimensions, func(set []string) bool { return slices.Equal(set, dimensions) }) {
		t.Errorf("%s: metric %s with the dimensions %v is not written", where, name, dimensions)
	}
	if of[0] != "Table" || len(of) > 1 && !slices.Contains(core.Loops(), core.Loop(of[1])) {
		t.Errorf("%s: metric %s is of %v", where, name, of)
	}
}

func TestErrorsAndThrottlesOfEveryFunctionAndMessagesOfEveryLastQueueRing(t *testing.T) {
	t.Parallel()
	_, resources := resourcesOf(t, "template.yaml")
	watched := map[string]bool{}
	for _, alarm := range alarmsOf(resources) {
		for _, m := range metricsOf(alarm) {
			_, of := subjects(m)
			watched[fmt.Sprint(cfn.At(m, "MetricName"), " of ", of[0])] = true
		}
	}
	functions := 0
	for name, r := range resources {
		var needed []string
		switch cfn.At(r, "Type") {
		case "AWS::Serverless::Function":
			functions++
			needed = []string{"Errors", "Throttles"}
		case "AWS::SQS::Queue":
			if cfn.At(r, "Properties", "RedrivePolicy") == nil { // nobody takes messages off it
				needed = []string{"ApproximateNumberOfMessagesVisible"}
			}
		}
		for _, metric := range needed {
			if !watched[metric+" of "+name] {
				t.Errorf("no alarm looks at %s of %s", metric, name)
			}
		}
	}
	if functions != 10 {
		t.Errorf("%d functions, the template's description says ten", functions)
	}
}

// What was dead-lettered from a queue goes back to it by `aws sqs start-message-move-task` only where every source of the
// dead letters is a queue, so failed invocations must go elsewhere.
func TestOrdersThatCouldNotBeTakenAreNotAmongFailedInvocations(t *testing.T) {
	t.Parallel()
	template, resources := resourcesOf(t, "template.yaml")
	orders := cfn.At(resources["Incoming"], "Properties", "RedrivePolicy", "deadLetterTargetArn", "GetAtt")
	invocations := cfn.At(template, "Globals", "Function", "EventInvokeConfig", "DestinationConfig", "OnFailure", "Destination", "GetAtt")
	if orders != "BrokenOrders.Arn" || invocations != "DeadLetters.Arn" {
		t.Errorf("orders go to %v, failed invocations to %v", orders, invocations)
	}
}

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// read returns a template as maps and lists, without the parts that are there on a condition only.
func read(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	return plain(node.Content[0]).(map[string]any)
}

func plain(n *yaml.Node) any {
	switch {
	case n.Tag == "!If":
		return nil
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case n.Kind == yaml.SequenceNode:
		var list []any
		for _, c := range n.Content {
			if v := plain(c); v != nil {
				list = append(list, v)
			}
		}
		return list
	}
	return n.Value
}

// at follows a path of keys and places.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// asText makes values comparable: YAML writes a map's keys in order.
func asText(t *testing.T, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The engine's part of the template is the one of perdure's own template, or this application would not work with it.
func TestTheEnginesPartIsThatOfItsOwnTemplate(t *testing.T) {
	t.Parallel()
	root, mine := read(t, "../../template.yaml"), read(t, "template.yaml")
	for _, property := range []string{
		"AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "StreamSpecification", "TimeToLiveSpecification",
		"PointInTimeRecoverySpecification", "DeletionProtectionEnabled", "BillingMode",
	} {
		want := asText(t, at(root, "Resources", "Table", "Properties", property))
		if got := asText(t, at(mine, "Resources", "Table", "Properties", property)); got != want {
			t.Errorf("%s of the table is\n%s\nin perdure's template it is\n%s", property, got, want)
		}
	}
	filter := []any{"Properties", "Events", "Stream", "Properties", "FilterCriteria"}
	want := asText(t, at(at(root, "Resources", "StartReadyFunction"), filter...))
	if got := asText(t, at(at(mine, "Resources", "StartReady"), filter...)); got != want {
		t.Errorf("the stream's filter is\n%s\nin perdure's template it is\n%s", got, want)
	}
	granted := asText(t, at(mine, "Resources", "TablesPolicy", "Properties", "PolicyDocument", "Statement", 0, "Action"))
	needed := at(root, "Resources", "StartReadyRole", "Properties", "Policies", 0, "PolicyDocument", "Statement", 0, "Action")
	for _, action := range needed.([]any) {
		if !strings.Contains(granted, action.(string)) {
			t.Errorf("the functions may not %s", action)
		}
	}
}

func TestEveryFunctionOfTheProgramIsInTheTemplateOnce(t *testing.T) {
	t.Parallel()
	var functions []string
	for _, r := range read(t, "template.yaml")["Resources"].(map[string]any) {
		if name, ok := at(r, "Properties", "Environment", "Variables", "PERDURE_FUNCTION").(string); ok {
			functions = append(functions, name)
		}
	}
	slices.Sort(functions)
	want := []string{"api", "cancellation", "close", "enqueue", "intake", "process_children", "start_ready", "timeouts", "webhook"}
	if !slices.Equal(functions, want) {
		t.Errorf("the template has %q, want %q", functions, want)
	}
}

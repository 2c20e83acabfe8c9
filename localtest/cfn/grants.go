package cfn

import (
	"fmt"
	"strings"
)

// List returns v as a list: CloudFormation takes one value for a list of one.
func List(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// Resolved returns v as it is under conditions, with what is then no value left out.
func Resolved(v any, conditions map[string]bool) any {
	switch v := v.(type) {
	case map[string]any:
		if branches, ok := v["If"].([]any); ok && len(branches) == 3 {
			if name, _ := branches[0].(string); conditions[name] {
				return Resolved(branches[1], conditions)
			}
			return Resolved(branches[2], conditions)
		}
		if v["Ref"] == "AWS::NoValue" {
			return nil
		}
		m := map[string]any{}
		for key, value := range v {
			if value := Resolved(value, conditions); value != nil {
				m[key] = value
			}
		}
		return m
	case []any:
		var list []any
		for _, value := range v {
			if value := Resolved(value, conditions); value != nil {
				list = append(list, value)
			}
		}
		return list
	}
	return v
}

// Grants returns what the role of a function may do with the table, as "dynamodb:Action resource": the resource is
// "table", "stream" or "index/<name>".
func Grants(t map[string]any, function string, conditions map[string]bool) []string {
	var grants []string
	role := Resolved(At(t, "Resources", function+"Role", "Properties", "Policies"), conditions)
	for _, policy := range List(role) {
		for _, statement := range List(At(policy, "PolicyDocument", "Statement")) {
			for _, action := range List(At(statement, "Action")) {
				for _, resource := range List(At(statement, "Resource")) {
					if name, ok := action.(string); ok && strings.HasPrefix(name, "dynamodb:") {
						grants = append(grants, name+" "+resourceName(resource))
					}
				}
			}
		}
	}
	return grants
}

func resourceName(r any) string {
	switch text := fmt.Sprint(At(r, "GetAtt"), At(r, "Sub")); {
	case strings.HasPrefix(text, "Table.Arn"):
		return "table"
	case strings.HasPrefix(text, "Table.StreamArn"):
		return "stream"
	default:
		_, index, _ := strings.Cut(text, "${Table.Arn}/")
		return index
	}
}

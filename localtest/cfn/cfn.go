// Package cfn reads CloudFormation templates, for tests that hold one against the code.
package cfn

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// Read returns a template as maps, lists and strings; !Ref x becomes {"Ref": x}, and so on.
func Read(path string) (map[string]any, error) {
	data, err := os.ReadFile(path) //nolint:gosec // a test's own template
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(node.Content) == 1 {
		if root, ok := plain(node.Content[0]).(map[string]any); ok {
			return root, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, errors.New("it is not a map"))
}

// plain turns a node into Go values, with CloudFormation's short tags in their long form.
func plain(n *yaml.Node) any {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		c := *n
		c.Tag = ""
		return map[string]any{strings.TrimPrefix(n.Tag, "!"): plain(&c)}
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = plain(c)
		}
		return list
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return n.Value
}

// At follows a path of keys through maps; nil when it ends.
func At(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/perdure-dev/perdure/localtest/cfn"
)

// piece is a block of YAML that belongs into a template at a path of keys.
var piece = regexp.MustCompile("(?ms)^```yaml into=(\\S+)\n(.*?)^```$")

// value returns the value of a key of a mapping; nil where there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// insert adds a piece's entries to what is at the path. What is there already must not be replaced.
func insert(template *yaml.Node, path, text string) error {
	at := template.Content[0]
	for key := range strings.SplitSeq(path, ".") {
		if at = value(at, key); at == nil {
			return fmt.Errorf("there is no %s of %s", key, path)
		}
	}
	var add yaml.Node
	if err := yaml.Unmarshal([]byte(text), &add); err != nil {
		return err
	}
	entries := add.Content[0]
	if entries.Kind != at.Kind {
		return fmt.Errorf("%s is of another kind than what is added to it", path)
	}
	if at.Kind == yaml.MappingNode {
		for i := 0; i < len(entries.Content); i += 2 {
			if key := entries.Content[i].Value; value(at, key) != nil {
				return fmt.Errorf("%s has a %s already", path, key)
			}
		}
	}
	at.Content = append(at.Content, entries.Content...)
	return nil
}

// references returns what a template refers to: by Ref, GetAtt and Sub.
func references(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			text := fmt.Sprint(value)
			switch key {
			case "Ref":
				all = append(all, text)
			case "GetAtt":
				name, _, _ := strings.Cut(text, ".")
				all = append(all, name)
			case "Sub":
				all = append(all, found(regexp.MustCompile(`\$\{(\w+(?:::\w+)?)`), text)...)
			default:
				all = append(all, references(value)...)
			}
		}
	case []any:
		for _, value := range v {
			all = append(all, references(value)...)
		}
	}
	return all
}

func TestThePiecesOfThePageOnTasksFitTheTemplates(t *testing.T) {
	t.Parallel()
	pieces := piece.FindAllStringSubmatch(readText(t, "tasks-on-aws.md"), -1)
	if len(pieces) < 8 {
		t.Fatalf("the page has %d pieces", len(pieces))
	}
	for _, path := range []string{"../template.yaml", "../cmd/perdure/internal/scaffold/app/template.yaml"} {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			t.Parallel()
			var template yaml.Node
			if err := yaml.Unmarshal([]byte(readText(t, path)), &template); err != nil {
				t.Fatal(err)
			}
			for _, p := range pieces {
				if err := insert(&template, p[1], p[2]); err != nil {
					t.Error(err)
				}
			}
			whole, err := yaml.Marshal(&template)
			if err != nil {
				t.Fatal(err)
			}
			merged := filepath.Join(t.TempDir(), "template.yaml")
			if err := os.WriteFile(merged, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			read, err := cfn.Read(merged)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range references(read["Resources"]) {
				if cfn.At(read, "Resources", name) == nil && cfn.At(read, "Parameters", name) == nil && !strings.HasPrefix(name, "AWS::") {
					t.Errorf("%s is referred to, and is neither a resource nor a parameter", name)
				}
			}
			for _, policy := range cfn.List(cfn.At(read, "Resources", "StartReadyRole", "Properties", "Policies")) {
				for _, s := range cfn.List(cfn.At(policy, "PolicyDocument", "Statement")) {
					if cfn.At(s, "If") == nil && (cfn.At(s, "Effect") != "Allow" || cfn.At(s, "Action") == nil || cfn.At(s, "Resource") == nil) {
						t.Errorf("policy %v has the statement %v", cfn.At(policy, "PolicyName"), s)
					}
				}
			}
			if lint, err := exec.LookPath("cfn-lint"); err == nil && path == "../template.yaml" { // the other one differs in its builder
				if out, err := exec.CommandContext(t.Context(), lint, merged).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}
		})
	}
}

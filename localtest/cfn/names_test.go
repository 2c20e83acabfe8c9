package cfn

import (
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// translate prints the JSON of a template as AWS SAM makes it of the template that is its argument.
//
//go:embed testdata/translate.py
var translate string

// translator returns a Python that has SAM's translator; empty where there is none.
func translator(t *testing.T) string {
	t.Helper()
	own, err := filepath.Abs("../../.build/sam/bin/python") // of `make sam-validate`
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range []string{own, "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import samtranslator, cfnlint").Run() == nil {
			return python
		}
	}
	return ""
}

// The schedules of a stack were named after their places in the template, so that a second stack in the same account and
// region could not be created: a schedule's name is unique in its group.
func TestASecondStackInOneAccountHasNamesOfItsOwn(t *testing.T) {
	t.Parallel()
	python := translator(t)
	if python == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("aws-sam-translator is not installed")
		}
		t.Skip("aws-sam-translator is not installed: make sam-validate installs it")
	}
	for _, path := range []string{"template.yaml", "examples/orders/template.yaml", "cmd/perdure/internal/scaffold/app/template.yaml"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), python, "-c", translate, filepath.Join("../..", path))
			command.Env = append(os.Environ(), "AWS_DEFAULT_REGION=us-east-1")
			command.Stderr = os.Stderr
			out, err := command.Output()
			if err != nil {
				t.Fatal(err)
			}
			var template struct {
				Resources map[string]struct {
					Type       string
					Properties map[string]any
				}
			}
			if err := json.Unmarshal(out, &template); err != nil {
				t.Fatal(err)
			}
			schedules := 0
			for id, r := range template.Resources {
				if r.Type == "AWS::ApiGatewayV2::Stage" {
					continue // its name is unique in its API
				}
				if r.Type == "AWS::Scheduler::Schedule" {
					schedules++
				}
				kind := r.Type[strings.LastIndex(r.Type, ":")+1:]
				for _, property := range []string{"Name", kind + "Name"} { // FunctionName, TableName, ...
					if name, fixed := r.Properties[property].(string); fixed {
						t.Errorf("%s %s is named %q in every stack", r.Type, id, name)
					}
				}
			}
			if schedules < 5 {
				t.Errorf("%d schedules in the translated template, want at least 5", schedules)
			}
		})
	}
}

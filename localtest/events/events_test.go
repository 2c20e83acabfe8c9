package events_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/perdure-dev/perdure/localtest/events"
	"github.com/perdure-dev/perdure/localtest/stack"
)

func TestEveryEventIsAnsweredByItsFunction(t *testing.T) {
	t.Parallel()
	binaries := t.TempDir()
	if err := stack.Build(t.Context(), binaries); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), stack.Options{Binaries: binaries, NoSchedules: true, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, e := range events.All() {
		payload, err := e.Payload()
		if err != nil {
			t.Fatal(err)
		}
		result, err := s.Lambda.Invoke(t.Context(), e.Function, payload)
		if err != nil || result.FunctionError != "" {
			t.Fatalf("%s: error %v, %s", e.File, err, result.Payload)
		}
		if err := e.Check(result.Payload); err != nil {
			t.Error(err)
		}
	}
}

func TestEveryEventFileIsUsed(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	functions := map[string]bool{}
	for _, e := range events.All() {
		used = append(used, e.File)
		functions[e.Function] = true
		if e.Resource() == "" {
			t.Errorf("%s: function %s has no name in the template", e.File, e.Function)
		}
	}
	slices.Sort(used)
	if !slices.Equal(found, used) {
		t.Errorf("there are %q, used are %q", found, used)
	}
	for _, name := range stack.Functions() {
		if !functions[name] {
			t.Errorf("function %s has no event", name)
		}
	}
}

// sam local invoke sets only variables that the template names.
func TestTheTemplateNamesTheVariablesOfEnvJSON(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../env.json")
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ Parameters map[string]string }
	if err := json.Unmarshal(data, &env); err != nil || len(env.Parameters) == 0 {
		t.Fatalf("%v, error %v", env, err)
	}
	var template struct {
		Globals struct {
			Function struct {
				Environment struct {
					Variables map[string]yaml.Node `yaml:"Variables"`
				} `yaml:"Environment"`
			} `yaml:"Function"`
		} `yaml:"Globals"`
	}
	if data, err = os.ReadFile("../../template.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	for name := range env.Parameters {
		if _, ok := template.Globals.Function.Environment.Variables[name]; !ok {
			t.Errorf("template.yaml does not name %s", name)
		}
	}
	if !strings.HasSuffix(env.Parameters["AWS_ENDPOINT_URL_DYNAMODB"], ":8000") {
		t.Errorf("the endpoint is %s", env.Parameters["AWS_ENDPOINT_URL_DYNAMODB"])
	}
}

package docs

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/perdure-dev/perdure/core"
)

// The page named some differences, and left out payloads beside the record, the retry policy and what a family has besides.
func TestThePageOnStorageNamesAllOfARecord(t *testing.T) {
	t.Parallel()
	page := readText(t, "storage.md")
	named := func(name string) bool { return regexp.MustCompile(`\b` + name + `\b`).MatchString(page) }
	same := map[string]bool{"TaskID": true, "ID": true, "Index": true} // named by what the contract calls them
	for _, v := range []any{
		core.Execution{}, core.Family{}, core.Parent{}, core.Failure{}, core.RetryPolicy{}, core.Source{}, core.Payload{},
	} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if !same[f.Name] && !named(f.Name) {
				t.Errorf("it does not name %T.%s", v, f.Name)
			}
		}
	}
	store := reflect.TypeFor[core.TestStore]()
	for i := range store.NumMethod() {
		if name := store.Method(i).Name; !named(name) {
			t.Errorf("it does not name Store.%s", name)
		}
	}
}

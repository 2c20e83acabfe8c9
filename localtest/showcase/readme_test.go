package showcase

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/handler"
)

// row is a request of the README's table, with the answer where it is shown as JSON.
var row = regexp.MustCompile("(?m)^\\| `({.*})` \\| (?:`({.*?})`)?.*\\|$")

func TestTheReadmesRequestsAreAnsweredInTheirOrder(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := row.FindAllStringSubmatch(string(readme), -1)
	if len(rows) < 9 {
		t.Fatalf("the README shows %d requests", len(rows))
	}
	v := visitor{t, inProcess(t, memstore.New(memstore.Options{}))}
	for _, r := range rows {
		var request handler.Request
		if err := json.Unmarshal([]byte(r[1]), &request); err != nil {
			t.Fatalf("%s: %v", r[1], err)
		}
		if request.Action == "get" {
			v.until(request, func(r handler.Response) bool { return r.Status.Finished() })
		}
		got := jsonOf(v.done(request))
		for _, field := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(r[2], -1) {
			if !regexp.MustCompile(`"` + field[1] + `":`).Match(got) {
				t.Errorf("%s: the answer has no %q: %s", r[1], field[1], got)
			}
		}
	}
}

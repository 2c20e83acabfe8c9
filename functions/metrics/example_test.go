package metrics_test

import (
	"fmt"
	"log"
	"os"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/functions/metrics"
)

// A program of one's own that runs an engine writes the same metrics as the functions, wherever its standard output goes
// to CloudWatch Logs. On dynamostore, Options.Usage takes in what requests consume: Usage: gatherer.Usage.
func ExampleGatherer() {
	gatherer := metrics.New(os.Stdout, metrics.Options{Table: "orders", Level: "INFO"})
	registry, err := core.NewRegistry()
	if err != nil {
		log.Fatal(err)
	}
	_, err = core.NewEngine(core.Config{
		Store: memstore.New(memstore.Options{}), Registry: registry, Observer: gatherer.Observer(),
	})
	if err != nil {
		log.Fatal(err)
	}
	// Once a minute, and at the end:
	fmt.Println(gatherer.Flush())
	// Output: <nil>
}

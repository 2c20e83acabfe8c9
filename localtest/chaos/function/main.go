// Command function is every Lambda function of the chaos and soak runs: which one, PERDURE_FUNCTION says.
package main

import (
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/chaos/work"
)

func main() {
	work.Sample()
	handler.Start(work.Registry)
}

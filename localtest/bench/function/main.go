// Command function is every Lambda function of the throughput benchmark: which one, PERDURE_FUNCTION says.
package main

import (
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/bench/workload"
)

func main() { handler.Start(workload.Registry) }

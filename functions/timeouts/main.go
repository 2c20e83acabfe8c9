// Command timeouts is the Lambda function that ends what took too long and recovers what crashed.
package main

import (
	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartLoop(core.LoopTimeouts, tasks.Registry) }

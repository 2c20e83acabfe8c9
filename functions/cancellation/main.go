// Command cancellation is the Lambda function that takes back the flags of cancelled executions.
package main

import (
	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartLoop(core.LoopCancellation, tasks.Registry) }

// Command startready is the Lambda function that claims ready executions and runs them.
package main

import (
	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartLoop(core.LoopStartReady, tasks.Registry) }

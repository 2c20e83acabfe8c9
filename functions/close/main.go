// Command close is the Lambda function that follows up finished executions.
package main

import (
	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartLoop(core.LoopClose, tasks.Registry) }

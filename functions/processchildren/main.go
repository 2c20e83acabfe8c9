// Command processchildren is the Lambda function that takes parents past their finished children.
package main

import (
	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartLoop(core.LoopProcessChildren, tasks.Registry) }

// Command enqueue is the Lambda function by which other Lambdas, in any language, enqueue, look up, cancel, wake and
// redrive executions: they invoke it with a handler.Request and get a handler.Response.
package main

import (
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/functions/tasks"
)

func main() { handler.StartEnqueue(tasks.Registry) }

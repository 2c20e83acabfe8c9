// Command function is every function of the application with the gated tasks.
package main

import (
	"github.com/perdure-dev/perdure/functions/handler"
	"github.com/perdure-dev/perdure/localtest/e2e/gated"
)

func main() { handler.Start(gated.Registry) }

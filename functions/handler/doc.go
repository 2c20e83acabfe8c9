// Package handler makes AWS Lambda functions of an application's tasks. It is what an application imports besides
// core: it reads the functions' environment, repeats one loop per invocation, and answers the enqueue function's
// requests.
//
// # An application
//
// An application keeps its tasks in a module of its own, registers them in one place, and compiles to one program:
//
//	func main() { handler.Start(tasks.Registry) }
//
// A template deploys that program six times, and each time PERDURE_FUNCTION says which function it is: start_ready,
// process_children, close, timeouts or cancellation, which a schedule invokes once a minute, or enqueue, which other
// functions invoke. One program for all means that all are always of the same version. Those who would rather have a
// program each call StartLoop and StartEnqueue in six mains.
//
// What is wrong with the environment or with the tasks ends the process at its start, with one line that says what: a
// deployment that cannot work is found out by its first invocation and not by its first task.
//
// # Functions of the application's own
//
// A function that answers HTTP requests or takes messages off a queue can be in the same program: its main looks at
// PERDURE_FUNCTION before it calls Start. NewClient gives it typed access to the same table by the same environment
// variables: with it a task is enqueued, transactionally with other items if need be, woken, cancelled or looked up.
// Functions in other languages invoke the enqueue function: see Request and Response. examples/orders has all of them.
//
// # Environment
//
// Config lists the variables. All functions on one table must agree on PERDURE_TABLE, PERDURE_RETENTION_DAYS,
// PERDURE_LIST and PERDURE_TASK_TIMEOUT; PERDURE_SHARDS may change at any time. Options are for what is no variable: a codec, limits, and the
// rest of core.Config.
package handler

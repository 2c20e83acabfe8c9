// Package core is perdure's engine: durable execution of ordinary typed Go functions on top of a Store. It
// imports the standard library only.
//
// # Using it
//
// A Task is a typed function with an id. A Registry holds the tasks that an Engine can run. A Client enqueues
// executions of tasks, from any process, and asks about them through a Handle.
//
//	kind         made by                          what an execution does
//	task         NewTask                          runs a function
//	parent       NewParentTask,                   runs a function that returns children, which run in parallel; then
//	             ...WithFinalize,                 a finalize function or task, of any kind, makes its output of what
//	             ...WithFinalizeTask              they came to, failed ones included
//	sequential   NewSequentialTask, Then          runs one task after the other, each on the output of the one before
//	looping      NewLoopingTask                   runs one task until it says that it is done, with sleeps in between
//	sleeping     NewSleepingTask, Wakeup          waits for somebody to wake it by its key
//
// Children, steps, iterations and finalize tasks may be of any kind in turn.
//
// # What is guaranteed
//
// An execution whose Enqueue returned without an error ends in a finished status. Its code runs at least once
// per execution; an attempt whose executor dies is run again, so side effects should carry the execution's id.
// Its state moves exactly once: a finished execution's status, output and failure never change, a child counts
// once on its parent, and a parent goes past its children once. Attempts never exceed the retry policy, and
// executors that die with an execution are counted apart from them, up to a limit. What runs beside an execution that kills
// its process is not failed for it: what was recovered runs apart (see company.go). A slow store makes executions late and
// fails none (see pace.go).
//
// # Failures
//
// A failure keeps its cause, code and data on its way up. A parent that fails because of a child, by its sequence, its
// finalize task, or a finalizer that returns the child's error, has the child's code, Fail's data, a message that
// begins with the cause, and a chain of the executions in between. Handle.Wait and Task.Result return an
// *ExecutionError: errors.Is finds the sentinels of the engine's codes in it, errors.As a *FailError, and Children reads
// what completed before. See Failure.
//
// # Life of an execution
//
//	           StartAttempt          Succeed
//	ready ------------------> running --------------------------> completed
//	  ^                        | | |   FailAttempt, no retry left
//	  +------------------------+ | +----------------------------> failed, timed_out
//	    FailAttempt, GiveBack,   |
//	    ExpireLease              | CommitChildren
//	                             v           CompleteFamily, FinishFamily
//	                   waiting_for_children --------------------> completed, finalize_failed
//	                             |
//	                             | CommitFinalize
//	                             v           EndFinalize
//	                   waiting_for_finalize --------------------> completed, finalize_failed
//
// Cancel leads from any unfinished status to cancelled, ExpireFamily from the waiting ones to timed_out. A sequence
// stays in waiting_for_children from its first step to its last: CommitStep counts the step that is finished and
// commits to the next in one write, EndSequence ends it. A sleeping task begins in running and is ended by Wake or
// ExpireSleep; a wake-up that comes first is kept as a record in its place, which Adopt makes the sleeper of. Every
// finished execution is closed in the end: at once when it has neither a parent to tell nor children to cancel, else
// when that is done.
//
// # Children that are put when they end
//
// A parent's commitment holds all that its children are made of: their tasks, options and inputs. So children without
// children of their own are not put before they run, when the executor that committed them has room for them: such a
// child is put once, finished and closed, when its attempt has ended; or as running, under a lease, when its code takes
// longer than half a second. Children that find no room wait for it in memory, as long as it goes on at that pace, and
// are else put as ready, for whoever has room. The parent keeps its queue entry meanwhile, due at the spawn check:
// whoever looks at it then makes the children that do not exist, counts those that are finished, and moves it on. The
// executor itself counts the children that it finished in the very write that takes the parent on. Until a child is
// put, Get and Tree do not know it.
//
// # How state moves
//
// Transition alone decides, and it is pure: record and event in, record out. A record is written on the
// condition that its revision is the one that the decision was made on. When it is not, the writer gets the
// record as it is and decides again. Each write carries a nonce: a writer that finds its own nonce in the record
// knows that it was written before, by itself, and that the answer was lost.
//
// Every unfinished execution, and every finished one with something left to follow up, has one queue entry,
// whose due time says when somebody has to look at it; only a parent all of whose children exist may go
// without, because each of them has one. So nothing is ever searched for.
//
// # Who does what
//
// The executor that finishes an execution does what follows by itself: it tells the parent, which moves on if
// that was the last child, cancels what is left below, and closes. That is the fast path. Five loops, which
// call the same transitions, sweep up what a crash left in between:
//
//	loop              queue            finds
//	start_ready       ready            executions to start
//	process_children  parent           parents that may lack a child, or whose children are all counted
//	                  parent-claimed   the same, whose executor died with them
//	close             finished         executions whose parent was not told
//	                  close, closing   executions whose descendants were not all cancelled
//	timeouts          running          attempts whose executor died; finished executions with follow-up left
//	                  sleeping         sleeps that nobody ended
//	cancellation      (flags)          flags of cancelled code whose executor died
//
// # Where a crash may happen
//
//	after                          what is true then                    who goes on, and when
//	Enqueue's write                the execution is ready               start_ready, at its start time
//	StartAttempt                   running under a lease                timeouts, when the lease ends
//	Succeed, FailAttempt (last)    finished, the lease entry is left    timeouts, when the lease ends
//	CommitChildren                 children may be missing              process_children, at the spawn check
//	an unborn child's code         it does not exist, and is run again  process_children, at the spawn check
//	an unborn child's end          it is finished, and not counted      process_children, at the spawn check
//	the children's inserts         an entry too many is left            process_children, at the spawn check
//	the count on the parent        the child is not closed              timeouts, when the child's lease ends
//	the last count                 the parent is due                    process_children, at once
//	ClaimChildren                  processing under a lease             process_children, when the lease ends
//	CommitFinalize, CommitStep     the finalize, the step may lack      process_children, at the spawn check
//	Wake                           finished, the parent is not told     close, at once
//	a parent's or cancelled end    finished, due at once                close, at once
//
// # How a start comes about
//
// An executor starts what becomes ready by its own doing, as far as it has room. Whatever else becomes ready is started by
// an executor whose loop looks at the queue, or by one that is told of it: StartHinted takes hints, from wherever they
// come, claims what they name and returns as soon as nothing runs that it started. A hint decides nothing; whatever
// all hints miss, Repeat of LoopStartReady finds in the queue. Repeat waits for what becomes ready, and for sleeps that end, when that
// is before the time until which it is to run, and never for leases. docs/wakeups.md tells how AWS Lambda does both.
//
// # Within one process
//
// Engine.NewClient makes a client whose executions are put as running and started at once, where the engine has room
// for them: they are never claimed. Handle.Wait hears of their end from the engine. What such a process had under way
// when it dies waits for its leases, as any running execution does.
//
// # User code
//
// All code of the user's is called through usercode.go: functions, and methods of the values that they take and return. A
// panic there fails the attempt that it belongs to. An attempt is registered with its executor from its claim on, so that a
// cancellation, or the end of a shutdown's grace, reaches it before its code begins. An executor that does not know a task, or
// cannot decode an input, leaves it to one that does, for Config.UnknownTaskLimit.
//
// # Seeing what happens
//
// An Observer (Config.Observer, ClientOptions.Observer) is told of attempts, ends, claims that ran out and passes, each
// end once, by the process that wrote it. Metrics and traces are made of that: see functions/metrics and otelperdure.
//
// # Leases
//
// An Executor is one invocation; its id is on every lease that it takes and on no other. The lease of an
// attempt ends the task's timeout and the leeway, by which clocks may differ, after its start, later when the store is slow; and no attempt
// is started that could outlive its executor. Code that goes on after its context ended is abandoned before the
// lease ends. A write of an executor whose lease is over fails on the revision as soon as anybody has looked at
// the execution since.
package core

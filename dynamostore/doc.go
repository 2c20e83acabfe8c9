// Package dynamostore keeps executions in one DynamoDB table. It implements core.Store.
//
// # The table
//
// An execution is one item. As long as it stays within 1 KB, which is one write unit, its payloads are in it; a
// payload that would push it over goes once into part items beside it, compressed when that saves a unit, and
// the record names the parts. DynamoDB bills an update by the whole item, so no later update pays for a payload.
//
// One sparse index, queue, serves all queues, because an execution is in at most one of them: its partition is
// the queue's name and a shard of the id, its sort key the due time. Going from one queue to another costs a
// delete and a put in the index, leaving costs a delete. The index cancel lists flagged executions by executor; in which
// order they were cancelled their records tell.
// Both are keys only, and both are read eventually consistent: an entry is a hint, and the conditional write
// decides.
//
// A third index, list, has the root executions by status and time, where the operator wants them listed: see
// Options.List and docs/storage.md. It takes 3 write units for each root execution, and is off by default.
//
// # The contract's indexes
//
// A straight translation of the storage contract would need two unique and nine other indexes. Here they are
// served so:
//
//	index                                              served by                       costs
//	executionId (unique)                               the table's key                 nothing
//	sleepingTaskUniqueId (unique)                      the id is a hash of the key     nothing
//	status, startAt                                    queue ready                     1 write unit in, 1 out
//	status, onChildrenFinished..., activeChildrenCount queue parent                    1 in, 1 out
//	closeStatus, updatedAt                             queues finished and close       1 in, 1 out, none on the fast path
//	status, isSleepingTask, expiresAt                  queues running and sleeping     1 in, 1 out
//	onChildrenFinishedProcessingExpiresAt              queue parent-claimed            1 in, 1 out, for user code and sweeps
//	closeExpiresAt                                     queue closing                   1 in, 1 out, for sweeps
//	executorId, needsPromiseCancellation, updatedAt    index cancel, and the records   1 in, 1 out, for running code
//	parent.executionId, isFinished                     ids derived from the parent's   nothing; 1 for a child with an id of its own
//	isFinished, closeStatus, updatedAt                 queue finished, and the TTL     1 in, 1 out, none on the fast path
//
// # Many executors on one queue
//
// Executors that poll one queue see the same entries, and a claim that somebody else has made is billed. An executor that
// loses claims writes its id into the item of executors at work, at most every 10 s, and learns from the answer who else
// is; one that does not lose any reads that item from time to time, for half a read unit. Each entry then belongs to one
// of them by a hash of the ids, and the others leave it alone for 1 to 3 s. `make bench-contention` tells what is wasted
// all the same: 0.1% of the write units with 4 executors, 0.4 to 2.1% with 16.
//
// # Batches
//
// What a write costs its client's processor is the request around it, for the most part. So writes that would wait
// because as many requests are under way as may be at once go together as statements of one BatchExecuteStatement: puts
// of new records, and updates of records without children. Each statement has its own condition, and is billed as the
// write alone would be. An idle store has no batches, so that none waits for another. A batch decides nothing: what did not
// plainly succeed in it is written again by itself, and where DynamoDB takes no batches from a role, that is logged
// once, and all writes go by themselves.
//
// # Lost answers
//
// Every write is conditional and carries a nonce. When the condition fails DynamoDB returns the item as it is:
// with the writer's own nonce in it the write took effect before, with another revision the writer decides again.
package dynamostore

// Package storewrap helps those who write a core.Store of their own. An adapter makes a whole store out of one that
// lacks something:
//
//   - Mutex makes the operations of a store atomic that cannot make them so itself, within one process;
//   - Batching gives a store that works on one record at a time the calls that work on many;
//   - Coalescing gathers the small calls of many goroutines into few large ones, for a store to which each request is
//     dear;
//   - Metrics counts the calls of each operation and tells how long they take.
//
// Adapters can be put around each other. core/storetest proves what comes out.
package storewrap

// Package simtest proves that the engine keeps its promises while everything around it fails.
//
// Check holds all records of a store against the engine's invariants; it takes them from anywhere, so that it also
// checks a table after a run on real machines. History and Ledger add what one look at the records does not show: that
// finished executions stay as they ended, and whose code ran when.
//
// Matrix cuts a Scenario at each operation of its store, one at a time. Run simulates several executors and their
// clients over a store whose answers are late, lost or wrong, in the order that a seed says.
package simtest

// Package tasks is where user code is registered: the one place that every function gets its tasks from.
// It comes with a word count (wordcount.go), which the demo runs, and with orders (orders.go), which have a task of
// every kind; put your own tasks beside them and name them in Registry.
package tasks

import "github.com/perdure-dev/perdure/core"

// Registry returns all tasks of this application.
func Registry() (*core.Registry, error) {
	return core.NewRegistry(
		CountWords, CountFile, CountChunk, MergeCounts,
		PlaceOrder, ReserveOrder, ReserveItem, PaymentKey, AwaitPayment, Receipt, TrackParcel, AskCarrier,
		PackBox, Shipment, PrintLabels, PrintLabel, Slow, Crash, Checked,
	)
}

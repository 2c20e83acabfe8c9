// Package tasks is where user code is registered: the one place that every function gets its tasks from.
// It comes with a word count; put your own tasks beside it and name them in Registry.
package tasks

import "github.com/perdure-dev/perdure/core"

// Registry returns all tasks of this application.
func Registry() (*core.Registry, error) {
	return core.NewRegistry(CountWords, CountFile, CountChunk, MergeCounts)
}

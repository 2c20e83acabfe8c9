package storewrap

import (
	"sync"

	"github.com/perdure-dev/perdure/core"
)

// Mutex returns the store with one operation at a time. It makes a store whole whose operations are right, but not
// when others come between their steps; all its callers must be in this process, on this one adapter.
func Mutex(store core.Store) core.Store {
	var mu sync.Mutex
	return around{store, func(_ string, call func() error) error {
		mu.Lock()
		defer mu.Unlock()
		return call()
	}}
}

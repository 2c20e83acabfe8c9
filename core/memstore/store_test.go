package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/core/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheStoreConforms(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]memstore.Options{
		"by default":                     {},
		"with payloads kept apart":       {Inline: 100},
		"with an index that lags always": {Lag: func(memstore.Change) int { return 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(*testing.T) core.TestStore { return memstore.New(options) })
		})
	}
}

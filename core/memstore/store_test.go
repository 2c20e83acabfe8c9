package memstore_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/memstore"
	"github.com/perdure-dev/perdure/core/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) core.TestStore { return memstore.New(memstore.Options{}) })
}

func TestStoreThatKeepsPayloadsApart(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) core.TestStore { return memstore.New(memstore.Options{Inline: 100}) })
}

// spy counts writes.
type spy struct {
	core.TestStore
	mu     sync.Mutex
	writes int
}

var _ = context.Background

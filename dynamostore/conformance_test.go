package dynamostore

import (
	"testing"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/core/storetest"
)

func TestTheStoreConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) core.TestStore {
		t.Helper()
		return testStore(t)
	})
}

func TestTheStoreWithAListConforms(t *testing.T) {
	storetest.RunList(t, func(t *testing.T) core.TestStore {
		t.Helper()
		return testStoreWith(t, testClient(endpoint, nil), Options{List: true})
	})
}

package dynamostore

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// The sizes that decide where a payload goes must not be smaller than those that DynamoDB bills.
func TestAnItemOfOneUnitIsBilledAsOne(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	client := testClient(endpoint, nil)
	e := waitingParent(t, "parent", "f", core.CountDirect, now)
	e.Family.Counted = make([]int, core.CountDirect-1)
	for i := range e.Family.Counted {
		e.Family.Counted[i] = i
	}
	for name, e := range map[string]*core.Execution{"small": ready("small", 0), "parent with its whole set": e} {
		for _, over := range []int{0, 60} {
			e.Input.Data = nil
			e.Input.Data = make([]byte, unit-itemSize(s.encode(e))-len(aInput)+over)
			out, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{
				TableName: aws.String(s.table), Item: s.encode(e), ReturnConsumedCapacity: types.ReturnConsumedCapacityIndexes,
			})
			if err != nil {
				t.Fatal(err)
			}
			want := float64(1)
			if over > 0 {
				want = 2
			}
			if over > 0 && e.Family != nil {
				continue // a set is taken for larger than it is
			}
			if got := aws.ToFloat64(out.ConsumedCapacity.Table.CapacityUnits); got != want {
				t.Errorf("%s, %d bytes: %v write units, want %v", name, itemSize(s.encode(e)), got, want)
			}
		}
	}
}

// The largest set of children that are counted one by one leaves room in a unit for the rest of their parent.
func TestAParentOfTheLargestDirectFamilyStaysWithinOneUnit(t *testing.T) {
	t.Parallel()
	s := &Store{opts: Options{Shards: MaxShards, Retention: KeepForever}}
	e := waitingParent(t, core.NewID(), core.NewNonce(), core.CountDirect, now)
	for i := range core.CountDirect {
		e.Family.Counted = append(e.Family.Counted, i)
	}
	if size := itemSize(s.encode(e)); size > unit {
		t.Errorf("%d bytes", size)
	} else {
		t.Logf("%d bytes", size)
	}
}

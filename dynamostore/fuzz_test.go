package dynamostore

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/perdure-dev/perdure/core"
)

// goldenItems returns the executions' items of the present version.
func goldenItems(t testing.TB) []item {
	t.Helper()
	data, err := os.ReadFile(goldenPath())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(itemsFromJSON(t, data), func(it item) bool {
		d := decoder{item: it}
		return d.text(keySK) != sortExecution
	})
}

// attribute makes an attribute value of any kind; nil for none.
func attribute(kind byte, value string) types.AttributeValue {
	switch kind % 9 {
	case 0:
		return nil
	case 1, 2:
		return text(value)
	case 3, 4:
		return &types.AttributeValueMemberN{Value: value}
	case 5:
		return &types.AttributeValueMemberB{Value: []byte(value)}
	case 6:
		return &types.AttributeValueMemberBOOL{Value: value != ""}
	case 7:
		return &types.AttributeValueMemberNS{Value: []string{value, "1"}}
	}
	return &types.AttributeValueMemberM{Value: item{value: text(value)}}
}

// events are one of each kind that the loops apply to records that they find.
func events() []core.Event {
	return []core.Event{
		core.StartAttempt{ExecutorID: executor, Left: time.Hour, Leeway: time.Second}, core.Succeed{ExecutorID: executor},
		core.FailAttempt{ExecutorID: executor, Failure: core.Failure{Code: core.CodeFailed}}, core.GiveBack{ExecutorID: executor},
		core.ExpireLease{MaxRecoveries: 5}, core.ExpireSleep{}, core.ExpireChildren{MaxRecoveries: 5}, core.ExpireClose{},
		core.ClaimChildren{ExecutorID: executor, ExpiresAt: now}, core.ClaimClose{ExpiresAt: now}, core.MarkClosable{},
		core.CountChildren{Units: []int{0}}, core.ChildrenSpawned{}, core.CompleteFamily{}, core.ExpireFamily{},
		core.ClearCancellation{}, core.Cancel{Reason: "why"},
	}
}

// FuzzDecode spoils two attributes of a good item. Whatever decodes all the same must be a record that the engine can go
// on with: no transition panics, and what is written of it is read as the same.
func FuzzDecode(f *testing.F) {
	golden := goldenItems(f)
	names := map[string]bool{aFailureCode: true, aWaitFinalize: true, aSource: true, aSequence: true, aCounted: true}
	for _, it := range golden {
		for name := range it {
			names[name] = true
		}
	}
	attributes := slices.Sorted(maps.Keys(names))
	for n := range attributes {
		f.Add(uint8(n), uint8(n), uint8(0), "", uint8(n+1), uint8(3), "9223372036854775807")
	}
	for i := range golden {
		f.Add(uint8(i), uint8(slices.Index(attributes, aRetry)), uint8(1), "NaN/1/2/3/4", uint8(slices.Index(attributes, aCounted)), uint8(7), "-1")
	}
	s := &Store{opts: Options{Shards: 4, Retention: 24 * time.Hour, List: true}}
	f.Fuzz(func(t *testing.T, which, name1, kind1 uint8, value1 string, name2, kind2 uint8, value2 string) {
		it := maps.Clone(golden[int(which)%len(golden)])
		for _, change := range []struct {
			name, kind uint8
			value      string
		}{{name1, kind1, value1}, {name2, kind2, value2}} {
			name := attributes[int(change.name)%len(attributes)]
			if it[name] = attribute(change.kind, change.value); it[name] == nil {
				delete(it, name)
			}
		}
		e, err := decode(it)
		if err != nil {
			if !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, errLaterVersion) {
				t.Errorf("error %v, want one that matches ErrCorrupt", err)
			}
			s.quarantine(it, now, err)
			return
		}
		written := s.encode(e)
		again, err := decode(written)
		if err != nil {
			t.Fatalf("what is written of it does not decode: %v", err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("written and read it differs:\n%s", diff)
		}
		if _, err := json.Marshal(e.CreatedAt.Add(e.Delay)); err != nil {
			t.Errorf("its times are no JSON: %v", err)
		}
		for _, ev := range events() {
			after, err := core.Transition(e, ev, now)
			if err != nil {
				continue
			}
			after.Nonce = "n"
			placed, _ := s.place(after, e)
			difference(written, s.encode(placed), counted(e), counted(after)).input("t", primaryKey(e.ID, sortExecution), types.ReturnValueNone)
		}
	})
}

// FuzzKeys parses keys and references as a table may hold them.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"", "|", "x|p.1.5.in.n", "p.99.1048576.out.nonce", "f.1.-1.in.n", "p.1.99999999999999999999.in.n", "c#00001#child", "ready#03", "a|b|c"} {
		f.Add(s, []byte(s))
	}
	f.Fuzz(func(t *testing.T, s string, b []byte) {
		if ref, err := parseRef(s); err == nil {
			if again, err := parseRef(ref.String()); err != nil || again != ref {
				t.Errorf("%q is %+v, and written again %+v, error %v", s, ref, again, err)
			}
		}
		if id, inner, err := splitOuterRef(s); err == nil && outerRef(id, inner) != s {
			t.Errorf("%q is split into %q and %q", s, id, inner)
		}
		if p, err := parseListPlace(b); err == nil && !bytes.Equal(listPlace(p), b) {
			t.Errorf("place %x is %+v, and written again %x", b, p, listPlace(p))
		}
		_, _ = parseQueue(s), parsePointer(s)
	})
}

// FuzzInflate reads what a part may hold.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("text"), 4)
	f.Add(deflate(bytes.Repeat([]byte("text"), 1000)), 4000)
	f.Add(deflate(bytes.Repeat([]byte{0}, 1<<20)), 10)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size < 0 || size > 11<<20 {
			return // parseRef and Load bound it
		}
		if out, err := inflate(data, size); err == nil && len(out) > size+1 {
			t.Errorf("%d bytes of at most %d", len(out), size)
		}
		if out, err := inflate(deflate(data), len(data)); err != nil || !bytes.Equal(out, data) {
			t.Errorf("%x comes back as %x, error %v", data, out, err)
		}
	})
}

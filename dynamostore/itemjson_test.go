package dynamostore

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// attributeJSON is an attribute value in DynamoDB's own JSON.
type attributeJSON struct {
	S    *string                  `json:",omitempty"`
	N    *string                  `json:",omitempty"`
	B    []byte                   `json:",omitempty"`
	BOOL *bool                    `json:",omitempty"`
	NS   []string                 `json:",omitempty"`
	M    map[string]attributeJSON `json:",omitempty"`
}

func toJSON(t testing.TB, v types.AttributeValue) attributeJSON {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return attributeJSON{S: &v.Value}
	case *types.AttributeValueMemberN:
		return attributeJSON{N: &v.Value}
	case *types.AttributeValueMemberB:
		return attributeJSON{B: v.Value}
	case *types.AttributeValueMemberBOOL:
		return attributeJSON{BOOL: &v.Value}
	case *types.AttributeValueMemberNS:
		return attributeJSON{NS: v.Value}
	}
	t.Fatalf("no item has a %T", v)
	return attributeJSON{}
}

func (a attributeJSON) value() (types.AttributeValue, error) {
	switch {
	case a.S != nil:
		return text(*a.S), nil
	case a.N != nil:
		return &types.AttributeValueMemberN{Value: *a.N}, nil
	case a.B != nil:
		return &types.AttributeValueMemberB{Value: a.B}, nil
	case a.BOOL != nil:
		return &types.AttributeValueMemberBOOL{Value: *a.BOOL}, nil
	case a.NS != nil:
		return &types.AttributeValueMemberNS{Value: a.NS}, nil
	case a.M != nil:
		m := item{}
		for name, v := range a.M {
			var err error
			if m[name], err = v.value(); err != nil {
				return nil, err
			}
		}
		return &types.AttributeValueMemberM{Value: m}, nil
	}
	return nil, fmt.Errorf("an attribute has no value")
}

func itemsToJSON(t testing.TB, items []item) []byte {
	t.Helper()
	out := make([]map[string]attributeJSON, len(items))
	for i, it := range items {
		out[i] = map[string]attributeJSON{}
		for name, v := range it {
			out[i][name] = toJSON(t, v)
		}
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func itemsFromJSON(t testing.TB, data []byte) []item {
	t.Helper()
	var in []map[string]attributeJSON
	if err := json.Unmarshal(data, &in); err != nil {
		t.Fatal(err)
	}
	items := make([]item, len(in))
	for i, attributes := range in {
		items[i] = item{}
		for name, a := range attributes {
			v, err := a.value()
			if err != nil {
				t.Fatalf("attribute %s: %v", name, err)
			}
			items[i][name] = v
		}
	}
	return items
}

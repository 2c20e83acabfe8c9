package dynamostore

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// itemSize returns the size of an item in bytes by DynamoDB's rules: names and text in UTF-8, binary values as they
// are, a byte for two digits of a number and one more, one for a boolean (AWS documentation, "DynamoDB item sizes and
// formats"). Of sets the page says nothing: they are taken as lists, 3 bytes and one for each element, which is more
// than DynamoDB Local takes.
func itemSize(it item) int {
	size := 0
	for name, v := range it {
		size += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			size += len(v.Value)
		case *types.AttributeValueMemberB:
			size += len(v.Value)
		case *types.AttributeValueMemberN:
			size += numberSize(v.Value)
		case *types.AttributeValueMemberNS:
			size += 3
			for _, n := range v.Value {
				size += 1 + numberSize(n)
			}
		case *types.AttributeValueMemberBOOL:
			size++
		}
	}
	return size
}

func numberSize(n string) int {
	digits := strings.TrimLeft(strings.TrimPrefix(n, "-"), "0")
	size := (len(digits)+1)/2 + 1
	if strings.HasPrefix(n, "-") {
		size++
	}
	return size
}

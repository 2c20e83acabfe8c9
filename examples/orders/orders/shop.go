package orders

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/dynamostore"
)

// Shop is what the tasks work with: the table of orders and stock, and the companies the shop deals with.
//
// The table has these items; pk and sk are its key.
//
//	pk           sk         has
//	order#17     order      the order, its status, and what came of it
//	order#17     line#0     that the line's goods are reserved, or released
//	stock#lamp   stock      how many there are, and what one costs
//	day#...      17         that the order came in on that day
type Shop struct {
	table     string
	db        *dynamodb.Client
	providers providers
}

// ErrNotFound means that there is no such order.
var ErrNotFound = errors.New("there is no such order")

// NewShop returns the shop that the environment describes: ORDERS_TABLE names its table, PROVIDERS_URL where bank and
// carrier answer; without the latter they are make-believe. It makes no request.
func NewShop(ctx context.Context, getenv func(string) string) (*Shop, error) {
	table := getenv("ORDERS_TABLE")
	if table == "" {
		return nil, errors.New("ORDERS_TABLE is not set: it must name the table of orders")
	}
	db, err := dynamostore.LoadClient(ctx)
	if err != nil {
		return nil, err
	}
	return ShopIn(db, table, getenv("PROVIDERS_URL")), nil
}

// ShopIn returns the shop in a table; providersURL is as PROVIDERS_URL.
func ShopIn(db *dynamodb.Client, table, providersURL string) *Shop {
	return &Shop{table: table, db: db, providers: newProviders(providersURL)}
}

// TableInput returns the table of orders as template.yaml has it, less what only a deployed table needs.
func TableInput(table string) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	}
}

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func number(n int) types.AttributeValue  { return &types.AttributeValueMemberN{Value: strconv.Itoa(n)} }

func key(pk, sk string) item { return item{"pk": text(pk), "sk": text(sk)} }

func orderKey(id string) item           { return key("order#"+id, "order") }
func lineKey(id string, index int) item { return key("order#"+id, "line#"+strconv.Itoa(index)) }
func stockKey(sku string) item          { return key("stock#"+sku, "stock") }

func textOf(i item, name string) string {
	if v, ok := i[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func numberOf(i item, name string) int {
	if v, ok := i[name].(*types.AttributeValueMemberN); ok {
		n, _ := strconv.Atoi(v.Value) // only this package writes them
		return n
	}
	return 0
}

func (s *Shop) get(ctx context.Context, key item) (item, error) {
	out, err := s.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// Record is an order as the table has it.
type Record struct {
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Reason   Reason `json:"reason,omitempty"` // of a cancelled order
	Cents    int    `json:"cents,omitempty"`
	Tracking string `json:"tracking,omitempty"`
	order    string
}

// Get returns an order. The error matches ErrNotFound when there is none.
func (s *Shop) Get(ctx context.Context, id string) (Record, error) {
	found, err := s.get(ctx, orderKey(id))
	switch {
	case err != nil:
		return Record{}, fmt.Errorf("order %s: %w", id, err)
	case found == nil:
		return Record{}, fmt.Errorf("order %s: %w", id, ErrNotFound)
	}
	record := Record{
		ID: id, Status: Status(textOf(found, "status")),
		Cents: numberOf(found, "cents"), Tracking: textOf(found, "tracking"), order: textOf(found, "order"),
	}
	if record.Status == Cancelled { // before, what was done is not taken back yet
		record.Reason = Reason(textOf(found, "reason"))
	}
	return record, nil
}

// set moves an order on. It says the same when it is called again; an order that does not exist is an error.
func (s *Shop) set(ctx context.Context, id string, status Status, more item) error {
	update := "SET #status = :status"
	values := item{":status": text(string(status))}
	for name, value := range more {
		update += ", " + name + " = :" + name
		values[":"+name] = value
	}
	_, err := s.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.table, Key: orderKey(id), UpdateExpression: &update,
		ConditionExpression:      aws.String("attribute_exists(pk)"), // an update of nothing would make an item
		ExpressionAttributeNames: map[string]string{"#status": "status"}, ExpressionAttributeValues: values,
	})
	return err
}

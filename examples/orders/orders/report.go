package orders

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// Report is what a day brought.
type Report struct {
	Day    string         `json:"day"`
	Orders int            `json:"orders"`
	Of     map[Status]int `json:"of"` // orders of each status
	Cents  int            `json:"cents"`
}

// report counts the orders of the day before a time.
func (s *Shop) report(ctx context.Context, at time.Time) (Report, error) {
	r := Report{Day: day(at.AddDate(0, 0, -1)), Of: map[Status]int{}}
	pages := dynamodb.NewQueryPaginator(s.db, &dynamodb.QueryInput{
		TableName: &s.table, KeyConditionExpression: aws.String("pk = :day"),
		ExpressionAttributeValues: item{":day": text("day#" + r.Day)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return r, err
		}
		for _, entry := range page.Items {
			order, err := s.Get(ctx, textOf(entry, "sk"))
			if err != nil {
				return r, err
			}
			r.Orders++
			r.Of[order.Status]++
			if order.Status == Shipped {
				r.Cents += order.Cents
			}
		}
	}
	return r, nil
}

// Voucher is a present for a customer.
type Voucher struct {
	Customer string `json:"customer"`
	Cents    int    `json:"cents"`
}

func (v Voucher) validate() error {
	if v.Customer == "" || v.Cents < 1 || v.Cents > 10_000 {
		return fmt.Errorf("customer is %q, cents %d: the one must not be empty, the other be 1 to 10000", v.Customer, v.Cents)
	}
	return nil
}

func (s *Shop) sendVoucher(_ context.Context, v Voucher) (string, error) {
	return fmt.Sprintf("%d cents for %s", v.Cents, v.Customer), nil
}

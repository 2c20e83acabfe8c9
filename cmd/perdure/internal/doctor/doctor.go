// Package doctor looks at a deployed application and says what is wrong with it and what to do about it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/perdure-dev/perdure/dynamostore"
)

// Verdict is what came of a check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warn    Verdict = "warn" // it works, and is not as it should be
	Fail    Verdict = "fail" // something does not work, or will not
	Skipped Verdict = "skipped"
)

// Finding is what a check says of one thing.
type Finding struct {
	Check   string  `json:"check"` // table, ttl, backups, functions, settings, timeouts, stream, schedules, permissions, dead_letters, queues
	Verdict Verdict `json:"verdict"`
	Says    string  `json:"says"`
	Fix     string  `json:"fix,omitempty"` // of a warning or failure
}

// Clients are the services that are asked. Without functions, those but DynamoDB are nil.
type Clients struct {
	DynamoDB  *dynamodb.Client
	Lambda    *lambda.Client
	Scheduler *scheduler.Client
	IAM       *iam.Client
	SQS       *sqs.Client
}

// Patient is what is looked at.
type Patient struct {
	Clients
	Table string
	Store *dynamostore.Store
	// NoFunctions says why only the table is looked at; empty to look at all.
	NoFunctions string
}

// report gathers findings.
type report struct{ findings []Finding }

func (r *report) ok(check, format string, args ...any) {
	r.findings = append(r.findings, Finding{Check: check, Verdict: OK, Says: fmt.Sprintf(format, args...)})
}

func (r *report) warn(check, says, fix string) {
	r.findings = append(r.findings, Finding{Check: check, Verdict: Warn, Says: says, Fix: fix})
}

func (r *report) fail(check, says, fix string) {
	r.findings = append(r.findings, Finding{Check: check, Verdict: Fail, Says: says, Fix: fix})
}

// skip notes that a check cannot be made.
func (r *report) skip(check string, why error) {
	r.findings = append(r.findings, Finding{Check: check, Verdict: Skipped, Says: reason(why)})
}

// reason says in short why a service did not tell.
func reason(err error) string {
	var api smithy.APIError
	var op *smithy.OperationError
	if errors.As(err, &api) && errors.As(err, &op) {
		return fmt.Sprintf("%s %s: %s: %s", op.Service(), op.Operation(), api.ErrorCode(), api.ErrorMessage())
	}
	return err.Error()
}

// Examine makes all checks and returns what they say, in a fixed order. An error means that nothing can be said: there
// is no such table, or nobody answers.
func Examine(ctx context.Context, p Patient, now time.Time) ([]Finding, error) {
	r := &report{}
	table, err := p.table(ctx)
	if err != nil {
		return nil, err
	}
	var functions []function
	if p.NoFunctions == "" {
		if functions, err = p.functions(ctx); err != nil {
			p.NoFunctions = reason(err)
		}
		var api smithy.APIError
		if errors.As(err, &api) && api.ErrorCode() == "UnknownOperationException" {
			p.NoFunctions = "the functions are those of perdure run, which tells by itself what is wrong with them"
		}
	}
	p.checkTable(ctx, r, table, keepsList(functions))
	p.checkQueues(ctx, r, now)
	if p.NoFunctions != "" {
		r.skip("functions", fmt.Errorf("%s; settings, timeouts, stream, schedules, permissions and dead letters are not looked at either", p.NoFunctions))
		return r.findings, nil
	}
	p.checkFunctions(ctx, r, functions)
	checkSettings(r, functions)
	p.checkTimeouts(ctx, r, functions)
	p.checkStream(ctx, r, table, functions)
	p.checkSchedules(ctx, r, functions)
	p.checkPermissions(ctx, r, table, functions)
	p.checkDeadLetters(ctx, r, functions)
	return r.findings, nil
}

// table returns the table's description.
func (p *Patient) table(ctx context.Context) (*types.TableDescription, error) {
	out, err := p.DynamoDB.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(p.Table)})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		return nil, fmt.Errorf("%w: %s: create it with `sam deploy`, or check the name, region and endpoint", dynamostore.ErrTableNotFound, p.Table)
	case err != nil:
		return nil, fmt.Errorf("describe table %s: %w", p.Table, dynamostore.Explain(p.DynamoDB, p.Table, err))
	}
	return out.Table, nil
}

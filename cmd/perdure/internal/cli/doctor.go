package cli

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/doctor"
	"github.com/perdure-dev/perdure/dynamostore"
)

// diagnosis is what doctor prints with --json.
type diagnosis struct {
	Table    string           `json:"table"`
	Failed   int              `json:"failed"`
	Warnings int              `json:"warnings"`
	Skipped  int              `json:"skipped"`
	Findings []doctor.Finding `json:"findings"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check a deployed application, and say what to fix",
		Long: `doctor looks at the table, and at the functions that have it in their variable PERDURE_TABLE: the table's key, indexes,
stream, time to live and backups; what waits in its queues; whether each loop has its function, all have the same
settings, and every task's timeout fits; whether the stream and the schedules invoke them; what their roles allow; and
where failed invocations go. It says what to do about whatever is wrong, and ends with exit code 1 when something fails.
A check that cannot be made is skipped, with the reason. It changes nothing, and invokes the enqueue function alone, to
ask which tasks there are.

It takes the rights to describe and list: dynamodb:DescribeTable, DescribeTimeToLive, DescribeContinuousBackups, GetItem and
Query; lambda:ListFunctions, GetFunctionConcurrency, GetFunctionEventInvokeConfig, ListEventSourceMappings and
InvokeFunction; scheduler:ListSchedules and GetSchedule; iam:ListRolePolicies, GetRolePolicy, ListAttachedRolePolicies,
GetPolicy and GetPolicyVersion; sqs:GetQueueUrl and GetQueueAttributes.`,
		Example: `  perdure doctor
  perdure doctor --json | jq '.findings[] | select(.verdict == "fail")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.patient(cmd.Context())
			if err != nil {
				return err
			}
			findings, err := doctor.Examine(cmd.Context(), p, time.Now())
			if err != nil {
				return err
			}
			return a.printDiagnosis(diagnose(a.table, findings))
		},
	}
}

// patient returns what doctor looks at. A table on this machine has functions only where an endpoint leads to them.
func (a *app) patient(ctx context.Context) (doctor.Patient, error) {
	p := doctor.Patient{Table: a.table}
	var err error
	if p.DynamoDB, err = a.dynamoDB(ctx); err != nil {
		return p, err
	}
	// Nothing is asked of the table yet: it may be any other.
	if p.Store, err = dynamostore.New(p.DynamoDB, a.table, dynamostore.Options{Shards: 1}); err != nil {
		return p, err
	}
	cfg, err := a.aws(ctx)
	if err != nil {
		return p, err
	}
	p.Lambda = lambda.NewFromConfig(cfg, func(o *lambda.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	p.Scheduler = scheduler.NewFromConfig(cfg, func(o *scheduler.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	p.IAM = iam.NewFromConfig(cfg, func(o *iam.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	p.SQS = sqs.NewFromConfig(cfg, func(o *sqs.Options) { a.place(&o.BaseEndpoint, &o.Region, &o.Credentials) })
	for _, s := range []struct {
		name     string
		endpoint *string
	}{
		{"Lambda", p.Lambda.Options().BaseEndpoint}, {"Scheduler", p.Scheduler.Options().BaseEndpoint},
		{"IAM", p.IAM.Options().BaseEndpoint}, {"SQS", p.SQS.Options().BaseEndpoint},
	} {
		if err := placed(s.name, s.endpoint, p.DynamoDB.Options().Region); err != nil {
			return p, err
		}
	}
	if loopback(aws.ToString(p.DynamoDB.Options().BaseEndpoint)) {
		for _, endpoint := range []*string{p.Lambda.Options().BaseEndpoint, p.Scheduler.Options().BaseEndpoint, p.IAM.Options().BaseEndpoint, p.SQS.Options().BaseEndpoint} {
			if !loopback(aws.ToString(endpoint)) {
				p.NoFunctions = "the table is on this machine, and no endpoint on this machine is set for Lambda, Scheduler, IAM and SQS"
			}
		}
	}
	return p, nil
}

func diagnose(table string, findings []doctor.Finding) diagnosis {
	d := diagnosis{Table: table, Findings: findings}
	for _, f := range findings {
		switch f.Verdict {
		case doctor.Fail:
			d.Failed++
		case doctor.Warn:
			d.Warnings++
		case doctor.Skipped:
			d.Skipped++
		case doctor.OK:
		}
	}
	return d
}

func (a *app) printDiagnosis(d diagnosis) error {
	if a.json {
		if err := a.printJSON(d); err != nil {
			return err
		}
	} else {
		var rows [][]cell
		for _, f := range d.Findings {
			rows = append(rows, []cell{verdictCell(f.Verdict), text(f.Check), text(strings.Join(strings.Fields(f.Says), " "))})
			if f.Fix != "" {
				rows = append(rows, []cell{text(""), text(""), {"fix: " + f.Fix, dim}})
			}
		}
		if err := a.printTable(nil, rows); err != nil {
			return err
		}
		if err := a.line("%d failed, %d warnings, %d skipped", d.Failed, d.Warnings, d.Skipped); err != nil {
			return err
		}
	}
	if d.Failed > 0 {
		return errQuiet
	}
	return nil
}

func verdictCell(v doctor.Verdict) cell {
	colours := map[doctor.Verdict]colour{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red, doctor.Skipped: dim}
	return cell{string(v), colours[v]}
}

package stack

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"

	"github.com/perdure-dev/perdure/localtest/eventsource"
)

// Stream is how the table's stream wakes the function that starts executions.
type Stream struct {
	// Off leaves that function to its schedule, as does Options.NoSchedules.
	Off bool
	// Template is the path of the SAM template that says how, for its function StartReadyFunction. Default: this module's.
	Template string
	// Parallelization stands in place of the template's parameter. Default: the template's.
	Parallelization int
	// Poll is how often the stream is looked into. Default: see eventsource.Options.
	Poll time.Duration
	// Disorder is what the function gets of it.
	Disorder eventsource.Disorder
}

// templatePath finds template.yaml in this module's source.
var templatePath = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/perdure-dev/perdure").Output()
	if err != nil {
		return "", fmt.Errorf("find template.yaml: go list: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "template.yaml"), nil
})

// mapping returns the template's event source mapping.
func (o Stream) mapping() (eventsource.Mapping, error) {
	path := o.Template
	if path == "" {
		var err error
		if path, err = templatePath(); err != nil {
			return eventsource.Mapping{}, err
		}
	}
	parameters := map[string]string{}
	if o.Parallelization > 0 {
		parameters["StreamParallelization"] = strconv.Itoa(o.Parallelization)
	}
	return eventsource.FromTemplate(path, "StartReadyFunction", parameters)
}

// startStream begins to read the table's stream.
func (s *Stack) startStream(ctx context.Context, endpoint string, mapping eventsource.Mapping, opts Options) error {
	table, err := s.DynamoDB.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(s.Table)})
	if err != nil {
		return err
	}
	s.Stream, err = eventsource.Start(ctx, eventsource.Options{
		Streams: dynamodbstreams.New(dynamodbstreams.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(endpoint),
			Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		}),
		StreamARN: aws.ToString(table.Table.LatestStreamArn), Mapping: mapping, Poll: opts.Stream.Poll, Disorder: opts.Stream.Disorder,
		Invoke: func(ctx context.Context, event []byte) error {
			result, err := s.Lambda.Invoke(ctx, StartReady, event)
			if err == nil && result.FunctionError != "" {
				err = errors.New(strings.TrimSpace(string(result.Payload)))
			}
			return err
		},
		Log: func(line string) {
			if opts.Log != nil {
				_, _ = fmt.Fprintln(opts.Log, "[stream] "+line) // a log that cannot be written is its owner's to notice
			}
		},
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.Stream.Close)
	return nil
}

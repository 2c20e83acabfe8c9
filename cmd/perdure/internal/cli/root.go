// Package cli is the command line of perdure.
package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/perdure-dev/perdure/functions/handler"
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is one call of the command line: its streams and the flags that all commands share.
type app struct {
	Streams

	table         string
	function      string
	profile       string
	region        string
	endpoint      string
	retentionDays int
	json          bool
	color         string
}

// Main runs the command line and returns the exit code. When ctx ends, as on Ctrl-C, it ends what it started.
func Main(ctx context.Context, args []string, streams Streams) int {
	if streams.In != nil {
		streams.In = &interruptible{ctx, streams.In}
	}
	a := &app{Streams: streams}
	root := a.root() //nolint:contextcheck // the commands get theirs from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	exit, code := classify(err)
	switch {
	case err == nil || errors.Is(err, errQuiet):
	case a.json:
		enc := json.NewEncoder(a.Err)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(map[string]handler.Error{"error": {Code: code, Message: oneLine(err)}}) // strings always become JSON
	default:
		_, _ = fmt.Fprintln(a.Err, "perdure:", visible(oneLine(err)))
	}
	return exit
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "perdure",
		Short: "Durable executions on AWS Lambda and DynamoDB: look at them, act on them, run them here",
		Long: `perdure looks at executions and acts on them, straight in their DynamoDB table; runs an application on this
machine; checks one on AWS and says what to fix; and writes new ones.

The table is --table or PERDURE_TABLE. Region, credentials and endpoints are found as the AWS CLI finds them:
--profile, --region, --endpoint-url, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_LAMBDA.

` + exitHelp,
		Example: `  perdure init myapp && cd myapp && perdure run
  perdure enqueue greet --input '"world"' --wait
  perdure tree order-17
  perdure doctor`,
		Args:                       cobra.NoArgs,
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&a.table, "table", os.Getenv("PERDURE_TABLE"), "the DynamoDB table; default PERDURE_TABLE")
	f.StringVar(&a.function, "function", os.Getenv("PERDURE_ENQUEUE_FUNCTION"), "the enqueue function's name or ARN; default PERDURE_ENQUEUE_FUNCTION")
	f.StringVar(&a.profile, "profile", "", "the AWS profile")
	f.StringVar(&a.region, "region", "", "the AWS region")
	f.StringVar(&a.endpoint, "endpoint-url", "", "an endpoint for all AWS services, such as the one that perdure run prints")
	f.BoolVar(&a.json, "json", false, "print JSON for scripts")
	f.StringVar(&a.color, "color", "auto", "colours: auto (on a terminal, unless NO_COLOR is set), always or never")
	for _, name := range []string{"table", "function"} {
		f.Lookup(name).DefValue = "" // the help does not depend on the environment
	}
	a.completeFlag(root, "color", oneOf("auto", "always", "never"))
	var showVersion bool
	root.Flags().BoolVar(&showVersion, "version", false, "print the version, as perdure version does")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if showVersion {
			return a.printVersion()
		}
		return cmd.Help()
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		switch a.color {
		case "auto", "always", "never":
		default:
			return usagef("--color is %q: it must be auto, always or never", a.color)
		}
		return nothingEmpty(cmd.Flags())
	}
	for _, c := range []*cobra.Command{
		a.getCommand(), a.treeCommand(), a.listCommand(), a.waitCommand(), a.cancelCommand(), a.wakeupCommand(), a.redriveCommand(),
		a.enqueueCommand(), a.tasksCommand(), a.queuesCommand(), a.runCommand(), a.initCommand(), a.doctorCommand(),
		a.versionCommand(),
	} {
		c.Args = usageArgs(c.Args)
		root.AddCommand(c)
	}
	root.Args = usageArgs(knownCommand)
	root.SetHelpCommand(a.helpCommand(root))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = usageArgs(knownCommand), func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				shell.Args = usageArgs(nil)
			}
		}
	}
	return root
}

// mayBeEmpty are the flags for which an empty text means something: none, or what the command itself refuses.
var mayBeEmpty = []string{"table", "function", "input", "output", "reason"}

// nothingEmpty refuses a flag that was given nothing, as by a variable of a script that is not set: --id "$ID" makes an
// execution of a random id then, and --task "$TASK" picks those of all tasks.
func nothingEmpty(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" && !slices.Contains(mayBeEmpty, f.Name) {
			err = usagef("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// writerFlags adds the flags of commands that write to the table, by which their writes are as the functions' are.
func (a *app) writerFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&a.retentionDays, "retention-days", noDays,
		"days for which what this command closes is kept, 0 for ever; default PERDURE_RETENTION_DAYS, else for ever")
	cmd.Flags().Lookup("retention-days").DefValue = "0" // which the help leaves out: it says what it is by default
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// line prints one line.
func (a *app) line(format string, args ...any) error {
	_, err := fmt.Fprintf(a.Out, format+"\n", args...)
	return err
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  perdure version",
		RunE:    func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	v := version()
	if a.json {
		return a.printJSON(v)
	}
	return a.line("perdure %s, %s", cmp.Or(v.Version, "(built from source)"), v.Go)
}

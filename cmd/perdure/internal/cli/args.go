package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// takes returns the check of a command that takes n arguments, none of them empty. what names them in the error.
func takes(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		given := make([]string, len(args))
		complete := len(args) == n
		for i, arg := range args {
			given[i] = strconv.Quote(arg)
			complete = complete && arg != ""
		}
		switch {
		case complete:
			return nil
		case len(args) == 0:
			return fmt.Errorf("%s takes %s", cmd.Name(), what)
		}
		return fmt.Errorf("%s takes %s, not %s", cmd.Name(), what, strings.Join(given, " "))
	}
}

// oneID is the check of a command that takes an execution's id.
func oneID(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && len(args[0]) > maxID {
		return fmt.Errorf("an execution id has at most %d bytes, and this one %d", maxID, len(args[0]))
	}
	return takes(1, "one execution id")(cmd, args)
}

// maxID is the length, in bytes, that no execution id exceeds.
const maxID = 255

// knownCommand is the check of a command that has others below it. cobra hands it every unknown name as an argument.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if alike := cmd.SuggestionsFor(args[0]); len(alike) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(alike, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// usageArgs makes wrong arguments an error of the command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = takes(0, "no arguments")
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w: see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// helpCommand returns a help command that refuses unknown commands. cobra's own shows the whole help for them and succeeds.
func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	help := &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  perdure help enqueue",
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if len(args) == 0 {
				for _, c := range root.Commands() {
					if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), typed) {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = knownCommand(cmd, rest)
			}
			if err != nil {
				return usagef("%w: see %s --help", err, cmd.CommandPath())
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
	help.Args = cobra.ArbitraryArgs
	return help
}

// flagError returns the error of a flag with its name, its value and what the value must be. pflag's own names Go functions.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		must := "of another form"
		switch invalid.GetFlag().Value.Type() {
		case "duration":
			must = "a duration, as in 90s or 5m"
		case "int":
			must = "a whole number"
		case "float64":
			must = "a number"
		case "bool":
			must = "true or false"
		}
		if errors.Is(err, strconv.ErrRange) {
			must += " within the range of 64 bits"
		}
		err = fmt.Errorf("--%s is %q: it must be %s", invalid.GetFlag().Name, invalid.GetValue(), must)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		if alike := flagsLike(cmd.Flags(), unknown.GetSpecifiedName()); len(alike) > 0 {
			err = fmt.Errorf("%w: did you mean --%s?", err, strings.Join(alike, " or --"))
		}
	}
	return usagef("%w: see %s --help", err, cmd.CommandPath())
}

// flagsLike returns the flags whose names are close to name. It uses cobra's suggestions, which cobra makes for commands
// only, by way of commands with the flags' names.
func flagsLike(flags *pflag.FlagSet, name string) []string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	return names.SuggestionsFor(name)
}

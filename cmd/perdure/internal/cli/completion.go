package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

const (
	// completeWithin is how long somebody who presses Tab is kept waiting, at the most.
	completeWithin = 3 * time.Second
	// completeIDs is how many executions are looked through for ids, the newest.
	completeIDs = 100
)

// completer returns the words that an argument or a flag may be, each with a description behind a tab or none.
type completer func(ctx context.Context) ([]string, error)

// completion makes the shell's question of a completer. What cannot be asked, as where the table keeps no list, gives no
// words: whoever presses Tab has no place for an error.
func (a *app) completion(words completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		all, err := words(ctx)
		if err != nil {
			cobra.CompDebugln(oneLine(err), false)
		}
		var matching []string
		for _, w := range all {
			if strings.HasPrefix(w, prefix) {
				matching = append(matching, w)
			}
		}
		return matching, cobra.ShellCompDirectiveNoFileComp
	}
}

// first is completion for the first argument of a command that takes no more.
func (a *app) first(words completer) cobra.CompletionFunc {
	complete := a.completion(words)
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, prefix)
	}
}

// tasks asks the enqueue function, which alone knows them.
func (a *app) tasks(ctx context.Context) ([]string, error) {
	if a.function == "" {
		return nil, nil
	}
	r, err := a.ask(ctx, handler.Request{Action: "tasks"})
	var words []string
	for _, t := range r.Tasks {
		words = append(words, t.Task)
	}
	return words, err
}

// sleepingTasks are those of the tasks that wakeup takes.
func (a *app) sleepingTasks(ctx context.Context) ([]string, error) {
	if a.function == "" {
		return nil, nil
	}
	r, err := a.ask(ctx, handler.Request{Action: "tasks"})
	var words []string
	for _, t := range r.Tasks {
		if t.Sleeping {
			words = append(words, t.Task)
		}
	}
	return words, err
}

// ids returns a completer to the newest root executions that a command makes something of; nil takes all.
func (a *app) ids(takes func(core.Status) bool) completer {
	return func(ctx context.Context) ([]string, error) {
		client, err := a.open(ctx)
		if err != nil {
			return nil, err
		}
		page, err := client.List(ctx, core.Listing{Limit: completeIDs})
		if err != nil {
			return nil, err
		}
		var words []string
		for _, e := range page.Executions {
			if takes == nil || takes(e.Status) {
				words = append(words, e.ID+"\t"+taskText(e)+", "+statusText(e.Status, e.SleepKey))
			}
		}
		return words, nil
	}
}

// unfinished tells what wait and cancel are for.
func unfinished(s core.Status) bool { return !s.Finished() }

// oneOf returns a completer to words that are known.
func oneOf(words ...string) completer {
	return func(context.Context) ([]string, error) { return words, nil }
}

// completeFlag makes a flag complete to words.
func (a *app) completeFlag(cmd *cobra.Command, flag string, words completer) {
	_ = cmd.RegisterFlagCompletionFunc(flag, a.completion(words)) // it fails for a flag that does not exist
}

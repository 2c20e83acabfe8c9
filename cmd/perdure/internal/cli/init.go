package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/cmd/perdure/internal/scaffold"
)

// written is what init prints with --json.
type written struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
	// Tidy tells that go mod tidy was run.
	Tidy bool `json:"tidy"`
}

func (a *app) initCommand() *cobra.Command {
	var o scaffold.App
	var noTidy bool
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a new application",
		Long: `init writes a new application into a folder that must not exist or be empty: a module with a task, its test, one program
that is all Lambda functions, template.yaml and samconfig.toml to deploy it, events and env.json for sam local, a Makefile
and a README. Then it runs go mod tidy there, which fetches perdure; where that is not published, --replace builds with the
source in a clone of it.`,
		Example: `  perdure init myapp && cd myapp && perdure run
  perdure init myapp --replace ~/src/perdure
  perdure init ~/src/shop --module github.com/me/shop`,
		Args: takes(1, "one folder"),
	}
	cmd.Flags().StringVar(&o.Module, "module", "", "the module path; default: the folder's name")
	cmd.Flags().StringVar(&o.Replace, "replace", "", "build with the source of perdure in this folder, a clone of it")
	cmd.Flags().BoolVar(&noTidy, "no-tidy", false, "do not run go mod tidy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		if o.Module == "" {
			o.Module = filepath.Base(dir)
		}
		if o.Replace != "" {
			if o.Replace, err = filepath.Abs(o.Replace); err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(o.Replace, "go.mod"))
			if err != nil {
				return usagef("--replace: %w: it must be the folder of a clone of perdure", err)
			}
			if !bytes.HasPrefix(text, []byte("module github.com/perdure-dev/perdure\n")) {
				return usagef("--replace is %s: that module is not perdure", o.Replace)
			}
		} else if v := version().Version; strings.HasPrefix(v, "v") && !strings.Contains(v, "+") {
			o.Version = v
		}
		files, err := scaffold.Write(dir, o)
		switch {
		case errors.Is(err, scaffold.ErrModule):
			return usagef("%w: name one with --module", err)
		case errors.Is(err, scaffold.ErrTaken):
			return usagef("%w: choose another with --module, as in example.com/shop", err)
		case err != nil:
			return usagef("init: %w", err)
		}
		w := written{Dir: dir, Files: files}
		var tidyErr error
		if !noTidy {
			tidyErr = tidy(cmd.Context(), dir)
			w.Tidy = tidyErr == nil
		}
		next := "\n\nNext: cd " + scaffold.Shell(args[0]) + " && perdure run"
		if tidyErr != nil {
			next = "" // it would not build
		}
		if a.json {
			err = a.printJSON(w)
		} else {
			err = a.line("%s has a new application:\n  %s%s", args[0], strings.Join(files, "\n  "), next)
		}
		if tidyErr != nil {
			todo := "run it again there"
			if hint := scaffold.Unfetched(tidyErr.Error(), args[0]); hint != "" {
				todo = hint
			}
			return fmt.Errorf("the application is written, but go mod tidy did not succeed: %s: %w", todo, tidyErr)
		}
		return err
	}
	return cmd
}

func tidy(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

package cli

import (
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
that is all Lambda functions, template.yaml and samconfig.toml to deploy it, a Makefile and a README. Then it runs go mod
tidy there.`,
		Example: `  perdure init myapp && cd myapp && perdure run
  perdure init ~/src/shop --module github.com/me/shop`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("it takes one folder")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Module, "module", "", "the module path; default: the folder's name")
	cmd.Flags().StringVar(&o.Replace, "replace", "", "build with the source of perdure in this folder")
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
			if _, err := os.Stat(filepath.Join(o.Replace, "go.mod")); err != nil {
				return usagef("--replace: %w", err)
			}
		} else if v := version().Version; strings.HasPrefix(v, "v") && !strings.Contains(v, "+") {
			o.Version = v
		}
		files, err := scaffold.Write(dir, o)
		switch {
		case errors.Is(err, scaffold.ErrModule):
			return usagef("%w: name one with --module", err)
		case err != nil:
			return usagef("init: %w", err)
		}
		w := written{Dir: dir, Files: files}
		var tidyErr error
		if !noTidy {
			tidyErr = tidy(cmd.Context(), dir)
			w.Tidy = tidyErr == nil
		}
		if a.json {
			err = a.printJSON(w)
		} else {
			err = a.line("%s has a new application:\n  %s\n\nNext: cd %s && perdure run", args[0], strings.Join(files, "\n  "), args[0])
		}
		if tidyErr != nil {
			return fmt.Errorf("the application is written, but go mod tidy did not succeed, run it again there: %w", tidyErr)
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

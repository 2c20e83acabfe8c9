package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed runtime.py
var runtime string

// boto3 is what Lambda's Python runtime comes with; here a version of it is installed where there is none.
const boto3 = "boto3==1.43.11"

// pythonBootstrap returns an executable in the folder that runs a Python handler as Lambda does. Where this machine's
// Python has no boto3, it makes a virtual environment that has.
func pythonBootstrap(ctx context.Context, folder string, log io.Writer) (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("the voucher function is in Python: install python3 (with its venv module)")
	}
	if exec.CommandContext(ctx, python, "-c", "import boto3").Run() != nil {
		venv := filepath.Join(folder, "venv")
		fmt.Fprintln(log, "installing boto3 into", venv)
		for _, command := range [][]string{
			{python, "-m", "venv", venv},
			{filepath.Join(venv, "bin", "python"), "-m", "pip", "install", "--quiet", boto3},
		} {
			if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
				return "", fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
			}
		}
		python = filepath.Join(venv, "bin", "python")
	}
	// The executable itself, not what finds it by the environment, which a function does not inherit.
	out, err := exec.CommandContext(ctx, python, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s where it is: %w", python, err)
	}
	path := filepath.Join(folder, "voucher", "bootstrap")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte("#!"+strings.TrimSpace(string(out))+"\n"+runtime), 0o700) //nolint:gosec // it is run
}

package process

import (
	"errors"
	"os"
	"os/exec"
)

// exitKnown: awaitExit does not wait here, cmd.Wait does.
const exitKnown = false

// Freeze returns errors.ErrUnsupported.
func (p *Process) Freeze() error { return errors.ErrUnsupported }

// Thaw returns errors.ErrUnsupported.
func (p *Process) Thaw() error { return errors.ErrUnsupported }

// terminate kills: there is no gentler way.
func (p *Process) terminate() error { return p.Signal(os.Kill) }

func (p *Process) signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

func setAttributes(*exec.Cmd) {}

func watch(int) (unwatch func(), err error) { return func() {}, nil }

func awaitExit(int) {}

func (p *Process) killLeftovers() {}

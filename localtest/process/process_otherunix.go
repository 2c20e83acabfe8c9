//go:build unix && !linux

package process

import (
	"os/exec"
	"syscall"
)

// exitKnown: awaitExit does not wait here, cmd.Wait does.
const exitKnown = false

// setAttributes gives the child a process group of its own.
func setAttributes(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

func watch(pid int) (unwatch func(), err error) { return guard(pid) }

func awaitExit(int) {}

func (p *Process) killLeftovers() {}

package process

import (
	"os/exec"
	"syscall"
)

// exitKnown: awaitExit returns with the child ended but not reaped.
const exitKnown = true

// idtypePID is P_PID of waitid(2).
const idtypePID = 1

// setAttributes gives the child a process group of its own and asks the kernel to kill it when the
// thread that starts it ends.
func setAttributes(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// watch has nothing to do: the kernel watches.
func watch(int) (unwatch func(), err error) { return func() {}, nil }

// awaitExit returns when the child has ended and leaves it a zombie, which keeps its pid, and so
// its group's id, from being given to another.
func awaitExit(pid int) {
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idtypePID, uintptr(pid), 0,
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// killLeftovers kills what the child left in its group. The only expected error is that there is
// nothing left.
func (p *Process) killLeftovers() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

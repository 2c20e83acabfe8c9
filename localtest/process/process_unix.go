//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Freeze stops the child's process group until Thaw.
func (p *Process) Freeze() error { return p.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process group run on.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// terminate asks the child to end; a frozen one sees the signal only when it is thawed.
func (p *Process) terminate() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Thaw()
}

// signal sends sig to the process group; p.mu is held.
func (p *Process) signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal process %d: unsupported signal %v", p.pid, sig)
	}
	err := syscall.Kill(-p.pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// guardScript waits for the end of its standard input, which comes when the parent lets go of it
// or dies, and kills the process group $1.
const guardScript = `while read -r _; do :; done; kill -s KILL -- "-$1" 2>/dev/null`

// guard starts a shell that kills the process group pgid when this process dies. stop ends the
// shell; it is called once the group is gone.
func guard(pgid int) (stop func(), err error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", strconv.Itoa(pgid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pgid, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pgid, err)
	}
	return func() {
		// Killing it first keeps it from seeing the end of its input. How it ended tells nothing.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	}, nil
}

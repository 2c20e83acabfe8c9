// Package process starts child processes that never outlive the process that started them.
//
// Each child leads a process group of its own, so a Ctrl-C in the terminal does not reach it
// directly and a signal to it reaches what it started too. When the parent dies, however it dies,
// the child is killed: by the kernel on Linux (PR_SET_PDEATHSIG), by a watching shell on other
// Unix systems. On Windows a child can outlive a parent that was killed.
package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// outputDelay bounds how long an ended child's output is read while something that left the
// child's process group still holds it open.
const outputDelay = 2 * time.Second

// Process is one started child. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{}
	err  error // Written before done is closed.

	// mu is held while signalling and while marking the child as exited, so a signal never
	// reaches a stranger that was given the same pid.
	mu     sync.Mutex
	exited bool
}

// Start starts cmd. Each line of its standard output and error goes to line, without its line end
// and never two at once; a nil line leaves cmd.Stdout and cmd.Stderr as they are. cmd must not be
// used by the caller afterwards. The child is reaped without anybody calling a method.
func Start(cmd *exec.Cmd, line func(string)) (*Process, error) {
	out := &lineWriter{emit: line}
	if line != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	cmd.WaitDelay = outputDelay
	setAttributes(cmd)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel takes the death of the thread that forked for the death of the parent, so
		// this thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		unwatch, err := watch(p.pid)
		if err != nil {
			killErr := p.Signal(os.Kill)
			p.reap(out)
			started <- errors.Join(err, killErr)
			return
		}
		started <- nil
		p.reap(out)
		unwatch()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Run starts cmd as Start does and waits for it. When ctx ends first, the process group is killed
// and ctx's cause returned.
func Run(ctx context.Context, cmd *exec.Cmd, line func(string)) error {
	p, err := Start(cmd, line)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.Stop(0))
	}
}

// PID is the child's process id, which is its process group's id too.
func (p *Process) PID() int { return p.pid }

// Done is closed when the child has ended, has been reaped and its output has been delivered.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the child ended: nil for exit status 0, else an *exec.ExitError in most cases. It
// is nil before Done is closed.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends sig to the child's process group. It returns os.ErrProcessDone once the child has
// ended.
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited {
		return os.ErrProcessDone
	}
	return p.signal(sig)
}

// Stop asks the child to end, kills its process group after grace and returns when it is gone. A
// grace of zero kills at once. A frozen child is thawed so that it can end by itself. Stopping
// what has ended is no error.
func (p *Process) Stop(grace time.Duration) error {
	if grace > 0 {
		if err := p.terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return nil
		case <-timer.C:
		}
	}
	if err := p.Signal(os.Kill); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// reap waits for the child's end and its last line of output.
func (p *Process) reap(out *lineWriter) {
	awaitExit(p.pid)
	p.mu.Lock()
	p.killLeftovers()
	p.exited = exitKnown
	p.mu.Unlock()
	p.err = p.cmd.Wait()
	p.mu.Lock()
	p.exited = true
	p.mu.Unlock()
	out.flush()
}

package localredis

import (
	"os/exec"
	"runtime"
	"syscall"
)

// process is one run of redis-server.
type process struct {
	cmd *exec.Cmd
	// exited is closed once the process is gone and waited for.
	exited chan struct{}
}

// launch starts a command and waits for its end in a goroutine. Where the system
// can (Linux), the process is killed with this one, however this one ends.
// Elsewhere a killed test leaves its servers behind.
func launch(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = diesWithParent()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		// Linux kills the child when the thread that started it ends, so that
		// thread is kept until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was killed, or its log says why it ended
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails only where the process has ended
	<-p.exited
}

func (p *process) signal(s syscall.Signal) error {
	return p.cmd.Process.Signal(s)
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

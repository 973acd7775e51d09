package ack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Secret is the app secret of receivers that are measured. They listen on
// loopback, and what they hold is made up.
const Secret = "a secret for measuring only"

// StreamSecret signs the tokens for their WebSockets: it is long enough for that.
const StreamSecret = Secret + ", 32 bytes or more"

// Addresses are what a receiver that is measured prints once it listens, as JSON
// on one line: host:port.
type Addresses struct{ Public, Admin string }

// Process is a receiver that runs as a process of its own until its standard
// input ends.
type Process struct {
	Addresses
	PID   int
	cmd   *exec.Cmd
	stdin io.Closer
}

// listenWithin bounds the wait until a receiver listens, which may have a log to
// recover.
const listenWithin = 2 * time.Minute

// Launch starts a program that is such a receiver and waits until it listens. It
// is killed when ctx ends.
func Launch(ctx context.Context, program string, args []string, stderr io.Writer) (*Process, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start receiver: %w", err)
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, stdin: stdin}
	hangs := time.AfterFunc(listenWithin, func() { _ = cmd.Process.Kill() })
	defer hangs.Stop()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.Addresses)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("it does not listen: %w", err), p.Stop())
	}
	return p, nil
}

// Stop lets it end, and waits for that.
func (p *Process) Stop() error {
	_ = p.stdin.Close() // which tells it to end
	return p.cmd.Wait()
}

// Kill ends it with SIGKILL.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // or it has ended
	_ = p.cmd.Wait()         // says that it was killed
	_ = p.stdin.Close()
}

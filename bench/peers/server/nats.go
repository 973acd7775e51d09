package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"spillway/bench/ack"
)

// NATSVersion is that of the server.
const NATSVersion = server.VERSION

const readyTimeout = 30 * time.Second

// RunNATS is a NATS server with JetStream on a free loopback port until ctx ends.
// With always it has sync_interval: always, else the default, two minutes.
func RunNATS(ctx context.Context, data string, always bool, listening func(ack.Addresses)) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: data, SyncAlways: always,
	})
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return errors.New("the NATS server is not ready")
	}
	listening(ack.Addresses{Public: s.Addr().String()})
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// NATS is a process that runs RunNATS.
type NATS struct {
	program string
	args    []string
	stderr  io.Writer
	process *ack.Process // nil while it does not run
}

// StartNATS starts a program that runs RunNATS with these arguments.
func StartNATS(ctx context.Context, program string, args []string, stderr io.Writer) (*NATS, error) {
	n := &NATS{program: program, args: args, stderr: stderr}
	if err := n.Restart(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// Addr is host:port.
func (n *NATS) Addr() string { return n.process.Public }

// PID is the process.
func (n *NATS) PID() int { return n.process.PID }

// Kill ends it with SIGKILL.
func (n *NATS) Kill() {
	if n.process != nil {
		n.process.Kill()
		n.process = nil
	}
}

// Restart starts it; it is killed when ctx ends.
func (n *NATS) Restart(ctx context.Context) (err error) {
	if n.process, err = ack.Launch(ctx, n.program, n.args, n.stderr); err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	return nil
}

// Stop lets it end.
func (n *NATS) Stop() error {
	if n.process == nil {
		return nil
	}
	return n.process.Stop()
}

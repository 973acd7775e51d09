package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"spillway/bench/ack"
	"spillway/bench/peers/receiver"
	"spillway/bench/peers/server"
	"spillway/dispatch/store/redis/localredis"
)

// Programs are what the processes of a peer are made of.
type Programs struct {
	// Self is this program, which is every receiver but Spillway and the NATS
	// server: see Arguments. Spillway is bin/spillway.
	Self, Spillway string
	// Stderr gets what they say of errors.
	Stderr io.Writer
}

// The hidden commands of Self: those of a receiver and of a NATS server.
const (
	ReceiverCommand = "receiver"
	NATSCommand     = "nats"
)

// Running is a peer that runs.
type Running struct {
	Peer
	programs Programs
	dir      string
	server   server.Server // nil for none
	front    *ack.Process  // nil once killed
}

// Start starts a peer with its data in a new folder, which is removed by Stop. Its
// processes are killed when ctx ends.
func (p Peer) Start(ctx context.Context, programs Programs, dir string) (*Running, error) {
	r := &Running{Peer: p, programs: programs, dir: dir}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.Name, err), r.Stop())
	}
	return r, nil
}

func (r *Running) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.dir, 0o711); err != nil { // PostgreSQL has a user of its own
		return err
	}
	if r.server, err = r.startServer(ctx); err != nil {
		return err
	}
	return r.startFront(ctx)
}

func (r *Running) startServer(ctx context.Context) (server.Server, error) {
	dir := filepath.Join(r.dir, "server")
	switch r.Peer.server {
	case natsAlways, natsDefault:
		args := []string{NATSCommand, "--data", dir}
		if r.Peer.server == natsAlways {
			args = append(args, "--always")
		}
		return orNil(server.StartNATS(ctx, r.programs.Self, args, r.programs.Stderr))
	case redisAlways:
		return orNil(localredis.Start(ctx, localredis.Options{Dir: dir, AppendOnly: true, Fsync: "always"}))
	case redisEverySec:
		return orNil(localredis.Start(ctx, localredis.Options{Dir: dir, AppendOnly: true, Fsync: "everysec"}))
	case postgres:
		return orNil(server.StartPostgres(ctx, dir))
	}
	return nil, nil
}

// orNil keeps a nil pointer from becoming a Server that is not nil.
func orNil[S server.Server](s S, err error) (server.Server, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (r *Running) startFront(ctx context.Context) (err error) {
	program, args := r.programs.Self, []string{ReceiverCommand, "--kind", r.receiver, "--data", r.data(), "--server", r.address(), "--streams", strconv.Itoa(r.streams)}
	if r.spillway != "" {
		program, args = r.programs.Spillway, []string{"bench", "target", "--kind", r.spillway, "--data", r.data()}
	} else if err := os.MkdirAll(r.data(), 0o700); err != nil {
		return err
	}
	r.front, err = ack.Launch(ctx, program, args, r.programs.Stderr)
	return err
}

func (r *Running) data() string { return filepath.Join(r.dir, "data") }

// address is that of the server, empty for none.
func (r *Running) address() string {
	if r.server == nil {
		return ""
	}
	return r.server.Addr()
}

// Public is where it takes webhooks, host:port.
func (r *Running) Public() string { return r.front.Public }

// Target is it as something to be measured.
func (r *Running) Target() *ack.Target {
	t := &ack.Target{
		Public: r.front.Public, Admin: r.front.Admin, PID: r.front.PID, Dispatches: r.dispatches(), Stop: r.Stop,
	}
	if r.server != nil {
		t.ServerPID = r.server.PID()
	}
	if redis, ok := r.server.(*localredis.Server); ok {
		t.Redis = redis.Client()
		t.Stop = func() error { return errors.Join(t.Redis.Close(), r.Stop()) }
	}
	return t
}

// Kill ends all its processes with SIGKILL, at the same instant, and waits until
// they are gone.
func (r *Running) Kill() error {
	all, err := ack.Processes(r.front.PID)
	if r.server != nil && err == nil {
		var more []int
		more, err = ack.Processes(r.server.PID())
		all = append(all, more...)
	}
	if err != nil {
		return err
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended
	}
	r.front.Kill()
	r.front = nil
	if r.server != nil {
		r.server.Kill()
	}
	return nil
}

// Restart starts it again over what it had kept, once killed.
func (r *Running) Restart(ctx context.Context) error {
	if r.server != nil {
		if err := r.server.Restart(ctx); err != nil {
			return err
		}
	}
	return r.startFront(ctx)
}

// Kept gives each webhook that it kept, or what was made of it; it is valid during
// the call. Nothing may be received meanwhile.
func (r *Running) Kept(ctx context.Context, each func(webhook []byte)) error {
	if r.spillway != "" {
		return r.keptBySpillway(ctx, each)
	}
	return receiver.Kept(ctx, receiver.Config{Kind: r.receiver, Data: r.data(), Server: r.address(), Streams: r.streams}, each)
}

// longestLine bounds a webhook in `spillway log cat`.
const longestLine = 16 << 20

// keptBySpillway asks it as an operator would: with spillway log cat.
func (r *Running) keptBySpillway(ctx context.Context, each func([]byte)) error {
	cmd := exec.CommandContext(ctx, r.programs.Spillway, "log", "cat", "--admin", r.front.Admin)
	cmd.Stderr = r.programs.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		each(lines.Bytes())
	}
	err = lines.Err()
	if err != nil {
		_ = cmd.Process.Kill() // it would wait for its output to be read
	}
	return errors.Join(err, cmd.Wait())
}

// Stop ends it and removes its data.
func (r *Running) Stop() error {
	var errs []error
	if r.front != nil {
		errs = append(errs, r.front.Stop())
	}
	if r.server != nil {
		errs = append(errs, r.server.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

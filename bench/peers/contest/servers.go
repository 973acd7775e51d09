package contest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spillway/bench/ack"
	"spillway/bench/fanout"
	"spillway/bench/peers/broadcaster"
	"spillway/bench/peers/peer"
	"spillway/bench/subscribers"
)

// Command is the hidden command of this program that runs a broadcaster.
const Command = "broadcaster"

// Kind is a server that can be measured.
type Kind struct {
	Name string
	// What it is, in a sentence.
	What string
	args []string // of Command; nil for Spillway
}

// Spillway is the name of ours.
const Spillway = "spillway"

// The others, by what is chosen of the library.
const (
	Centrifuge = "centrifuge"
	// Delayed is quicker, and gives up promptness and recovery for it.
	Delayed = "centrifuge-delay"
)

// Kinds are all that there are, in the order of the report.
var Kinds = []Kind{
	{Name: Spillway, What: "`spillway serve` on the embedded store, all of it: it checks signatures, keeps each webhook on disk before it answers, deduplicates, orders, and keeps the events to resume from"},
	{Name: Centrifuge, args: []string{"--recovery"},
		What: "the library set up so that nothing is lost: `EnableRecovery`, with a history of as many events as Spillway keeps; what waits for a socket is written at once"},
	{Name: Delayed, args: []string{"--write-delay", "100ms", "--gathered", "128"},
		What: "the library at its quickest, where events may be late and may be lost: no history, and events gathered for 100ms for each socket (`WriteDelay`, `WriteWithTimer`), up to 128 in a message"},
}

// moreSockets is what Spillway may have besides those that are measured: some that
// were closed it may not know of yet.
const moreSockets = 200

// Start starts all kinds, with their data in dir. What it gives stops them; it must
// be called whether there is an error or not.
func Start(ctx context.Context, cfg Config, programs peer.Programs, dir string) (servers []Server, stop func() error, err error) {
	var processes []*ack.Process
	stop = func() error {
		var errs []error
		for _, p := range processes {
			errs = append(errs, p.Stop())
		}
		return errors.Join(append(errs, os.RemoveAll(dir))...)
	}
	for _, kind := range Kinds {
		program, args := programs.Self, append([]string{Command}, kind.args...)
		if kind.Name == Spillway {
			program, args = programs.Spillway, spillwayArgs(cfg, dir)
		}
		p, err := ack.Launch(ctx, program, args, programs.Stderr)
		if err != nil {
			return nil, stop, fmt.Errorf("start %s: %w", kind.Name, err)
		}
		processes = append(processes, p)
		target, err := kind.target(ctx, programs, p)
		if err != nil {
			return nil, stop, err
		}
		servers = append(servers, Server{Name: kind.Name, Target: target})
	}
	return servers, stop, nil
}

func spillwayArgs(cfg Config, dir string) []string {
	most := slices.Max(cfg.Sockets)
	return []string{"bench", "target", "--kind", ack.Serve, "--data", filepath.Join(dir, "data"),
		"--sockets", strconv.Itoa(most + moreSockets), "--connections", strconv.Itoa(2 * connections)}
}

func (k Kind) target(ctx context.Context, programs peer.Programs, p *ack.Process) (fanout.Target, error) {
	t := fanout.Target{Address: p.Public, Secret: ack.Secret, Meter: fanout.Process{Admin: p.Admin}}
	if k.Name != Spillway {
		t.Lines = true
		t.Subscribe = subscribers.Options{Address: p.Public, Path: broadcaster.Path, First: []byte(broadcaster.Connect), Ready: broadcaster.Connected}
		return t, nil
	}
	token, err := token(ctx, programs)
	t.Subscribe = subscribers.Options{Address: p.Public, Path: "/ws?token=" + token, Ready: level}
	return t, err
}

// token has Spillway mint one.
func token(ctx context.Context, programs peer.Programs) (string, error) {
	cmd := exec.CommandContext(ctx, programs.Spillway, "token", "--ttl", "24h")
	cmd.Env, cmd.Stderr = append(os.Environ(), "SPILLWAY_JWT_SECRET="+ack.StreamSecret), programs.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// level is whether a message of Spillway tells that a socket gets all from now on.
func level(message []byte) bool { return bytes.HasPrefix(message, []byte(`{"type":"stream:position"`)) }

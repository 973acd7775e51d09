package main

import (
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store/redis/localredis"
)

const (
	rightPassword = "the password of the receivers"
	otherPassword = "another password, of the server"
)

// refusal is a Redis that answers, but does not do what it is told.
type refusal struct {
	name string
	opts localredis.Options
	// ill makes it so, well ends it.
	ill, well func(*testing.T, *localredis.Server, *goredis.Client)
	// cause is what a log line must say of it.
	cause string
}

// do makes a step of commands.
func do(commands ...string) func(*testing.T, *localredis.Server, *goredis.Client) {
	return func(t *testing.T, _ *localredis.Server, client *goredis.Client) {
		t.Helper()
		for _, command := range commands {
			var args []any
			for word := range strings.SplitSeq(command, "|") {
				args = append(args, word)
			}
			if err := client.Do(t.Context(), args...).Err(); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
		}
	}
}

var (
	// nobody: no server listens there.
	readOnly   = do("replicaof|127.0.0.1|1")
	writable   = do("replicaof|no|one")
	changePass = do("config|set|requirepass|"+otherPassword, "client|kill|type|normal")
	resetPass  = do("config|set|requirepass|" + rightPassword)
)

var refusals = []refusal{
	{name: "read only", ill: readOnly, well: writable, cause: "READONLY"},
	{name: "out of memory", ill: do("config|set|maxmemory|1"), well: do("config|set|maxmemory|0"), cause: "OOM"},
	{name: "wrong password", opts: localredis.Options{Password: rightPassword}, ill: changePass, well: resetPass, cause: "WRONGPASS"},
	{name: "loading",
		// Each command that is loaded takes half a millisecond, and others are
		// answered meanwhile.
		opts: localredis.Options{AppendOnly: true, Extra: []string{"key-load-delay 500", "loading-process-events-interval-bytes 1024"}},
		ill: func(t *testing.T, server *localredis.Server, _ *goredis.Client) {
			server.Kill()
			restart(t, server)
		},
		well: do(), cause: "LOADING"},
}

// TestRedisRefuses: a Redis that refuses writes, connections or everything for a
// while holds up dispatching and nothing else, the log says why, and no restart is
// needed when it has recovered.
func TestRedisRefuses(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t, c.opts)
			client := server.Client()
			defer func() { _ = client.Close() }()
			at := single(server)
			at.password = c.opts.Password
			r := newRig(t, at, 2)
			r.load()
			time.Sleep(time.Second)
			c.ill(t, server, client)
			r.logged(c.cause)
			time.Sleep(time.Duration(rounds(1, 10)) * time.Second)
			c.well(t, server, client)
			time.Sleep(300 * time.Millisecond)
			r.verify()
			r.keepSecrets()
		})
	}
}

// keepSecrets wants no password in a log.
func (r *rig) keepSecrets() {
	r.t.Helper()
	for _, p := range r.receivers {
		for _, secret := range []string{rightPassword, otherPassword, testAppSecret, testJWTSecret, testVerifyToken} {
			if strings.Contains(p.logText(), secret) {
				r.t.Errorf("the log has the secret %q", secret)
			}
		}
	}
}

// TestRedisIllAtStart: receivers that start while Redis is away, or refuses, take
// webhooks and are ready, and dispatch once it does not.
func TestRedisIllAtStart(t *testing.T) {
	for _, c := range []refusal{
		{name: "away", cause: "connection refused",
			ill:  func(_ *testing.T, server *localredis.Server, _ *goredis.Client) { server.Kill() },
			well: func(t *testing.T, server *localredis.Server, _ *goredis.Client) { restart(t, server) }},
		{name: "read only", ill: readOnly, well: writable, cause: "READONLY"},
		{name: "wrong password", opts: localredis.Options{Password: rightPassword}, ill: changePass, well: resetPass, cause: "WRONGPASS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t, c.opts)
			client := server.Client()
			defer func() { _ = client.Close() }()
			c.ill(t, server, client)
			at := single(server)
			at.password = c.opts.Password
			r := newRig(t, at, 2)
			r.load()
			r.logged(c.cause)
			time.Sleep(time.Duration(rounds(1, 20)) * time.Second)
			c.well(t, server, client)
			r.verify()
			r.keepSecrets()
		})
	}
}

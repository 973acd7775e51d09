package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"spillway/bench/peers/results"
	"spillway/bench/peers/server"
	"spillway/dispatch/store/redis/localredis"
)

// versions are those of all that is measured; what is not installed has none.
func (o *options) versions(ctx context.Context) ([]results.Version, error) {
	versions, err := o.ownVersions(ctx)
	if err != nil {
		return nil, err
	}
	versions = append(versions, results.Version{Name: "NATS server", Version: server.NATSVersion})
	if path, err := localredis.Find(); err == nil {
		redis, err := firstLine(ctx, path, "--version")
		if err != nil {
			return nil, fmt.Errorf("ask redis-server for its version: %w", err)
		}
		versions = append(versions, results.Version{Name: "Redis", Version: redis})
	}
	if _, err := server.FindPostgres(); err == nil {
		postgres, err := server.PostgresVersion(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask postgres for its version: %w", err)
		}
		versions = append(versions, results.Version{Name: "PostgreSQL", Version: postgres})
	}
	return versions, nil
}

// ownVersions are those of Spillway and of Go.
func (o *options) ownVersions(ctx context.Context) ([]results.Version, error) {
	spillway, err := firstLine(ctx, o.spillway, "version")
	if err != nil {
		return nil, fmt.Errorf("ask spillway for its version: %w", err)
	}
	return []results.Version{{Name: "Spillway", Version: spillway}, {Name: "Go", Version: runtime.Version()}}, nil
}

const centrifuge = "github.com/centrifugal/centrifuge"

// streamVersions are those of what is measured of the stream.
func (o *options) streamVersions(ctx context.Context) ([]results.Version, error) {
	versions, err := o.ownVersions(ctx)
	if err != nil {
		return nil, err
	}
	build, _ := debug.ReadBuildInfo() // every program that Go modules made has it
	i := slices.IndexFunc(build.Deps, func(m *debug.Module) bool { return m.Path == centrifuge })
	if i < 0 {
		return nil, fmt.Errorf("find version of %s: this program is not built as a module", centrifuge)
	}
	return append(versions, results.Version{Name: centrifuge, Version: build.Deps[i].Version}), nil
}

func firstLine(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return line, err
}

// quoted puts empty arguments, and those with spaces, in quotes.
func quoted(args []string) []string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if quoted[i] = arg; arg == "" || strings.ContainsAny(arg, " \t\n'") {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return quoted
}

package ack

import (
	"context"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// rewriteDue is how late a Redis begins to rewrite its append-only file at most,
// and some: it looks ten times a second whether that has grown enough.
const rewriteDue = 250 * time.Millisecond

// rewriteFields are those of INFO persistence that are 0 where no rewrite is
// under way or about to begin.
var rewriteFields = []string{"aof_rewrite_in_progress", "aof_rewrite_scheduled"}

// awaitNoRewrite waits, up to limit, until no Redis of the targets has rewritten
// its append-only file for rewriteDue: one that is not measured would take
// processor and disk from the one that is.
func awaitNoRewrite(ctx context.Context, targets map[string]*Target, limit time.Duration) error {
	servers := map[string]*goredis.Client{}
	for kind, t := range targets {
		if t.Redis != nil {
			servers[kind] = t.Redis
		}
	}
	if len(servers) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for calm := time.Now(); time.Since(calm) < rewriteDue; {
		for kind, server := range servers {
			rewrites, err := rewrites(ctx, server)
			if err != nil {
				return fmt.Errorf("redis of %s: %w", kind, err)
			}
			if rewrites {
				calm = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for rewrites of append-only files: %w", ctx.Err())
		case <-time.After(rewriteDue / 5):
		}
	}
	return nil
}

func rewrites(ctx context.Context, server *goredis.Client) (bool, error) {
	info, err := server.Info(ctx, "persistence").Result()
	if err != nil {
		return false, fmt.Errorf("ask whether it rewrites: %w", err)
	}
	found := 0
	for line := range strings.Lines(info) {
		for _, field := range rewriteFields {
			value, ok := strings.CutPrefix(line, field+":")
			if !ok {
				continue
			}
			found++
			if strings.TrimSpace(value) != "0" {
				return true, nil
			}
		}
	}
	if found != len(rewriteFields) {
		return false, fmt.Errorf("ask whether it rewrites: no %s", strings.Join(rewriteFields, " or "))
	}
	return false, nil
}

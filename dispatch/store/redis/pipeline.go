package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// keyed is a command and the key that says which server it is for.
type keyed struct {
	key string
	cmd goredis.Cmder
}

// process runs commands, those for one server in one pipeline, all servers at once.
// Each command has its error then. The client's own pipelines over a Cluster will
// not do: where one node hangs they give all commands an error.
func (s *Store) process(ctx context.Context, cmds []keyed) {
	if len(cmds) == 0 {
		return
	}
	cluster, is := s.client.(*goredis.ClusterClient)
	if !is {
		pipe := s.client.Pipeline()
		for _, c := range cmds {
			_ = pipe.Process(ctx, c.cmd)
		}
		exec(ctx, pipe)
		return
	}
	pipes := make(map[*goredis.Client]goredis.Pipeliner)
	for _, c := range cmds {
		node, err := cluster.MasterForKey(ctx, c.key)
		if err != nil {
			c.cmd.SetErr(err)
			continue
		}
		if pipes[node] == nil {
			pipes[node] = node.Pipeline()
		}
		_ = pipes[node].Process(ctx, c.cmd)
	}
	var running sync.WaitGroup
	for _, pipe := range pipes {
		running.Go(func() { exec(ctx, pipe) })
	}
	running.Wait()
	s.redirect(ctx, cluster, cmds)
}

// redirect runs again, one by one, what another node of the Cluster has to answer.
func (s *Store) redirect(ctx context.Context, cluster *goredis.ClusterClient, cmds []keyed) {
	reload := false
	for _, c := range cmds {
		err := c.cmd.Err()
		var reply goredis.Error
		switch {
		case err == nil || errors.Is(err, goredis.Nil):
		case !errors.As(err, &reply) || strings.HasPrefix(reply.Error(), "READONLY"):
			reload = true // the node is away, or is no primary any more
		case strings.HasPrefix(reply.Error(), "MOVED ") || strings.HasPrefix(reply.Error(), "ASK "):
			_ = cluster.Process(ctx, c.cmd)
		}
	}
	if reload {
		cluster.ReloadState(ctx)
	}
}

// exec runs a pipeline; each of its commands has its error then. The client gives
// them none, and no reply, where the server refuses it a connection, by a wrong
// password or while it loads: that is the pipeline's error alone.
func exec(ctx context.Context, pipe goredis.Pipeliner) {
	cmds, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(cmds, func(c goredis.Cmder) bool { return c.Err() != nil }) {
		return
	}
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

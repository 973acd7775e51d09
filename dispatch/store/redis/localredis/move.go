package localredis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// moveBatch is how many keys one MIGRATE moves.
	moveBatch = 100
	// moveTimeout is how long it may take, in milliseconds.
	moveTimeout = 5000
)

// MoveSlot moves a slot, with its keys, from one primary to another while clients
// go on. Half-way, when half of the keys (rounded down) have moved, it calls
// during, which may be nil; its error ends the move, and the slot stays half
// moved. It returns when all servers that run know the new primary.
func (c *Cluster) MoveSlot(ctx context.Context, slot int, from, to *Server, during func() error) error {
	if err := c.moveSlot(ctx, slot, from, to, during); err != nil {
		return fmt.Errorf("move slot %d from %s to %s: %w", slot, from.Addr(), to.Addr(), err)
	}
	return nil
}

func (c *Cluster) moveSlot(ctx context.Context, slot int, from, to *Server, during func() error) error {
	if err := openMove(ctx, slot, from, to); err != nil {
		return err
	}
	var keys int64
	err := from.ask(ctx, func(client *goredis.Client) (err error) {
		keys, err = client.ClusterCountKeysInSlot(ctx, slot).Result()
		return err
	})
	if err != nil {
		return err
	}
	if err := migrate(ctx, slot, from, to, int(keys/2)); err != nil {
		return err
	}
	if during != nil {
		if err := during(); err != nil {
			return err
		}
	}
	if err := migrate(ctx, slot, from, to, -1); err != nil {
		return err
	}
	return c.closeMove(ctx, slot, from, to)
}

// openMove tells both servers, first the one that must be ready to import.
func openMove(ctx context.Context, slot int, from, to *Server) error {
	for _, step := range []struct {
		at, other *Server
		state     string
	}{{to, from, "importing"}, {from, to, "migrating"}} {
		id, err := step.other.nodeID(ctx)
		if err != nil {
			return err
		}
		if err := step.at.setSlot(ctx, slot, step.state, id); err != nil {
			return err
		}
	}
	return nil
}

// closeMove makes to the primary of the slot: there first, then where keys could
// be looked for in vain; the others learn it from those.
func (c *Cluster) closeMove(ctx context.Context, slot int, from, to *Server) error {
	id, err := to.nodeID(ctx)
	if err != nil {
		return err
	}
	for _, s := range []*Server{to, from} {
		if err := s.setSlot(ctx, slot, "node", id); err != nil {
			return err
		}
	}
	return await(ctx, "all to know it", func() error {
		for _, s := range c.Servers {
			if s.PID() == 0 {
				continue
			}
			ranges, err := s.slots(ctx)
			if err != nil {
				return err
			}
			if known := owner(ranges, slot); known != to.Addr() {
				return fmt.Errorf("%s takes %s for the primary", s.Addr(), known)
			}
		}
		return nil
	})
}

func (s *Server) setSlot(ctx context.Context, slot int, state, id string) error {
	return s.ask(ctx, func(client *goredis.Client) error {
		return client.Do(ctx, "cluster", "setslot", slot, state, id).Err()
	})
}

// migrate moves up to limit keys of a slot, all of them if limit is negative.
func migrate(ctx context.Context, slot int, from, to *Server, limit int) error {
	client := from.Client()
	defer client.Close()
	for limit != 0 {
		batch := moveBatch
		if limit > 0 {
			batch = min(batch, limit)
		}
		keys, err := client.ClusterGetKeysInSlot(ctx, slot, batch).Result()
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := client.Do(ctx, to.migration(keys)...).Err(); err != nil {
			return err
		}
		if limit > 0 {
			limit -= len(keys)
		}
	}
	return nil
}

// migration is the command that moves keys to the server.
func (s *Server) migration(keys []string) []any {
	command := []any{"migrate", host, s.port.port, "", 0, moveTimeout}
	switch {
	case s.opts.Username != "":
		command = append(command, "auth2", s.opts.Username, s.opts.Password)
	case s.opts.Password != "":
		command = append(command, "auth", s.opts.Password)
	}
	command = append(command, "keys")
	for _, key := range keys {
		command = append(command, key)
	}
	return command
}

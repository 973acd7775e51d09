package localredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

const (
	shards = 3
	slots  = 16384
)

// clustered makes servers that fail over when they miss each other for 1.5 s.
var clustered = kind{
	bus: true,
	lines: func(opts Options, port int, data string) []string {
		opts.Extra = append([]string{
			"cluster-enabled yes",
			// Beside the data, so that Wipe leaves the server in its Cluster.
			"cluster-config-file ../nodes.conf",
			"cluster-node-timeout 1500",
			"cluster-announce-ip " + host,
		}, opts.Extra...)
		return opts.lines(port, data)
	},
}

// Cluster is a Redis Cluster of three shards, each a primary and a replica.
type Cluster struct {
	// Servers are the three primaries of the start, in the order of their slots,
	// then their replicas in the same order.
	Servers []*Server
}

// StartCluster starts six servers, each with opts (its folder is one in
// opts.Dir), and joins them; it returns when all say that the Cluster is well and
// the replicas are in step. ctx bounds the start. opts.Dir must be empty or new.
func StartCluster(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.CertFile != "" || opts.ReplicaOf != "" {
		return nil, errGroupOptions
	}
	c := &Cluster{}
	if err := c.start(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("start Cluster: %w", err), c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, opts Options) error {
	for i := range 2 * shards {
		s, err := start(ctx, clustered, memberOptions(opts, fmt.Sprintf("server-%d", i)))
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
	}
	for i, s := range c.Servers {
		if err := c.join(ctx, i, s); err != nil {
			return err
		}
	}
	for i, replica := range c.Servers[shards:] {
		if err := replicate(ctx, replica, c.Servers[i]); err != nil {
			return err
		}
	}
	return await(ctx, "the Cluster", func() error { return c.ready(ctx) })
}

// join gives server i its slots, if it is to be a primary, and makes it known to
// the first server.
func (c *Cluster) join(ctx context.Context, i int, s *Server) error {
	return s.ask(ctx, func(client *goredis.Client) error {
		if i < shards {
			// Each primary has an epoch of its own, or they would settle that first.
			if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
				return err
			}
			if err := client.ClusterAddSlotsRange(ctx, i*slots/shards, (i+1)*slots/shards-1).Err(); err != nil {
				return err
			}
		}
		if i == 0 {
			return nil
		}
		first, port, err := splitAddress(c.Servers[0].Addr())
		if err != nil {
			return err
		}
		return client.ClusterMeet(ctx, first, port).Err()
	})
}

// replicate makes a server the replica of primary, once it knows of it.
func replicate(ctx context.Context, replica, primary *Server) error {
	id, err := primary.nodeID(ctx)
	if err != nil {
		return err
	}
	return await(ctx, "a replica to know its primary", func() error {
		return replica.ask(ctx, func(client *goredis.Client) error {
			return client.ClusterReplicate(ctx, id).Err()
		})
	})
}

func (s *Server) nodeID(ctx context.Context) (string, error) {
	var id string
	err := s.ask(ctx, func(client *goredis.Client) (err error) {
		id, err = client.Do(ctx, "cluster", "myid").Text()
		return err
	})
	return id, err
}

// ready returns nil if every server finds the Cluster well and every shard with
// its replica, and the replicas are in step.
func (c *Cluster) ready(ctx context.Context) error {
	for i, s := range c.Servers {
		ranges, err := s.slots(ctx)
		if err != nil {
			return err
		}
		if len(ranges) != shards || slices.ContainsFunc(ranges, func(r goredis.ClusterSlot) bool { return len(r.Nodes) != 2 }) {
			return fmt.Errorf("%s does not know all servers", s.Addr())
		}
		if i >= shards {
			if err := s.linked(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// slots are who serves what, as the server sees it. It is an error if the server
// finds the Cluster unwell.
func (s *Server) slots(ctx context.Context) ([]goredis.ClusterSlot, error) {
	var ranges []goredis.ClusterSlot
	err := s.ask(ctx, func(client *goredis.Client) error {
		info, err := client.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_state:ok") {
			return fmt.Errorf("%s finds its Cluster unwell", s.Addr())
		}
		//lint:ignore SA1019 Redis 6.2 has no CLUSTER SHARDS
		ranges, err = client.ClusterSlots(ctx).Result()
		return err
	})
	return ranges, err
}

// Addrs are the addresses of all servers.
func (c *Cluster) Addrs() []string {
	return addresses(c.Servers)
}

// PrimaryOfSlot is the server that serves a slot, in the eyes of most of those
// that answer and find the Cluster well.
func (c *Cluster) PrimaryOfSlot(ctx context.Context, slot int) (*Server, error) {
	var votes []string
	for _, s := range c.Servers {
		ranges, err := s.slots(ctx)
		if err == nil {
			votes = append(votes, owner(ranges, slot))
		}
	}
	s, err := majority(c.Servers, votes)
	if err != nil {
		return nil, fmt.Errorf("find the primary of slot %d: %w", slot, err)
	}
	return s, nil
}

// owner is the address of a slot's primary, empty where it has none.
func owner(ranges []goredis.ClusterSlot, slot int) string {
	for _, r := range ranges {
		if r.Start <= slot && slot <= r.End {
			return r.Nodes[0].Addr
		}
	}
	return ""
}

// NextPrimary waits until another server than old serves a slot.
func (c *Cluster) NextPrimary(ctx context.Context, slot int, old *Server) (*Server, error) {
	var next *Server
	err := await(ctx, "a failover", func() error {
		var err error
		if next, err = c.PrimaryOfSlot(ctx, slot); err == nil && next == old {
			err = fmt.Errorf("%s is the primary still", old.Addr())
		}
		return err
	})
	return next, err
}

// Replicas are the replicas of a primary that it has a link to.
func (c *Cluster) Replicas(ctx context.Context, primary *Server) ([]*Server, error) {
	ranges, err := primary.slots(ctx)
	if err != nil {
		return nil, fmt.Errorf("find replicas: %w", err)
	}
	var replicas []*Server
	for _, s := range c.Servers {
		follows := func(n goredis.ClusterNode) bool { return n.Addr == s.Addr() }
		if slices.ContainsFunc(ranges, func(r goredis.ClusterSlot) bool {
			return r.Nodes[0].Addr == primary.Addr() && slices.ContainsFunc(r.Nodes[1:], follows)
		}) {
			replicas = append(replicas, s)
		}
	}
	return replicas, nil
}

// Stop stops all servers.
func (c *Cluster) Stop() error {
	return stopAll(c.Servers)
}

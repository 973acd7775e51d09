package localredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

const (
	masterName = "local"
	sentinels  = 3
	quorum     = 2
)

// Sentinel is a primary with its replicas, watched by three Sentinels of which
// two must agree. They take a second without an answer for a failure, and make an
// old primary that is back a replica after about ten.
type Sentinel struct {
	// Servers are the primary of the start, then its replicas.
	Servers []*Server
	// Sentinels watch them.
	Sentinels []*Server
}

// StartSentinel starts a primary with that many replicas, each with opts (its
// folder is one in opts.Dir), and the Sentinels; it returns when a failover is
// possible. ctx bounds the start.
func StartSentinel(ctx context.Context, replicas int, opts Options) (*Sentinel, error) {
	if opts.CertFile != "" || opts.ReplicaOf != "" {
		return nil, errGroupOptions
	}
	g := &Sentinel{}
	if err := g.start(ctx, replicas, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("start Sentinel: %w", err), g.Stop())
	}
	return g, nil
}

func (g *Sentinel) start(ctx context.Context, replicas int, opts Options) error {
	for i := range 1 + replicas {
		if i > 0 {
			opts.ReplicaOf = g.Servers[0].Addr()
		}
		s, err := Start(ctx, memberOptions(opts, fmt.Sprintf("server-%d", i)))
		if err != nil {
			return err
		}
		g.Servers = append(g.Servers, s)
	}
	watcher := g.watcher(opts)
	for i := range sentinels {
		s, err := start(ctx, watcher, memberOptions(Options{Dir: opts.Dir}, fmt.Sprintf("sentinel-%d", i)))
		if err != nil {
			return err
		}
		g.Sentinels = append(g.Sentinels, s)
	}
	return await(ctx, "the Sentinels", func() error { return g.ready(ctx) })
}

// watcher makes Sentinels that watch the first server, which has opts.
func (g *Sentinel) watcher(opts Options) kind {
	primary := g.Servers[0].port.port
	return kind{
		arguments: []string{"--sentinel"},
		lines: func(_ Options, port int, data string) []string {
			lines := []string{
				"bind " + host,
				"protected-mode no",
				"port " + strconv.Itoa(port),
				"dir " + strconv.Quote(data),
				fmt.Sprintf("sentinel monitor %s %s %d %d", masterName, host, primary, quorum),
				"sentinel down-after-milliseconds " + masterName + " 1000",
				"sentinel failover-timeout " + masterName + " 5000",
			}
			if opts.Password != "" {
				lines = append(lines, "sentinel auth-pass "+masterName+" "+strconv.Quote(opts.Password))
			}
			if opts.Username != "" {
				lines = append(lines, "sentinel auth-user "+masterName+" "+strconv.Quote(opts.Username))
			}
			return lines
		},
	}
}

// ready returns nil if every replica has a link to the primary, and every
// Sentinel knows all replicas and all other Sentinels.
func (g *Sentinel) ready(ctx context.Context) error {
	for _, s := range g.Servers[1:] {
		if err := s.linked(ctx); err != nil {
			return err
		}
	}
	want := fmt.Sprintf("name=%s,status=ok,address=%s,slaves=%d,sentinels=%d",
		masterName, g.Servers[0].Addr(), len(g.Servers)-1, sentinels)
	for _, s := range g.Sentinels {
		err := s.ask(ctx, func(client *goredis.Client) error {
			info, err := client.Info(ctx, "sentinel").Result()
			if err == nil && !strings.Contains(info, want) {
				err = fmt.Errorf("a Sentinel knows too little: %q", info)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Addrs are the addresses of the Sentinels.
func (g *Sentinel) Addrs() []string {
	return addresses(g.Sentinels)
}

// Master is the name by which the Sentinels know the primary.
func (g *Sentinel) Master() string {
	return masterName
}

// CurrentMaster is the server that most Sentinels name as the primary, and that
// takes itself for it.
func (g *Sentinel) CurrentMaster(ctx context.Context) (*Server, error) {
	votes := make([]string, len(g.Sentinels))
	for i, s := range g.Sentinels {
		_ = s.ask(ctx, func(client *goredis.Client) error { // one that is down has no vote
			addr, err := client.Do(ctx, "sentinel", "get-master-addr-by-name", masterName).StringSlice()
			if err == nil {
				votes[i] = strings.Join(addr, ":")
			}
			return err
		})
	}
	s, err := majority(g.Servers, votes)
	if err != nil {
		return nil, fmt.Errorf("find the primary: %w", err)
	}
	return s, s.isPrimary(ctx)
}

func (s *Server) isPrimary(ctx context.Context) error {
	return s.ask(ctx, func(client *goredis.Client) error {
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "role:master") {
			err = fmt.Errorf("%s is no primary", s.Addr())
		}
		return err
	})
}

// NextMaster waits until another server than old is the primary.
func (g *Sentinel) NextMaster(ctx context.Context, old *Server) (*Server, error) {
	var next *Server
	err := await(ctx, "a failover", func() error {
		var err error
		if next, err = g.CurrentMaster(ctx); err == nil && next == old {
			err = fmt.Errorf("%s is the primary still", old.Addr())
		}
		return err
	})
	return next, err
}

// Stop stops all servers.
func (g *Sentinel) Stop() error {
	return errors.Join(stopAll(g.Sentinels), stopAll(g.Servers))
}

package localredis

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// checkEvery is how often a Sentinel or Cluster is asked what has become of it.
const checkEvery = 50 * time.Millisecond

var (
	errGroupOptions = errors.New("servers that work together have no TLS and no ReplicaOf here")
	errNoMajority   = errors.New("the servers do not agree")
	errNoLink       = errors.New("a replica has no link to its primary")
)

// memberOptions are those of the server called name in a group with opts.
func memberOptions(opts Options, name string) Options {
	if opts.Dir != "" {
		opts.Dir = filepath.Join(opts.Dir, name)
	}
	return opts
}

func stopAll(servers []*Server) error {
	errs := make([]error, len(servers))
	for i, s := range servers {
		errs[i] = s.Stop()
	}
	return errors.Join(errs...)
}

func addresses(servers []*Server) []string {
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr()
	}
	return addrs
}

// await returns once check returns nil; until ctx is done it calls it again.
func await(ctx context.Context, what string, check func() error) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w, last: %w", what, ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// majority returns the server whose address more than half of the votes name.
// An empty vote is one for none.
func majority(servers []*Server, votes []string) (*Server, error) {
	count := make(map[string]int)
	for _, vote := range votes {
		count[vote]++
	}
	for _, s := range servers {
		if 2*count[s.Addr()] > len(votes) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", errNoMajority, votes)
}

// linked returns nil if the replica has all that its primary has sent.
func (s *Server) linked(ctx context.Context) error {
	return s.ask(ctx, func(client *goredis.Client) error {
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errNoLink
		}
		return err
	})
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// watchInterval is the time between two looks at how the servers are set up,
	// how full the sets are, and how far consumer groups are behind.
	watchInterval = 15 * time.Second
	// sampledBuckets of each partition and day are counted.
	sampledBuckets = 4
	// compactLimit is the setting up to which a set of integers is an intset, and
	// defaultCompact what it is where nothing is set.
	compactLimit = "set-max-intset-entries"
)

// watch warns of what may lose keys or waste memory, when it is first seen.
func (s *Store) watch() {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	warned := make(map[string]bool)
	for {
		select {
		case <-s.open.Done():
			return
		case <-timer.C:
		}
		timer.Reset(watchInterval)
		ctx, cancel := context.WithTimeout(s.open, callTimeout)
		warnings, err := s.look(ctx)
		cancel()
		if err != nil {
			continue // who applies says so
		}
		for _, w := range warnings {
			if !warned[w] {
				s.logger.Warn("redis is not set up as it should be", "warning", w)
			}
		}
		s.metrics.warnings.Set(float64(len(warnings)))
		warned = make(map[string]bool)
		for _, w := range warnings {
			warned[w] = true
		}
		for _, p := range s.partitions {
			p.days.forget(firstKeptDay(s.cfg.Now(), s.cfg.Window))
		}
	}
}

// look gathers warnings and counts what the streams hold.
func (s *Store) look(ctx context.Context) ([]string, error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	warnings, limit, err := s.inspect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.countStreams(ctx); err != nil {
		return nil, err
	}
	if err := s.measureGroups(ctx); err != nil {
		return nil, err
	}
	fullest, err := s.fullest(ctx)
	if err != nil {
		return nil, err
	}
	if w := compactWarning(fullest, limit); w != "" {
		warnings = append(warnings, w)
	}
	return warnings, nil
}

// Report is what Inspect finds.
type Report struct {
	// Made is true where there is a store under the prefix.
	Made bool
	// Warnings tell how the servers are set up wrongly.
	Warnings []string
}

// Inspect connects to the servers, compares version and layout, and looks at how
// they are set up. It writes nothing.
func Inspect(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, fmt.Errorf("configure redis: %w", err)
	}
	s := &Store{cfg: cfg.withDefaults(), client: newClient(cfg, nil)}
	defer func() { _ = s.client.Close() }()
	if err := s.checkVersion(ctx); err != nil {
		return Report{}, err
	}
	made, err := s.compareLayout(ctx)
	if err != nil {
		return Report{}, err
	}
	warnings, _, err := s.inspect(ctx)
	return Report{Made: made, Warnings: warnings}, err
}

// eachServer calls f for every primary.
func (s *Store) eachServer(ctx context.Context, f func(ctx context.Context, c *goredis.Client) error) error {
	switch c := s.client.(type) {
	case *goredis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *goredis.Client:
		return f(ctx, c)
	}
	return fmt.Errorf("ask servers: %T is no client of ours", s.client)
}

// inspect looks at how the servers are set up, as far as they tell, and at the
// least of their compactLimits, 0 where none tells.
func (s *Store) inspect(ctx context.Context) (warnings []string, limit int, err error) {
	var mu sync.Mutex // a Cluster's servers are asked at once
	found := make(map[string]struct{})
	err = s.eachServer(ctx, func(ctx context.Context, c *goredis.Client) error {
		texts, compact, err := inspectServer(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		for _, text := range texts {
			if _, twice := found[text]; !twice {
				found[text] = struct{}{}
				warnings = append(warnings, text)
			}
		}
		if compact > 0 && (limit == 0 || compact < limit) {
			limit = compact
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("inspect redis: %w", err)
	}
	return warnings, limit, nil
}

// inspectServer asks one server. What it may not be asked is passed over.
func inspectServer(ctx context.Context, c *goredis.Client) (warnings []string, compact int, err error) {
	info, err := c.Info(ctx, "everything").Result()
	if err != nil {
		return nil, 0, ignoreRefusal(err)
	}
	if policy := infoField(info, "maxmemory_policy"); policy != "" && policy != "noeviction" {
		warnings = append(warnings, fmt.Sprintf("redis may drop keys: its maxmemory-policy is %s; set it to noeviction, or what was seen and events get lost when memory runs out", policy))
	}
	saves, err := c.ConfigGet(ctx, "save").Result()
	if err != nil {
		return warnings, 0, ignoreRefusal(err)
	}
	if infoField(info, "aof_enabled") == "0" && saves["save"] == "" {
		warnings = append(warnings, "redis keeps nothing on disk: after a restart it is empty, and is filled from the log for redis.refill; set appendonly yes")
	}
	limits, err := c.ConfigGet(ctx, compactLimit).Result()
	if err != nil {
		return warnings, 0, ignoreRefusal(err)
	}
	compact, err = strconv.Atoi(limits[compactLimit])
	if err != nil {
		return warnings, 0, nil // a server without the setting
	}
	return warnings, compact, nil
}

// ignoreRefusal is nil for what a server answers, and err where it does not.
func ignoreRefusal(err error) error {
	var refused goredis.Error
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// countStreams counts the events that the streams hold.
func (s *Store) countStreams(ctx context.Context) error {
	cmds, all := make([]*goredis.IntCmd, len(s.partitions)), make([]keyed, len(s.partitions))
	for i, p := range s.partitions {
		cmds[i] = goredis.NewIntCmd(ctx, "xlen", p.keys.events)
		all[i] = keyed{p.keys.events, cmds[i]}
	}
	s.process(ctx, all)
	sum, err := sumOf(cmds)
	if err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	s.metrics.entries.Set(float64(sum))
	return nil
}

// fullest is the mean size of the sets of today or yesterday, whichever is larger,
// by a sample.
func (s *Store) fullest(ctx context.Context) (float64, error) {
	today := dayOf(s.cfg.Now())
	var cmds [2][]*goredis.IntCmd
	var all []keyed
	for back := range cmds {
		for _, p := range s.partitions {
			for range sampledBuckets {
				key := p.keys.seenKey(today-back, rand.IntN(buckets))
				cmd := goredis.NewIntCmd(ctx, "scard", key)
				cmds[back], all = append(cmds[back], cmd), append(all, keyed{key, cmd})
			}
		}
	}
	s.process(ctx, all)
	mean := 0.0
	for _, day := range cmds {
		sum, err := sumOf(day)
		if err != nil {
			return 0, fmt.Errorf("count seen: %w", err)
		}
		mean = max(mean, float64(sum)/float64(len(day)))
	}
	return mean, nil
}

// sumOf adds up what commands answered.
func sumOf(cmds []*goredis.IntCmd) (sum int64, err error) {
	for _, cmd := range cmds {
		n, err := cmd.Result()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// compactWarning names the setting where sets of that mean size outgrow it. Sizes
// scatter around their mean by its root: four times that covers all 32,768.
func compactWarning(mean float64, limit int) string {
	need := mean + 4*math.Sqrt(mean)
	if limit == 0 || need <= float64(limit) {
		return ""
	}
	figure := 512
	for float64(figure) < 2*need {
		figure *= 2
	}
	return fmt.Sprintf("the sets of what was seen outgrow redis's %s of %d, and take some five times the memory beyond it: set it to %d",
		compactLimit, limit, figure)
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
)

// maxGroups bounds how many consumer groups have metrics: they are others' names.
const maxGroups = 64

// groupLag is how far a consumer group is behind in all partitions.
type groupLag struct {
	// oldest is the age of the oldest event that no consumer of the group was
	// given, 0 where there is none.
	oldest time.Duration
	// lost counts the partitions of which events were trimmed that no consumer of
	// the group was given.
	lost int
}

// groupLags looks at all consumer groups of the streams. Programs that read
// without a group leave nothing to look at.
func (s *Store) groupLags(ctx context.Context) (map[string]groupLag, error) {
	heads, missing := s.heads(ctx)
	for _, err := range missing {
		return nil, fmt.Errorf("read consumer groups: %w", err)
	}
	infos, all := make([]*goredis.XInfoGroupsCmd, len(s.partitions)), make([]keyed, len(s.partitions))
	for i, p := range s.partitions {
		infos[i] = goredis.NewXInfoGroupsCmd(ctx, p.keys.events)
		all[i] = keyed{p.keys.events, infos[i]}
	}
	s.process(ctx, all)
	lags := make(map[string]groupLag)
	behind := make(map[string][]*goredis.Cmd)
	all = all[:0]
	for i, info := range infos {
		groups, err := info.Result()
		var refused goredis.Error
		if errors.As(err, &refused) {
			continue // there is no stream yet
		}
		if err != nil {
			return nil, fmt.Errorf("read consumer groups: %w", err)
		}
		for _, g := range groups {
			name := strings.ToValidUTF8(g.Name, "\uFFFD")
			lag, known := lags[name]
			if !known && len(lags) == maxGroups {
				continue
			}
			at, err := parsePlace(g.LastDeliveredID)
			if err != nil {
				return nil, fmt.Errorf("read consumer groups: %w", err)
			}
			if at.Compare(heads[i].trimmed) < 0 && at != (store.Place{}) {
				lag.lost++
			}
			lags[name] = lag
			if at.Compare(heads[i].last) < 0 {
				next := s.rangeAfter(ctx, i, at, 1)
				all = append(all, keyed{s.partitions[i].keys.events, next})
				behind[name] = append(behind[name], next)
			}
		}
	}
	if len(behind) == 0 {
		return lags, nil
	}
	s.process(ctx, all)
	for name, cmds := range behind {
		lag := lags[name]
		for _, cmd := range cmds {
			entries, err := parseEntries(cmd)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				lag.oldest = max(lag.oldest, time.Since(time.UnixMilli(int64(e.Place.Ms))))
			}
		}
		lags[name] = lag
	}
	return lags, nil
}

// measureGroups sets the metrics of the groups there are.
func (s *Store) measureGroups(ctx context.Context) error {
	lags, err := s.groupLags(ctx)
	if err != nil {
		return err
	}
	s.metrics.groupLag.Reset()
	s.metrics.groupLost.Reset()
	for name, lag := range lags {
		s.metrics.groupLag.WithLabelValues(name).Set(lag.oldest.Seconds())
		s.metrics.groupLost.WithLabelValues(name).Set(float64(lag.lost))
	}
	return nil
}

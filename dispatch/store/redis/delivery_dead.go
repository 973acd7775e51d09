package redis

import (
	"context"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
)

// DeadList gives dead deliveries, by partition and then by place.
func (s *Store) DeadList(ctx context.Context, endpoint string, after *store.Dead, limit int) (_ []store.Dead, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	counts, missing, err := s.deadCounts(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("list dead deliveries: %w", err)
	}
	var list []store.Dead
	for p := range s.partitions {
		share, from := store.Share{Endpoint: endpoint, Partition: p}, firstPlace
		if after != nil && p < after.Partition {
			continue
		}
		if after != nil && p == after.Partition {
			from = afterPlace(after.Place)
		}
		if missing[p] != nil {
			return list, fmt.Errorf("list dead deliveries of partition %d: %w", p, missing[p])
		}
		if counts[p] == 0 {
			continue
		}
		if list, err = s.appendDead(ctx, list, share, from, limit); err != nil || len(list) >= limit {
			return list, err
		}
	}
	return list, nil
}

// appendDead adds dead deliveries of a share until there are limit.
func (s *Store) appendDead(ctx context.Context, list []store.Dead, share store.Share, from string, limit int) ([]store.Dead, error) {
	keys := s.partitions[share.Partition].keys.delivery(share.Endpoint)
	for len(list) < limit {
		page, err := s.deadFrom(ctx, keys, share, from, min(limit-len(list), pageDeliveries))
		if err != nil {
			return list, fmt.Errorf("list dead deliveries: %w", err)
		}
		if len(page) == 0 {
			return list, nil
		}
		from = afterPlace(page[len(page)-1].Place)
		places := make([]store.Place, len(page))
		for i := range page {
			places[i] = page[i].Place
		}
		entries, err := s.bodies(ctx, keys.deadBody, places)
		if err != nil {
			return list, fmt.Errorf("list dead deliveries: %w", err)
		}
		for i := range page {
			if page[i].Entry = entries[i]; entries[i].Place != (store.Place{}) { // else it went meanwhile
				list = append(list, page[i])
			}
		}
	}
	return list, nil
}

// deadFrom reads a page of what is dead, without the events.
func (s *Store) deadFrom(ctx context.Context, keys *deliveryKeys, share store.Share, from string, limit int) ([]store.Dead, error) {
	members, err := s.client.ZRangeByLex(ctx, keys.dead, &goredis.ZRangeBy{Min: from, Max: "+", Count: int64(limit)}).Result()
	if err != nil {
		return nil, err
	}
	page := make([]store.Dead, len(members))
	for i, member := range members {
		if page[i], err = parseDead(share, member); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// deadCounts counts dead deliveries by partition; missing has the errors of those
// partitions of which the nodes do not answer.
func (s *Store) deadCounts(ctx context.Context, endpoint string) (counts []int64, missing map[int]error, err error) {
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return nil, nil, err
	}
	cmds, all := make([]*goredis.IntCmd, len(s.partitions)), make([]keyed, len(s.partitions))
	for i, p := range s.partitions {
		key := p.keys.delivery(endpoint).dead
		cmds[i] = goredis.NewIntCmd(ctx, "zcard", key)
		all[i] = keyed{key, cmds[i]}
	}
	s.process(ctx, all)
	counts, missing = make([]int64, len(cmds)), make(map[int]error)
	for i, cmd := range cmds {
		if counts[i], err = cmd.Result(); err != nil {
			missing[i] = err
		}
	}
	return counts, missing, nil
}

// DeadCount counts dead deliveries. Where the nodes of some partitions do not answer
// it returns how many the others have with a *store.PartitionsError.
func (s *Store) DeadCount(ctx context.Context, endpoint string) (sum int64, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	counts, missing, err := s.deadCounts(ctx, endpoint)
	if err != nil {
		return 0, fmt.Errorf("count dead deliveries: %w", err)
	}
	for _, n := range counts {
		sum += n
	}
	return sum, store.MissingPartitions(missing, len(counts))
}

// DeadRetry parks dead deliveries again, some at a time: after an error those that it
// counts are parked, and asking again goes on with the others.
func (s *Store) DeadRetry(ctx context.Context, endpoint string, dead []store.Dead) (parked int, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	byPartition := make(map[int][]store.Place)
	for i := range dead {
		byPartition[dead[i].Partition] = append(byPartition[dead[i].Partition], dead[i].Place)
	}
	now := s.cfg.Now().UnixMilli()
	for partition, places := range byPartition {
		keys, err := s.shareKeys(store.Share{Endpoint: endpoint, Partition: partition})
		if err != nil {
			return parked, fmt.Errorf("retry dead deliveries: %w", err)
		}
		for page := range slices.Chunk(places, pageDeliveries) {
			c := newInvocation(deliverRetryScript, 5, 6+len(page))
			c.add(keys.all()...)
			c.add(now)
			for _, place := range page {
				c.add(sortable(place))
			}
			n, err := s.runCount(ctx, c)
			if err != nil {
				return parked, fmt.Errorf("retry dead deliveries: %w", err)
			}
			parked += n
		}
	}
	return parked, nil
}

// runCount runs a script that answers a count.
func (s *Store) runCount(ctx context.Context, c *invocation) (int, error) {
	reply, err := s.run(ctx, c)
	if err != nil {
		return 0, err
	}
	n, err := integerOf(reply)
	return int(n), err
}

// DeadForget drops dead deliveries that died before a time. Those of partitions of
// which the nodes do not answer stay, and a *store.PartitionsError tells of them.
func (s *Store) DeadForget(ctx context.Context, endpoint string, before time.Time) (dropped int, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	counts, missing, err := s.deadCounts(ctx, endpoint)
	if err != nil {
		return 0, fmt.Errorf("forget dead deliveries: %w", err)
	}
	for p, count := range counts {
		if count == 0 || missing[p] != nil {
			continue
		}
		n, err := s.deadForget(ctx, store.Share{Endpoint: endpoint, Partition: p}, before)
		if dropped += n; err != nil {
			missing[p] = err
		}
	}
	return dropped, store.MissingPartitions(missing, len(counts))
}

// deadForget drops those of a share.
func (s *Store) deadForget(ctx context.Context, share store.Share, before time.Time) (dropped int, err error) {
	keys := s.partitions[share.Partition].keys.delivery(share.Endpoint)
	for from := firstPlace; ; {
		page, err := s.deadFrom(ctx, keys, share, from, pageDeliveries)
		if err != nil || len(page) == 0 {
			return dropped, err
		}
		from = afterPlace(page[len(page)-1].Place)
		c := newInvocation(deliverDropScript, 2, 2+2*len(page))
		c.add(&keys.dead, &keys.deadBody)
		old := 0
		for i := range page {
			if page[i].Died.Before(before) {
				place := sortable(page[i].Place)
				c.add(place, place+" "+deadFacts(&page[i]))
				old++
			}
		}
		if old == 0 {
			continue
		}
		n, err := s.runCount(ctx, c)
		if dropped += n; err != nil {
			return dropped, err
		}
	}
}

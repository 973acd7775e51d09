package redis

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// forgetDeliveries drops what is parked or dead of a partition and bears one of the
// contact ids; it returns how many went. Whoever has a lease asks for an event before
// it sends it, and finds none.
func (s *Store) forgetDeliveries(ctx context.Context, p *partition, ids []uuid.UUID) (dropped int, err error) {
	endpoints, err := s.client.SMembers(ctx, p.keys.endpoints).Result()
	if err != nil {
		return 0, fmt.Errorf("forget deliveries: %w", err)
	}
	for _, endpoint := range endpoints {
		keys := p.keys.delivery(endpoint)
		// In this order: what is given up meanwhile is found among the dead.
		for _, of := range [][2]string{{keys.waiting, keys.body}, {keys.dead, keys.deadBody}} {
			n, err := s.forgetAmong(ctx, of[0], of[1], ids)
			dropped += n
			if err != nil {
				return dropped, fmt.Errorf("forget deliveries: %w", err)
			}
		}
	}
	return dropped, nil
}

// forgetAmong drops them from what is parked or from what is dead of a share.
func (s *Store) forgetAmong(ctx context.Context, set, bodies string, ids []uuid.UUID) (dropped int, err error) {
	for from := firstPlace; ; {
		c := newInvocation(deliverForgetScript, 2, 5+2*len(ids))
		c.add(&set, &bodies, from, forgetEntries, len(ids))
		c.addPrefixes(ids)
		reply, err := s.run(ctx, c)
		if err != nil {
			return dropped, err
		}
		list, err := listOf(reply, 2)
		if err != nil {
			return dropped, err
		}
		last, err := stringOf(list[0])
		if err != nil {
			return dropped, err
		}
		n, err := integerOf(list[1])
		if err != nil {
			return dropped, err
		}
		dropped += int(n)
		if last == "" {
			return dropped, nil
		}
		from = "(" + last + "!"
	}
}

package redis

import (
	"context"
	"fmt"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
)

// Settle is one script, which does nothing else on that server for some microseconds a
// delivery: who calls bounds them.
func (s *Store) Settle(ctx context.Context, settlement store.Settlement) (err error) {
	done, err := s.begin(ctx, opSettle)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	keys, err := s.shareKeys(settlement.Share)
	if err != nil {
		return fmt.Errorf("settle deliveries: %w", err)
	}
	reply, err := s.run(ctx, settleCall(keys, &settlement))
	if err != nil {
		return fmt.Errorf("settle deliveries: %w", err)
	}
	settled, err := integerOf(reply)
	if err != nil {
		return fmt.Errorf("settle deliveries: %w", err)
	}
	if settled == 0 {
		return fmt.Errorf("settle deliveries: %w", store.ErrFenced)
	}
	return nil
}

func settleCall(keys *deliveryKeys, t *store.Settlement) *invocation {
	c := newInvocation(deliverSettleScript, 5, 12+3*len(t.Park)+2*len(t.Retry)+len(t.Done)+3*len(t.Dead))
	c.add(keys.all()...)
	c.add(t.Token, formatPlace(t.From), formatPlace(t.To), len(t.Park), len(t.Retry), len(t.Done), len(t.Dead))
	for i := range t.Park {
		p := &t.Park[i]
		c.add(sortable(p.Place), facts(&p.Parked), formatBody(&p.Entry))
	}
	for i := range t.Retry {
		c.add(sortable(t.Retry[i].Place), facts(&t.Retry[i]))
	}
	for _, place := range t.Done {
		c.add(sortable(place))
	}
	for i := range t.Dead {
		d := &t.Dead[i]
		c.add(sortable(d.Place), deadFacts(d), formatBody(&d.Entry))
	}
	return c
}

// Waiting emits what is parked, in the order of places. What is settled or parked
// meanwhile may be left out or told as it was before; all else is told once.
func (s *Store) Waiting(ctx context.Context, lease store.Lease, emit func([]store.Parked) error) error {
	keys, err := s.shareKeys(lease.Share)
	if err != nil {
		return fmt.Errorf("read parked deliveries: %w", err)
	}
	for from := firstPlace; ; {
		parked, err := s.parkedFrom(ctx, keys, lease.Token, from)
		if err != nil {
			return fmt.Errorf("read parked deliveries: %w", err)
		}
		if len(parked) == 0 {
			return nil
		}
		from = afterPlace(parked[len(parked)-1].Place)
		if err := emit(parked); err != nil {
			return err
		}
	}
}

// parkedFrom reads a page of what is parked.
func (s *Store) parkedFrom(ctx context.Context, keys *deliveryKeys, token uint64, from string) (_ []store.Parked, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	c := newInvocation(deliverWaitingScript, 2, 5)
	c.add(&keys.lease, &keys.waiting, token, from, pageDeliveries)
	reply, err := s.run(ctx, c)
	if err != nil {
		return nil, err
	}
	if fenced, is := reply.(int64); is && fenced == 0 {
		return nil, store.ErrFenced
	}
	list, err := listOf(reply, 0)
	if err != nil {
		return nil, err
	}
	parked := make([]store.Parked, len(list))
	for i := range list {
		member, err := stringOf(list[i])
		if err != nil {
			return nil, err
		}
		if parked[i], err = parseParked(member); err != nil {
			return nil, err
		}
	}
	return parked, nil
}

// firstPlace is where a page begins, as ZRANGEBYLEX has it.
const firstPlace = "-"

// afterPlace begins a page after a place, whatever its member says besides: "!" stands
// right after the blank.
func afterPlace(p store.Place) string { return "(" + sortable(p) + "!" }

// Entries gives the events of parked deliveries.
func (s *Store) Entries(ctx context.Context, share store.Share, places []store.Place) (_ []store.Entry, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	keys, err := s.shareKeys(share)
	if err != nil {
		return nil, fmt.Errorf("read parked events: %w", err)
	}
	entries, err := s.bodies(ctx, keys.body, places)
	if err != nil {
		return nil, fmt.Errorf("read parked events: %w", err)
	}
	return entries, nil
}

// bodies reads the events at some places, pageDeliveries by one command; one that is
// not there has a zero Place.
func (s *Store) bodies(ctx context.Context, key string, places []store.Place) ([]store.Entry, error) {
	var cmds []*goredis.SliceCmd
	var all []keyed
	for page := range slices.Chunk(places, pageDeliveries) {
		args := make([]any, 0, 2+len(page))
		args = append(args, "hmget", &key)
		for _, place := range page {
			args = append(args, sortable(place))
		}
		cmd := goredis.NewSliceCmd(ctx, args...)
		cmds, all = append(cmds, cmd), append(all, keyed{key, cmd})
	}
	s.process(ctx, all)
	entries := make([]store.Entry, 0, len(places))
	for _, cmd := range cmds {
		values, err := cmd.Result()
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			var entry store.Entry
			if value != nil {
				text, err := stringOf(value)
				if err == nil {
					entry, err = parseBody(places[len(entries)], text)
				}
				if err != nil {
					return nil, err
				}
			}
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

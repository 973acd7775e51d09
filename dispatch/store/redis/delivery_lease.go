package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"spillway/dispatch/store"
)

// Members announces owner, and gives all who were announced and are not over by the
// server's clock.
func (s *Store) Members(ctx context.Context, owner string, ttl time.Duration) (_ []string, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	key := membersKey(s.cfg.Prefix)
	c := newInvocation(deliverMembersScript, 1, 3)
	c.add(&key, owner, ttl.Milliseconds())
	reply, err := s.run(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("announce member: %w", err)
	}
	list, err := listOf(reply, 0)
	if err != nil {
		return nil, fmt.Errorf("announce member: %w", err)
	}
	members := make([]string, len(list))
	for i := range list {
		if members[i], err = stringOf(list[i]); err != nil {
			return nil, fmt.Errorf("announce member: %w", err)
		}
	}
	slices.Sort(members)
	return members, nil
}

// Acquire takes a share.
func (s *Store) Acquire(ctx context.Context, share store.Share, owner string, ttl time.Duration, start store.Place) (_ store.Lease, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return store.Lease{}, err
	}
	defer func() { done(err) }()
	keys, err := s.shareKeys(share)
	if err != nil {
		return store.Lease{}, fmt.Errorf("acquire share: %w", err)
	}
	c := newInvocation(deliverAcquireScript, 2, 6)
	c.add(&keys.lease, &s.partitions[share.Partition].keys.endpoints, owner, ttl.Milliseconds(), formatPlace(start), share.Endpoint)
	reply, err := s.run(ctx, c)
	if err != nil {
		return store.Lease{}, fmt.Errorf("acquire share: %w", err)
	}
	lease, err := parseLease(share, reply)
	if err != nil {
		return store.Lease{}, fmt.Errorf("acquire share: %w", err)
	}
	return lease, nil
}

// parseLease reads what deliver_acquire.lua answers.
func parseLease(share store.Share, reply any) (store.Lease, error) {
	list, err := listOf(reply, 1)
	if err != nil {
		return store.Lease{}, err
	}
	if taken, err := integerOf(list[0]); err != nil || taken == 0 {
		return store.Lease{}, errors.Join(err, store.ErrLeased)
	}
	if list, err = listOf(reply, 4); err != nil {
		return store.Lease{}, err
	}
	lease := store.Lease{Share: share}
	if lease.Token, err = numberOf(list[1]); err != nil {
		return store.Lease{}, err
	}
	cursor, err := stringOf(list[2])
	if err != nil {
		return store.Lease{}, err
	}
	if lease.Cursor, err = parsePlace(cursor); err != nil {
		return store.Lease{}, err
	}
	lease.Changed, err = numberOf(list[3])
	return lease, err
}

// numberOf takes a number that a script answers as a string: Lua's own end at 2^53.
func numberOf(v any) (uint64, error) {
	text, err := stringOf(v)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q for a number", errReply, text)
	}
	return n, nil
}

// Renew extends leases, those on one server in one pipeline. Where the nodes of some
// partitions do not answer it returns what became of the others beside a
// *store.PartitionsError; a lease that it names has its error, and is to be taken for
// one that was not extended.
func (s *Store) Renew(ctx context.Context, leases []store.Lease, ttl time.Duration) (_ []store.Renewed, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	calls, partitions := make([]*invocation, len(leases)), make([]int, len(leases))
	named := make(map[int]struct{})
	for i := range leases {
		keys, err := s.shareKeys(leases[i].Share)
		if err != nil {
			return nil, fmt.Errorf("renew leases: %w", err)
		}
		calls[i], partitions[i] = newInvocation(deliverRenewScript, 1, 4), leases[i].Partition
		calls[i].add(&keys.lease, leases[i].Token, formatPlace(leases[i].Cursor), ttl.Milliseconds())
		named[leases[i].Partition] = struct{}{}
	}
	replies, errs := s.runPresent(ctx, calls, partitions)
	renewed, missing := make([]store.Renewed, len(leases)), make(map[int]error)
	for i := range leases {
		if errs[i] != nil {
			missing[leases[i].Partition], renewed[i].Err = errs[i], errs[i]
			continue
		}
		if replies[i] == "" {
			renewed[i].Err = store.ErrFenced
			continue
		}
		if renewed[i].Changed, err = numberOf(replies[i]); err != nil {
			return nil, fmt.Errorf("renew leases: %w", err)
		}
	}
	return renewed, store.MissingPartitions(missing, len(named))
}

// Release gives a lease back.
func (s *Store) Release(ctx context.Context, lease store.Lease) (err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	keys, err := s.shareKeys(lease.Share)
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	c := newInvocation(deliverReleaseScript, 1, 2)
	c.add(&keys.lease, lease.Token)
	if _, err := s.run(ctx, c); err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// States gives the states of all endpoints that were ever set.
func (s *Store) States(ctx context.Context) (_ map[string]store.EndpointState, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	texts, err := s.client.HGetAll(ctx, statesKey(s.cfg.Prefix)).Result()
	if err != nil {
		return nil, fmt.Errorf("read endpoint states: %w", err)
	}
	states := make(map[string]store.EndpointState, len(texts))
	for endpoint, text := range texts {
		var state store.EndpointState
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			return nil, fmt.Errorf("read endpoint states: %w: that of %q", errReply, endpoint)
		}
		states[endpoint] = state
	}
	return states, nil
}

// SetState sets the state of an endpoint.
func (s *Store) SetState(ctx context.Context, endpoint string, state store.EndpointState) (err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return fmt.Errorf("set endpoint state: %w", err)
	}
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("set endpoint state: %w", err)
	}
	if err := s.client.HSet(ctx, statesKey(s.cfg.Prefix), endpoint, text).Err(); err != nil {
		return fmt.Errorf("set endpoint state: %w", err)
	}
	return nil
}

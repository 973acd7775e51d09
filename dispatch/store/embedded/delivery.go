package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spillway/dispatch/store"
)

// deliveries is what is kept in memory of outgoing deliveries. One process has the
// store open, so leases and members are nowhere else: those of a process that
// ended are over with it, and hold up no start.
type deliveries struct {
	// tokens is the last token given out. It starts at the last id reserved, as
	// places do, and so is above all that any process before gave out.
	tokens atomic.Uint64

	mu      sync.Mutex
	shares  map[store.Share]*share
	members map[string]time.Time // until when
}

// share is what is known of one. Whatever changes it, in memory or on disk, holds mu.
type share struct {
	store.Share

	mu sync.Mutex
	// kept is false until it was written for the first time.
	kept    bool
	cursor  uint64
	changed uint64
	dead    int64

	owner string // empty: free
	token uint64
	until time.Time
}

// holds reports whether the token's lease was taken by none other since.
func (sh *share) holds(token uint64) bool { return sh.owner != "" && sh.token == token }

func (sh *share) lease() store.Lease {
	return store.Lease{Share: sh.Share, Token: sh.token, Cursor: placeOf(sh.cursor), Changed: sh.changed}
}

// find gives a share, nil where it never was leased.
func (d *deliveries) find(s store.Share) *share {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shares[s]
}

func (d *deliveries) findOrAdd(s store.Share) *share {
	d.mu.Lock()
	defer d.mu.Unlock()
	sh := d.shares[s]
	if sh == nil {
		sh = &share{Share: s}
		d.shares[s] = sh
	}
	return sh
}

// of gives the shares of an endpoint, by partition.
func (d *deliveries) of(endpoint string) []*share {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*share
	for s, sh := range d.shares {
		if s.Endpoint == endpoint {
			list = append(list, sh)
		}
	}
	slices.SortFunc(list, func(a, b *share) int { return a.Partition - b.Partition })
	return list
}

// loadShares reads the shares. It comes after places were loaded.
func (s *Store) loadShares() error {
	s.deliveries.tokens.Store(s.places.last)
	s.deliveries.shares = make(map[store.Share]*share)
	s.deliveries.members = make(map[string]time.Time)
	return s.scan(tagShare, func(k, v []byte) error {
		key, rest, err := parseShare(k)
		if err != nil || len(rest) > 0 || len(v) != shareLength || key.Partition >= len(s.partitions) {
			return fmt.Errorf("read shares of deliveries: %w", errors.Join(err, errMalformed))
		}
		s.deliveries.shares[key] = &share{
			Share: key, kept: true,
			cursor:  binary.BigEndian.Uint64(v),
			changed: binary.BigEndian.Uint64(v[8:]),
			dead:    int64(binary.BigEndian.Uint64(v[16:])),
		}
		return nil
	})
}

// Members announces owner for ttl, and gives all who are announced.
func (s *Store) Members(ctx context.Context, owner string, ttl time.Duration) (_ []string, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	d, now := &s.deliveries, s.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members[owner] = now.Add(ttl)
	var members []string
	for member, until := range d.members {
		if until.After(now) {
			members = append(members, member)
		} else {
			delete(d.members, member)
		}
	}
	slices.Sort(members)
	return members, nil
}

// Acquire takes a share. Where a new one begins is durable when Acquire returns:
// were that lost, it would begin later than the events it has to deliver.
func (s *Store) Acquire(ctx context.Context, key store.Share, owner string, ttl time.Duration, start store.Place) (_ store.Lease, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return store.Lease{}, err
	}
	defer func() { done(err) }()
	if err := key.Validate(len(s.partitions)); err != nil {
		return store.Lease{}, fmt.Errorf("acquire share: %w", err)
	}
	if owner == "" {
		return store.Lease{}, errors.New("acquire share: its owner has no name")
	}
	sh := s.deliveries.findOrAdd(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.cfg.Now()
	if sh.owner != "" && sh.owner != owner && sh.until.After(now) {
		return store.Lease{}, store.ErrLeased
	}
	if !sh.kept {
		cursor := idOf(start)
		if err := s.setDurably(sharePrefix(tagShare, key), shareValue(cursor, 0, 0)); err != nil {
			return store.Lease{}, fmt.Errorf("acquire share: %w", err)
		}
		sh.kept, sh.cursor = true, cursor
	}
	sh.owner, sh.token, sh.until = owner, s.deliveries.tokens.Add(1), now.Add(ttl)
	return sh.lease(), nil
}

// Renew extends leases. One that is over, and that none took, goes on.
func (s *Store) Renew(ctx context.Context, leases []store.Lease, ttl time.Duration) (_ []store.Renewed, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	until := s.cfg.Now().Add(ttl)
	answers := make([]store.Renewed, len(leases))
	for i, lease := range leases {
		sh := s.deliveries.find(lease.Share)
		if sh == nil {
			answers[i].Err = store.ErrFenced
			continue
		}
		sh.mu.Lock()
		if sh.holds(lease.Token) && sh.cursor == idOf(lease.Cursor) {
			sh.until = until
			answers[i].Changed = sh.changed
		} else {
			answers[i].Err = store.ErrFenced
		}
		sh.mu.Unlock()
	}
	return answers, nil
}

// Release gives a lease back at once.
func (s *Store) Release(ctx context.Context, lease store.Lease) (err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	sh := s.deliveries.find(lease.Share)
	if sh == nil {
		return nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.holds(lease.Token) {
		sh.owner = ""
	}
	return nil
}

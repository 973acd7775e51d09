package deliver

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"spillway/dispatch/store"
)

// chosen is the member that is to have a share, by the highest hash: where one comes
// or goes the others keep what they have.
func chosen(share store.Share, members []string) string {
	return slices.MaxFunc(members, func(a, b string) int {
		return cmp.Compare(rank(share, a), rank(share, b))
	})
}

func rank(share store.Share, member string) uint64 {
	return xxh3.HashStringSeed(member+"\x00"+share.Endpoint, uint64(share.Partition))
}

// renew extends the leases there are. One that settles just then cannot be told from
// one whose cursor is another, and is asked for again.
func (d *Deliverer) renew(ctx context.Context) error {
	d.mu.Lock()
	held := slices.Collect(maps.Values(d.shares))
	d.mu.Unlock()
	var err error
	for tries := 0; len(held) > 0 && tries < renewTries; tries++ {
		held, err = d.renewThese(ctx, held)
	}
	return err
}

// renewTries is how often a lease is asked for that settles meanwhile.
const renewTries = 4

// renewThese extends leases, and gives those of which it is not known.
func (d *Deliverer) renewThese(ctx context.Context, held []*share) (unknown []*share, err error) {
	asked := time.Now()
	leases, settlings := make([]store.Lease, len(held)), make([]uint64, len(held))
	for i, s := range held {
		settlings[i] = s.settlings.Load()
		leases[i] = s.lease
		leases[i].Cursor = *s.stored.Load()
	}
	renewed, err := d.store.Renew(ctx, leases, d.cfg.LeaseTTL)
	if len(renewed) != len(held) {
		return nil, err
	}
	for i, s := range held {
		fenced := errors.Is(renewed[i].Err, store.ErrFenced)
		switch {
		case fenced && (settlings[i]%2 == 1 || s.settlings.Load() != settlings[i]):
			unknown = append(unknown, s)
		case fenced:
			d.metrics.fenced.Inc()
			s.cancel()
		case renewed[i].Err != nil:
			// Its part of the store does not answer: it is not extended.
		case renewed[i].Changed != s.lease.Changed:
			s.end() // it is taken again, with what has changed
		default:
			s.until.Store(asked.Add(d.cfg.LeaseTTL).UnixNano())
		}
	}
	return unknown, err
}

// acquire takes the shares that are wanted and free. A part of the store that does
// not answer keeps none of the others from being taken.
func (d *Deliverer) acquire(ctx context.Context, wanted map[store.Share]*endpoint, bounds []store.Bounds) error {
	var errs []error
	for share, e := range wanted {
		d.mu.Lock()
		_, has := d.shares[share]
		d.mu.Unlock()
		if has || len(errs) == mostErrors {
			continue
		}
		asked := time.Now()
		lease, err := d.store.Acquire(ctx, share, d.cfg.Owner, d.cfg.LeaseTTL, bounds[share.Partition].Last)
		switch {
		case errors.Is(err, store.ErrLeased):
		case err != nil:
			errs = append(errs, err)
		default:
			d.begin(newShare(d, e, lease, asked.Add(d.cfg.LeaseTTL)))
		}
	}
	return errors.Join(errs...)
}

// mostErrors ends a look: each may have taken a time-out, and leases are to be renewed.
const mostErrors = 3

// hurry has shares that are far behind park what they read, for the stream may trim
// it soon, and tells where it has.
func (d *Deliverer) hurry(bounds []store.Bounds) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.shares {
		b := bounds[s.lease.Partition]
		s.hurry.Store(b.Trimmed.Ms + (b.Last.Ms-min(b.Last.Ms, b.Trimmed.Ms))/2)
		read := *s.reached.Load()
		if read.Compare(b.Trimmed) >= 0 || s.missed.Compare(read) > 0 {
			continue
		}
		s.missed = b.Trimmed
		d.metrics.trimmed.WithLabelValues(s.endpoint.cfg.Name).Inc()
		d.logger.Error("events were trimmed before an endpoint was told of them: raise stream.retain, or see why no receiver delivered",
			"endpoint", s.endpoint.cfg.Name, "partition", s.lease.Partition)
	}
}

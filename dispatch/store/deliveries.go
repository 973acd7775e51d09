package store

import (
	"context"
	"errors"
	"time"
)

// The errors of Deliveries that a caller has to tell apart.
var (
	// ErrLeased: another receiver has the share, or had it less than its lease ago.
	ErrLeased = errors.New("the share is leased to another receiver")
	// ErrFenced: the lease is no longer the caller's, or the stored cursor is not the
	// one it named, since the store went back. Nothing was changed: take the share anew.
	ErrFenced = errors.New("the lease or the cursor is another one")
)

// Share is one endpoint's part of one partition: what one receiver at a time
// delivers, in order.
type Share struct {
	// Endpoint is a name of letters, digits, "-" and "_", 64 at most.
	Endpoint  string
	Partition int
}

// Lease is the right to deliver a share until Until.
type Lease struct {
	Share
	// Token grows with each receiver that takes the share: what an older one still
	// asks for is refused with ErrFenced.
	Token uint64
	// Cursor is the place up to which every event was delivered, parked, or dead.
	Cursor Place
	// Changed grows with each DeadRetry that parked something of the share.
	Changed uint64
}

// Renewed is what became of a lease that was to be extended.
type Renewed struct {
	// Changed is the lease's.
	Changed uint64
	// Err is nil or ErrFenced.
	Err error
}

// Parked is what is known of a delivery that waits, without its event.
type Parked struct {
	Place Place
	// Contact is a hash of whom the event is about, 0 for nobody: where order is
	// kept, one that waits holds back the later ones of its contact.
	Contact uint64
	// First is when it was first tried, or would have been; Due when it is tried next.
	First, Due time.Time
	// Attempts is how many failed.
	Attempts uint32
}

// Dead is a delivery that was given up, with its event.
type Dead struct {
	Share
	Parked
	Entry Entry
	// Reason says why, without what the endpoint answered.
	Reason string
	Died   time.Time
}

// Settlement is what came of some deliveries of a share: one atomic step.
type Settlement struct {
	Share
	Token uint64
	// From is the stored cursor, To the one to set; they are equal where it stays.
	From, To Place
	// Park are new ones that wait, with their events: the stream may then trim them.
	Park []ParkedEntry
	// Retry are parked ones that failed again: what is known of them changes.
	Retry []Parked
	// Done are parked ones that were delivered.
	Done []Place
	// Dead are given up, whether they were parked or not.
	Dead []Dead
}

// ParkedEntry is a delivery to park.
type ParkedEntry struct {
	Parked
	Entry Entry
}

// EndpointState is what an operator, or an endpoint by its answer, has set: the same
// for all receivers. The zero value is one that is delivered to.
type EndpointState struct {
	// Paused: nothing is sent, all is parked.
	Paused bool `json:"paused,omitempty"`
	// Reason says who did: "operator", or "410 gone".
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Deliveries is where it is kept how far each endpoint was told of the events, and
// what it still has to be told. All of a share is in one place with the partition's
// events: a store that loses a suffix loses it of both.
type Deliveries interface {
	// Members announces owner for ttl, and gives all who were announced and are not
	// over, sorted: those who share the work.
	Members(ctx context.Context, owner string, ttl time.Duration) ([]string, error)
	// Acquire takes a share for ttl: one that is free, over, or owner's already, whose
	// token then grows as well. A share that never was leased begins at start.
	// ErrLeased where another has it.
	Acquire(ctx context.Context, share Share, owner string, ttl time.Duration, start Place) (Lease, error)
	// Renew extends leases by ttl. It returns what became of each, in their order:
	// ErrFenced where the token or the cursor is another; or an error of the whole call.
	// Beside a *PartitionsError the answers about the other partitions are good.
	Renew(ctx context.Context, leases []Lease, ttl time.Duration) ([]Renewed, error)
	// Release gives a lease back at once; what is not the caller's any more stays.
	Release(ctx context.Context, lease Lease) error
	// Settle takes effect whole, or not at all with ErrFenced. After another error it
	// is unknown whether it did; asking again is safe, and then ErrFenced where it had.
	Settle(ctx context.Context, s Settlement) error
	// Waiting calls emit with all that is parked of a lease's share, in pieces of any
	// order and size up to some hundreds; the slice is emit's until it returns.
	Waiting(ctx context.Context, lease Lease, emit func([]Parked) error) error
	// Entries gives the events of parked deliveries, in the order of places; one that
	// is not parked has a zero Place.
	Entries(ctx context.Context, share Share, places []Place) ([]Entry, error)
	// DeadList gives dead deliveries of an endpoint, oldest first by partition, at most
	// limit of them after the one given: nil to begin.
	DeadList(ctx context.Context, endpoint string, after *Dead, limit int) ([]Dead, error)
	// DeadCount is how many there are.
	DeadCount(ctx context.Context, endpoint string) (int64, error)
	// DeadRetry parks dead deliveries again, due at once, tried afresh; those that are
	// not dead any more are left out. It returns how many it parked. Whoever has the
	// lease learns of it by Renew.
	DeadRetry(ctx context.Context, endpoint string, dead []Dead) (int, error)
	// DeadForget drops dead deliveries that died before a time, and returns how many.
	DeadForget(ctx context.Context, endpoint string, before time.Time) (int, error)
	// States gives the states of all endpoints that were ever set, SetState sets one.
	States(ctx context.Context) (map[string]EndpointState, error)
	SetState(ctx context.Context, endpoint string, state EndpointState) error
}

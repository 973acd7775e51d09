// Package deliver tells users' own endpoints of events, as webhooks.
//
//	store ──Read──▶ share ──job──▶ endpoint's workers ──POST──▶ endpoint
//	  ▲               │  ▲                    │
//	  └────Settle─────┘  └──────result────────┘
//
// The work on an endpoint is divided by the store's partitions: a share is one
// endpoint's part of one partition, and one receiver at a time has it, by a lease.
// It reads the partition's stream, has each event sent, and settles: in one step
// of the store the cursor moves past what was delivered, and what was not is
// parked with its event, so that the stream may be trimmed. Whatever ends the
// receiver, the next one goes on from there: an event may be sent twice, with the
// same webhook-id, and none is forgotten.
//
// A share never waits for an endpoint: one that fails has its events parked, to
// be tried again with growing pauses, until Endpoint.RetryFor is over. Then they
// are dead deliveries, which are kept and can be sent again.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// Config is how a Deliverer works.
type Config struct {
	// Owner names this receiver among those that share a store; it is another one
	// after each start.
	Owner string
	// LeaseTTL is how long a share stays with a receiver that is heard of no more.
	LeaseTTL time.Duration
	// Interval is the time between two looks at members, leases and states.
	Interval time.Duration
	// DeadRetain is how long a dead delivery stays.
	DeadRetain time.Duration
	// Dial makes what sends to an endpoint.
	Dial func(Endpoint) (Sender, error)
}

// DefaultConfig has every default; Dial must be set.
func DefaultConfig() Config {
	return Config{Owner: uuid.NewString(), LeaseTTL: 15 * time.Second, Interval: time.Second, DeadRetain: 720 * time.Hour}
}

// Order says what of an endpoint's events is held back by one that fails.
type Order string

// The orders.
const (
	// OrderContact: the later events of its contact.
	OrderContact Order = "contact"
	// OrderNone: nothing.
	OrderNone Order = "none"
)

// Endpoint is where events are sent.
type Endpoint struct {
	// Name is unique, of letters, digits, "-" and "_", 64 at most.
	Name string
	// URL, Secrets, Headers and Timeout are the sender's, who alone reads them.
	URL     string
	Secrets []string
	Headers map[string]string
	Timeout time.Duration
	// AllowNets are the networks that its addresses may be in beside public ones.
	AllowNets []string
	// Events are patterns of types, PhoneNumberIDs and WABAIDs what the events are
	// of; nil for all.
	Events, PhoneNumberIDs, WABAIDs []string
	// Concurrency is how many requests may be under way from this receiver, 1 at least.
	Concurrency int
	// Rate bounds the requests a second from this receiver, 0 for no bound.
	Rate float64
	// RetryFor is how long a delivery is tried.
	RetryFor time.Duration
	// Order is what a failing event holds back.
	Order Order
	// MaxWaiting is how many deliveries may wait, over all partitions; beyond it the
	// oldest are dead.
	MaxWaiting int
}

// Validate names what is wrong with the fields that are not the sender's.
func (e Endpoint) Validate() error {
	errs := []error{store.ValidateEndpoint(e.Name)}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(e.Concurrency >= 1, "concurrency %d: must be 1 at least", e.Concurrency)
	check(e.Rate >= 0, "rate %v: must not be negative", e.Rate)
	check(e.RetryFor > 0, "retry_for %s: must be above 0", e.RetryFor)
	check(e.Order == OrderContact || e.Order == OrderNone, "order %q: allowed: contact, none", e.Order)
	check(e.MaxWaiting >= 1, "max_waiting %d: must be 1 at least", e.MaxWaiting)
	return errors.Join(errs...)
}

// Feed is what is read of a store.
type Feed interface {
	Partitions() int
	Bounds(ctx context.Context) ([]store.Bounds, store.Place, error)
	Read(ctx context.Context, partition int, after store.Place, limit, maxBytes int) ([]store.Entry, error)
	Follow(ctx context.Context, from []store.Place, emit func(store.Round) error) error
}

// Store is where events are read and deliveries kept.
type Store interface {
	Feed
	store.Deliveries
}

// Deliverer delivers to all endpoints. Its methods may be called from many
// goroutines.
type Deliverer struct {
	cfg     Config
	store   Store
	logger  *slog.Logger
	metrics *metrics
	news    *news

	mu sync.Mutex
	// endpoints are by name; shares those that are leased.
	endpoints map[string]*endpoint
	retired   []*endpoint // whose shares are to end
	shares    map[store.Share]*share
	changed   chan struct{} // holds one: the endpoints are others
}

// New makes a Deliverer of no endpoints: Reload gives it some.
func New(cfg Config, st Store, logger *slog.Logger, reg prometheus.Registerer) (*Deliverer, error) {
	d := &Deliverer{
		cfg: cfg, store: st, logger: logger, news: newNews(st.Partitions()),
		endpoints: make(map[string]*endpoint), shares: make(map[store.Share]*share), changed: make(chan struct{}, 1),
	}
	var err error
	d.metrics, err = newMetrics(reg, d)
	return d, err
}

// Reload takes over other endpoints. Those that stay as they are go on; of the
// others what is under way is finished, and nothing is lost: a name is what the
// store knows an endpoint by. A mistake changes nothing.
func (d *Deliverer) Reload(endpoints []Endpoint) error {
	next := make(map[string]*endpoint, len(endpoints))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range endpoints {
		if current := d.endpoints[e.Name]; current != nil && current.same(e) {
			next[e.Name] = current
			continue
		}
		made, err := d.newEndpoint(e)
		if err != nil {
			for name, n := range next {
				if d.endpoints[name] != n {
					n.close()
				}
			}
			return fmt.Errorf("endpoint %s: %w", e.Name, err)
		}
		next[e.Name] = made
	}
	for name, e := range d.endpoints {
		if next[name] != e {
			d.retired = append(d.retired, e)
		}
	}
	d.endpoints = next
	select {
	case d.changed <- struct{}{}:
	default:
	}
	return nil
}

// current are the endpoints now, sorted by name.
func (d *Deliverer) current() []*endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*endpoint, 0, len(d.endpoints))
	for _, e := range d.endpoints {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *endpoint) int {
		if a.cfg.Name < b.cfg.Name {
			return -1
		}
		return 1
	})
	return all
}

package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
)

// ErrNoEndpoint is returned where there is no endpoint of that name.
var ErrNoEndpoint = errors.New("no such endpoint")

// TestEvent is the type of the event that Test sends.
const TestEvent = "webhook:test"

// Status is how an endpoint is, as this receiver sees it.
type Status struct {
	Name  string              `json:"name"`
	State store.EndpointState `json:"state"`
	// Breaker is "closed"; "open" while the endpoint fails and is let alone, "half-open"
	// while one request finds out whether it does.
	Breaker string `json:"breaker"`
	// Shares are the partitions that this receiver delivers.
	Shares int `json:"shares"`
	// Waiting is how many deliveries of these wait, Oldest since when the first does.
	Waiting int64     `json:"waiting"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// Dead is how many deliveries were given up and are kept, of all partitions.
	Dead int64 `json:"dead"`
}

// List tells how all endpoints are, by name.
func (d *Deliverer) List(ctx context.Context) ([]Status, error) {
	states, err := d.store.States(ctx)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	var all []Status
	for _, e := range d.current() {
		dead, err := d.store.DeadCount(ctx, e.cfg.Name)
		if err != nil {
			return nil, fmt.Errorf("list endpoints: %w", err)
		}
		status := Status{Name: e.cfg.Name, State: states[e.cfg.Name], Breaker: e.breaker.State(), Dead: dead}
		d.addShares(&status)
		all = append(all, status)
	}
	return all, nil
}

func (d *Deliverer) addShares(status *Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, s := range d.shares {
		if at.Endpoint != status.Name {
			continue
		}
		status.Shares++
		status.Waiting += s.count.Load()
		if ms := s.oldest.Load(); ms != 0 && (status.Oldest.IsZero() || ms < status.Oldest.UnixMilli()) {
			status.Oldest = time.UnixMilli(ms).UTC()
		}
	}
}

func (d *Deliverer) endpoint(name string) (*endpoint, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.endpoints[name]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("endpoint %q: %w", name, ErrNoEndpoint)
}

// Pause has nothing sent to an endpoint by any receiver until Resume: what comes
// meanwhile waits.
func (d *Deliverer) Pause(ctx context.Context, name string) error {
	return d.setState(ctx, name, store.EndpointState{Paused: true, Reason: "operator", Since: time.Now().UTC()})
}

// Resume ends a pause, an operator's or that of an endpoint that answered 410.
func (d *Deliverer) Resume(ctx context.Context, name string) error {
	return d.setState(ctx, name, store.EndpointState{Since: time.Now().UTC()})
}

func (d *Deliverer) setState(ctx context.Context, name string, state store.EndpointState) error {
	e, err := d.endpoint(name)
	if err != nil {
		return err
	}
	if err := d.store.SetState(ctx, name, state); err != nil {
		return fmt.Errorf("set state of endpoint %s: %w", name, err)
	}
	e.paused.Store(state.Paused)
	return nil
}

// Test sends an event of type TestEvent at once, once, whatever the endpoint's state
// is, and tells what came of it.
func (d *Deliverer) Test(ctx context.Context, name string) (post.Result, error) {
	e, err := d.endpoint(name)
	if err != nil {
		return post.Result{}, err
	}
	uid := uuid.New()
	body, err := json.Marshal(map[string]any{
		"id": "0", "uid": uid, "type": TestEvent,
		"payload": map[string]any{"field": "test", "endpoint": name, "timestamp": time.Now().UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return post.Result{}, fmt.Errorf("make test event: %w", err)
	}
	return e.sender.Send(ctx, uid.String(), body), nil
}

// DeadList gives dead deliveries of an endpoint, which need not be configured any
// more, as store.Deliveries does.
func (d *Deliverer) DeadList(ctx context.Context, name string, after *store.Dead, limit int) ([]store.Dead, error) {
	return d.store.DeadList(ctx, name, after, limit)
}

// DeadRetry has dead deliveries of an endpoint sent again, all where uids is nil,
// and tells how many there were.
func (d *Deliverer) DeadRetry(ctx context.Context, name string, uids []uuid.UUID) (int, error) {
	if _, err := d.endpoint(name); err != nil {
		return 0, err
	}
	wanted := make(map[uuid.UUID]bool, len(uids))
	for _, uid := range uids {
		wanted[uid] = true
	}
	retried := 0
	var after *store.Dead
	for {
		page, err := d.store.DeadList(ctx, name, after, deadPage)
		if err != nil || len(page) == 0 {
			return retried, err
		}
		after = &page[len(page)-1]
		var chosen []store.Dead
		for _, dead := range page {
			if uids == nil || wanted[dead.Entry.UID] {
				chosen = append(chosen, dead)
			}
		}
		if len(chosen) == 0 {
			continue
		}
		n, err := d.store.DeadRetry(ctx, name, chosen)
		retried += n
		if err != nil {
			return retried, err
		}
	}
}

// deadPage is how many dead deliveries are read at once.
const deadPage = 100

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/event"
	"spillway/dispatch/stream"
)

// reader is a subscriber that comes back after every break with the id it had
// last, and looks at each event: within a connection none comes twice and each
// customer's are in order; over all of them, what is new to it comes without a gap.
type reader struct {
	t     testing.TB
	name  string
	token string
	// query narrows what it sees, and sees says which events those are.
	query string
	sees  func(posted) bool
	// where is the receiver to connect to next.
	where func() *process
	// every is after how many messages it hangs up by itself; 0 for never.
	every func() int
	// naps is how long it then stays away.
	naps func() time.Duration
	// always, if set, is the id it always comes back with.
	always string
	// leaps allows a gap where the server told one with 4009.
	leaps bool

	mu sync.Mutex
	// since is the id to come back with.
	since string
	// levelAt is when it was level first, zero for one that asked for the oldest.
	levelAt time.Time
	seen    map[string]int // by uid: its index in ids
	ids     []string       // of the events when they were new
	at      []time.Time    // when those came
	numbers map[string]int // the last by customer or message
	early   []string       // new, by uid, and before what it had: from before it was level
	codes   map[int]int
	conn    connection
	// connections and repeats count, oldest is the age of the oldest repeat when its
	// connection began.
	connections, repeats int
	oldest               time.Duration
	gaps                 int
	faults               []error
}

// connection is what one connection has brought.
type connection struct {
	began   time.Time
	seen    map[string]bool
	numbers map[string]int
	repeats int
}

// heard is a message of the stream.
type heard struct {
	ID, UID, Type string
	Payload       struct {
		Wamid, Status string
		WaID          string `json:"wa_id"`
	}
}

func (f *fleet) newReader(name, since string) *reader {
	return &reader{
		t: f.t, name: name, token: testToken(f.t), since: since, where: f.any,
		sees: func(posted) bool { return true }, every: func() int { return 0 },
		naps: func() time.Duration { return 0 },
		seen: make(map[string]int), numbers: make(map[string]int), codes: make(map[int]int),
	}
}

// narrow gives it a filter.
func (r *reader) narrow(query string, sees func(posted) bool) *reader {
	r.query, r.sees = query, sees
	return r
}

// follow runs the reader until ctx ends.
func (r *reader) follow(ctx context.Context, group *sync.WaitGroup) *reader {
	group.Go(func() {
		for ctx.Err() == nil {
			if r.connect(ctx) != nil {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			select {
			case <-time.After(r.nap()):
			case <-ctx.Done():
			}
		}
	})
	return r
}

// nap is how long it stays away now. One that always comes back with the same id
// knows of nothing that it has had.
func (r *reader) nap() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.always != "" {
		r.since = r.always
		clear(r.numbers)
	}
	if r.every() == 0 {
		return 0
	}
	return r.naps()
}

// address is where the reader goes on.
func (r *reader) address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	query := "/ws?token=" + r.token + "&" + r.query
	if r.since != "" {
		query += "&since=" + url.QueryEscape(r.since)
	}
	return "ws://" + r.where().public + query
}

// connect reads one connection to its end. An error means that there was none.
func (r *reader) connect(ctx context.Context) error {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, r.address(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	most := r.begin()
	for n := 1; most == 0 || n <= most; n++ {
		_, data, err := conn.ReadMessage()
		if err != nil {
			r.closed(ctx, err)
			return nil
		}
		r.hear(data)
	}
	return nil
}

// begin begins a connection, and gives how many messages it reads.
func (r *reader) begin() (most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections++
	r.conn = connection{began: time.Now(), seen: make(map[string]bool), numbers: make(map[string]int)}
	return r.every()
}

// closed notes how a connection ended.
func (r *reader) closed(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var end *websocket.CloseError
	if ctx.Err() != nil || !errors.As(err, &end) {
		return // it hung up, or the receiver was killed
	}
	r.codes[end.Code]++
	switch {
	case end.Code == stream.CodeSlow && end.Text != r.since:
		r.faultLocked("closed with 4008 %q, and the last id is %q", end.Text, r.since)
	case end.Code == stream.CodeSince && !r.leaps:
		r.faultLocked("%q is refused with 4009 %q", r.since, end.Text)
	case end.Code == stream.CodeSince:
		// What is known so far says nothing about what comes.
		r.gaps++
		clear(r.numbers)
	}
	if end.Code == stream.CodeSince {
		r.since = end.Text
	}
}

func (r *reader) faultLocked(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

func (r *reader) hear(data []byte) {
	var m heard
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := json.Unmarshal(data, &m); err != nil || m.ID == "" {
		r.faultLocked("message %q: %v", data, err)
		return
	}
	if r.since == "" {
		r.levelAt = time.Now()
	}
	r.since = m.ID
	if m.UID != "" {
		r.eventLocked(&m)
	}
}

func (r *reader) eventLocked(m *heard) {
	key, number := m.order()
	if r.conn.seen[m.UID] {
		r.faultLocked("%s %d comes twice over a connection", key, number)
	}
	r.conn.seen[m.UID] = true
	if last, found := r.conn.numbers[key]; found && number != last+1 {
		r.faultLocked("%s %d after %d", key, number, last)
	}
	r.conn.numbers[key] = number
	if i, again := r.seen[m.UID]; again {
		r.repeats++
		r.conn.repeats++
		r.oldest = max(r.oldest, r.conn.began.Sub(r.at[i]))
		return
	}
	last, found := r.numbers[key]
	switch {
	case found && number < last && !r.levelAt.IsZero():
		r.early = append(r.early, m.UID)
		number = last
	case found && number != last+1:
		r.faultLocked("%s %d is new after %d", key, number, last)
	}
	r.numbers[key] = number
	r.seen[m.UID] = len(r.ids)
	r.ids, r.at = append(r.ids, m.ID), append(r.at, time.Now())
}

// order is whose event it is, and its number among those: a customer's birth is 0.
func (m *heard) order() (key string, number int) {
	var customer int
	switch m.Type {
	case event.MessageStatus:
		return m.Payload.Wamid, slices.Index(soakStatuses, m.Payload.Status)
	case event.ContactNew:
		_, _ = fmt.Sscanf(m.Payload.WaID, "1555%d", &customer)
	default:
		_, _ = fmt.Sscanf(m.Payload.Wamid, "wamid.M.%d.%d", &customer, &number)
	}
	return fmt.Sprintf("customer %d", customer), number
}

// misses is an error while the reader has not seen all that it may see.
func (r *reader) misses(f *fleet) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	missing, of := 0, 0
	for uid, p := range f.posted {
		if !r.sees(p) || p.at.Before(r.levelAt) {
			continue
		}
		of++
		if _, seen := r.seen[uid]; !seen {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%s misses %d of %d events, at %q", r.name, missing, of, r.since)
	}
	return nil
}

// verdict says what was wrong with what it saw.
func (r *reader) verdict(f *fleet) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for uid := range r.seen {
		if p, known := f.posted[uid]; !known || !r.sees(p) {
			r.faultLocked("a stranger: %s %+v", uid, p)
		}
	}
	for _, uid := range r.early {
		if p := f.posted[uid]; !p.at.Before(r.levelAt) {
			r.faultLocked("%s came late: %+v", uid, p)
		}
	}
	for _, fault := range r.faults[:min(len(r.faults), 5)] {
		r.t.Errorf("%s: %v", r.name, fault)
	}
	if n := len(r.faults); n > 5 {
		r.t.Errorf("%s: and %d more", r.name, n-5)
	}
	r.t.Logf("%s: %d events, %d connections, %d repeats, the oldest of %s, gaps told %d, closed with %v", r.name, len(r.seen),
		r.connections, r.repeats, r.oldest.Round(time.Millisecond), r.gaps, maps.Clone(r.codes))
}

// haveAll waits until every reader has seen all it may see, ends them, and looks
// at what they saw.
func (f *fleet) haveAll(readers []*reader, cancel context.CancelFunc, group *sync.WaitGroup) {
	f.t.Helper()
	for _, r := range readers {
		f.nodes[0].process.Load().eventually(rigPatience, "all events at "+r.name, func() error { return r.misses(f) })
	}
	cancel()
	group.Wait()
	for _, r := range readers {
		r.verdict(f)
	}
}
